"""`understudy.evaluate`: the metrics of a trained classifier on labeled images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from understudy.core.arguments import check
from understudy.core.errors import UserError
from understudy.data.collection import Part
from understudy.data.load import load
from understudy.data.roles import check_test_labels
from understudy.display.with_progress import with_progress
from understudy.engine.predict import predict
from understudy.evaluation.metrics import Metrics, measure
from understudy.experiment.log import Watcher
from understudy.serving.predictor import Predictor


@with_progress()
def evaluate(
    folder: str | Path,
    source: Any,
    *,
    network: nn.Module | str | Callable[[], nn.Module] | None = None,
    cache: str | Path | None = None,
    watch: Watcher | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
) -> Metrics:
    """Evaluate the classifier of a finished run on labeled images.

    Args:
        folder: Folder of a finished run.
        source: Labeled images, as for `understudy.train`; if some are test images, only those count.
        network: Your own module, for a run that trained one; see `Predictor.load`.
        cache: Folder that caches decoded images for later calls.
        watch: Replaces the display: an `understudy.experiment.log.Watcher`.
        quiet: No display.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "method": "supervised", "budget": "10steps", "plan": False, "quiet": True}
        >>> result = understudy.train("digits", folder="run", **options)
        >>> metrics = understudy.evaluate("run", "digits", quiet=True)
        >>> metrics.accuracy == result.metrics.accuracy
        True

    Raises:
        UserError: The folder or the images cannot be used, no image is labeled, or a class is unknown to the model.
    """
    check(cache=cache, watch=watch)
    return measured(Predictor.load(folder, network), source, cache=cache, watch=watch)


def measured(
    predictor: Predictor, source: Any, *, cache: str | Path | None = None, watch: Watcher | None = None
) -> Metrics:
    """The metrics of a classifier on the labeled images of a source; see `evaluate`."""
    shape = predictor.shape
    size, channels = (shape[1], shape[0]) if len(shape) == 3 else (None, None)
    observe = watch.decoding if watch else None
    collection = load(
        source, size=size, channels=channels, cache=cache, observe=observe, ranges=predictor.ranges
    ).in_classes(predictor.classes)
    check_test_labels(collection.labels, collection.parts)
    known = np.flatnonzero((collection.labels >= 0) & (collection.parts != Part.PSEUDO))
    tests = known[collection.parts[known] == Part.TEST]
    known = tests if len(tests) else known  # a source that names its test images has others that were trained on
    if not len(known):
        raise UserError("none of the images is labeled; evaluation needs a folder per class or a label column")
    data, averaging = predictor.as_data(collection), predictor.test_time_averaging
    probabilities = predict(predictor.network, data, known, test_time_averaging=averaging)
    return measure(collection.labels[known], probabilities, classes=predictor.classes)
