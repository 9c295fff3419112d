"""Statistics of images and labels, and what they imply for augmentation and loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from understudy.core.budget import Cost
from understudy.data.collection import Collection
from understudy.data.split import Splits
from understudy.planning.choice import Choice, Learned, asked

_MAX_SAMPLED, _MIN_SAMPLED = 2000, 200  # rows: their mean is certain to 2 to 7 % of a deviation
_MAX_READ = 100_000_000  # bytes of rows that are read: 2,000 images of 128 px, or 500 of 256
_MAX_VALUES = 6_000_000  # as many as 2,000 color images of 32 px have; larger images are subsampled
# Logit adjustment took supervised training on CIFAR-10 with ratio 100 from 34.7 to 46.5 % of balanced accuracy and
# FixMatch from 30.4 to 41.3 (benchmarks/imbalance.json); at small ratios there is little to gain and something to lose.
_IMBALANCED = 10
# Pen strokes on paper: many pixels are background of one level, and none has color, unlike objects on a white table.
_EVEN_GROUND, _COLORLESS, _LEVELS = 0.4, 0.02, 8


@dataclass(frozen=True)
class LearnedData(Learned):
    """The domain of augmentation, and the adjustment of the loss to imbalanced classes."""

    domain: Choice[str]
    logit_adjustment: Choice[float] | None = None


def learn_data(collection: Collection, splits: Splits, options: Mapping[str, Any] | None = None) -> LearnedData:
    """The choices that follow from the rows and the training labels; no test label is read.

    Args:
        options: The user's settings as nested tables, which are kept.
    """
    begun = Cost.now()
    options = options or {}
    labels = collection.labels[splits.labeled]
    counts = np.bincount(labels, minlength=len(collection.classes))
    present = counts[counts > 0]
    ratio = float(present.max() / present.min()) if len(present) else 1.0
    figures: dict[str, Any] = {
        "shape": list(collection.shape),
        "num_labeled": len(splits.labeled),
        "num_unlabeled": len(splits.unlabeled),
        "num_classes": len(collection.classes),
        "fewest_labels_of_a_class": int(counts.min()),
        "imbalance_ratio": round(ratio, 2),
        "test_source": splits.test_source,
    }
    rows = _sampled(collection, np.concatenate([splits.labeled, splits.unlabeled]))
    figures |= _statistics(rows, collection.is_images)
    return LearnedData(
        domain=asked(options, "domain") or _domain(collection, figures),
        logit_adjustment=_adjustment(options, ratio, counts),
        figures=figures,
        cost=Cost.now() - begun,
    )


def _sampled(collection: Collection, ids: NDArray[np.int64]) -> torch.Tensor:
    """Evenly spaced training rows, with evenly spaced pixels of large images."""
    size = int(np.prod(collection.rows.shape[1:]))
    count = min(len(ids), _MAX_SAMPLED, max(_MIN_SAMPLED, _MAX_READ // size))
    chosen = np.unique(ids)[np.linspace(0, len(ids) - 1, count).astype(np.int64)]
    rows = collection.rows.index_select(0, torch.from_numpy(chosen))
    apart = max(1, round(np.sqrt(rows.numel() / _MAX_VALUES)))
    return rows[..., ::apart, ::apart] if rows.ndim == 4 else rows


def _statistics(rows: torch.Tensor, is_images: bool) -> dict[str, Any]:
    """Range, mean and deviation per channel; for images also the share of even background and the colorfulness."""
    if not is_images:
        return {"least": float(rows.min()), "greatest": float(rows.max())}
    values = rows.float() / 255
    mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3))
    levels = torch.div(rows.float().mean(1), 256 / _LEVELS, rounding_mode="floor").flatten(1)
    commonest = torch.stack([(levels == level).float().mean(1) for level in range(_LEVELS)])
    ground = commonest[[0, _LEVELS - 1]].max(0).values.median()
    spread = (rows.float().amax(1) - rows.float().amin(1)).mean() if rows.shape[1] > 1 else torch.zeros(())
    return {
        "least": float(values.min()),
        "greatest": float(values.max()),
        "mean": [round(float(value), 4) for value in mean],
        "std": [round(float(value), 4) for value in std],
        "even_ground": round(float(ground), 3),
        "colorfulness": round(float(spread) / 255, 4),
    }


def _domain(collection: Collection, figures: Mapping[str, Any]) -> Choice[str]:
    if not collection.is_images:
        return Choice("domain", "vector", "measured", "the rows are numbers, not images")
    ground = figures["even_ground"]
    if ground >= _EVEN_GROUND and figures["colorfulness"] < _COLORLESS:
        reason = (
            f"the images have no color and {100 * ground:.0f} % of a typical one is even black or white background, as "
            "around pen strokes: strong views are gentle, so that strokes stay readable"
        )
        return Choice("domain", "digits", "measured", reason)
    if collection.shape[0] == 1:
        return Choice("domain", "gray", "measured", "the images have one channel, so no view changes color")
    reason = "the images are in color, as photographs are"
    return Choice("domain", "natural", "measured", reason)


def _adjustment(options: Mapping[str, Any], ratio: float, counts: NDArray[np.int64]) -> Choice[float] | None:
    key = "method.criterion.logit_adjustment"
    if (wanted := asked(options, key)) is not None or ratio < _IMBALANCED:
        return wanted
    if options.get("oversampling"):  # which corrects for rare classes already
        return None
    reason = (
        f"the most common class has {counts.max()} labels and the rarest {counts[counts > 0].min()}, "
        f"{ratio:.0f} times fewer: logit adjustment corrects the loss, so that rare classes are predicted too"
    )
    return Choice(key, 1.0, "measured", reason)
