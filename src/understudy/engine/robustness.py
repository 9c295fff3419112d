"""Accuracy of a network on corrupted images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from understudy.core.errors import UserError
from understudy.data.training_data import TrainingData
from understudy.engine.predict import predict
from understudy.evaluation.robustness import CORRUPTIONS, STRENGTHS, Robustness, corrupt
from understudy.models.nets import Execution

_ROWS_AT_ONCE = 1024  # a few times what is predicted at once; a copy of 224 px color images takes 150 MB


def robustness(
    network: nn.Module,
    data: TrainingData,
    ids: NDArray[np.int64],
    targets: NDArray[np.int64],
    *,
    device: torch.device | None = None,
    execution: Execution | None = None,
    seed: int = 0,
) -> Robustness:
    """Accuracy on the plain views of these images, clean and under every corruption at every strength.

    Two networks asked with the same ids and seed see the same images.

    Raises:
        UserError: The rows are not images, or there are no rows.
    """
    if data.rows.dtype != torch.uint8 or not len(ids):
        what = "there are no images" if not len(ids) else f"rows of shape {data.row_shape} are no images"
        raise UserError(f"{what} to corrupt; give labeled images")
    right = {name: np.zeros(len(STRENGTHS), np.int64) for name in CORRUPTIONS}
    clean = 0

    def num_right(images: NDArray[np.uint8], classes: NDArray[np.int64]) -> int:
        shown = replace(data, rows=torch.from_numpy(images))
        probabilities = predict(network, shown, np.arange(len(images)), device=device, execution=execution)
        return int((probabilities.argmax(-1) == classes).sum())

    for start in range(0, len(ids), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        plain = data.render(ids[part], "plain", device=torch.device("cpu")).numpy()
        images = np.round(plain * 255).astype(np.uint8)
        clean += num_right(images, targets[part])
        for name in CORRUPTIONS:
            for number, strength in enumerate(STRENGTHS):
                right[name][number] += num_right(corrupt(images, name, strength, seed + start), targets[part])
    count = len(ids)
    shares = {name: tuple(float(number) / count for number in numbers) for name, numbers in right.items()}
    return Robustness(count, clean / count, shares)
