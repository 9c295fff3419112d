"""What a wall-clock budget keeps for the time after training: the evaluation of every model, and the report."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import nn

from understudy.data.split import Splits
from understudy.data.training_data import TrainingData
from understudy.engine.predict import predict

MAX_COMPARED = 5_000
"""The most labeled images that a mistake is compared with."""
POOL_SAMPLE = 1_000
"""The most images of the pool that each model predicts; the share of a class is known within 3 points from so many."""
# The first four rows warm up, the next say how slow the network is; a slow one is not timed on more rows, whose time
# would be missing from training.
_FEW_ROWS, _MORE_ROWS, _SLOW_S = 4, 64, 0.5
_VIEWS = 6  # that test-time averaging makes of an image at most

ReportSeconds = Callable[[int], float]
"""Seconds that a report of so many models is expected to take here and now."""


def evaluation_seconds(
    network: nn.Module,
    data: TrainingData,
    splits: Splits,
    num_models: int,
    *,
    device: torch.device,
    num_corrupted: int = 0,
    averaging: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds that predicting all rows of the evaluation is expected to take, by timing a few training rows.

    Args:
        num_corrupted: Predictions of corrupted images by each model.
        averaging: Whether held-out images are predicted by several views.
    """
    held_out = len(splits.test) + len(splits.validation)
    by_each = held_out * (_VIEWS if averaging else 1) + min(len(splits.unlabeled), POOL_SAMPLE) + num_corrupted
    rows = num_models * by_each + (min(len(splits.labeled), MAX_COMPARED) if len(splits.test) else 0)
    network = copy.deepcopy(network).to(device)

    def seconds(count: int) -> tuple[float, int]:
        ids, begun = data.labeled[:count], clock()
        predict(network, data, ids, device=device)
        return clock() - begun, len(ids)

    seconds(_FEW_ROWS)
    took, count = seconds(_FEW_ROWS)
    if took < _SLOW_S:
        took, count = seconds(_MORE_ROWS)
    return rows * took / max(1, count)
