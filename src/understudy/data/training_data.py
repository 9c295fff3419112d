"""What one training run may see: rows, labels, the unlabeled pool and the validation images; nothing hidden."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from understudy.augment import Domain, View, num_draws, render
from understudy.core.types import DataSpec

_NOBODY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """Rows of any fixed shape with the roles they play in one run.

    Args:
        rows: All rows: uint8 images (n, channels, height, width) on a square canvas, or floats of any shape.
        labeled: Row numbers of the labeled training rows.
        targets: Their classes, or their class probabilities.
        unlabeled: Row numbers of the unlabeled training rows.
        validation: Row numbers of the validation rows that may select among weights.
        validation_targets: Their classes.
        classes: Name of each class.
        domain: What "weak" and "strong" views of these rows are.
        size: Side in px of a rendered image.
        weight: Weight of each labeled row in the loss; all 1 if None.
        scale: Standard deviation per feature, for rows that are no images.
        content: Text that identifies rows and labels, for telling runs on different data apart.
    """

    rows: Tensor
    labeled: NDArray[np.int64]
    targets: Int[Tensor, "n"] | Float[Tensor, "n k"]
    unlabeled: NDArray[np.int64]
    classes: tuple[str, ...]
    domain: Domain
    size: int = 0
    validation: NDArray[np.int64] = field(default_factory=lambda: _NOBODY)
    validation_targets: NDArray[np.int64] = field(default_factory=lambda: _NOBODY)
    weight: Float[Tensor, "n"] | None = None
    scale: Tensor | None = None
    content: str = ""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of one rendered row."""
        shape = tuple(self.rows.shape[1:])
        return (shape[0], self.size, self.size) if self.rows.dtype == torch.uint8 else shape

    @property
    def pool(self) -> NDArray[np.int64]:
        """Row numbers of the unlabeled stream: the labeled training rows, then the unlabeled ones."""
        return np.concatenate([self.labeled, self.unlabeled])

    @property
    def class_counts(self) -> Int[Tensor, "k"]:
        """Labeled training rows per class."""
        classes = self.targets if self.targets.ndim == 1 else self.targets.argmax(-1)
        return torch.bincount(classes, minlength=len(self.classes))

    def spec(self, feature_width: int) -> DataSpec:
        """What a method may know of the data."""
        return DataSpec(
            num_classes=len(self.classes),
            num_labeled=len(self.labeled),
            num_unlabeled=len(self.labeled) + len(self.unlabeled),
            shape=self.row_shape,
            class_counts=tuple(self.class_counts.tolist()),
            feature_width=feature_width,
        )

    def render(
        self, ids: NDArray[np.int64], view: View, draws: NDArray[np.float32] | None = None, *, device: torch.device
    ) -> Float[Tensor, "n ..."]:
        """The rows with these numbers as a view, on the device; the plain view needs no draws."""
        # Several times as fast as indexing, which looks at bytes one at a time.
        rows = self.rows.index_select(0, torch.from_numpy(ids).to(self.rows.device))
        if rows.device != device:
            rows = rows.to(device, non_blocking=True)
        if draws is None:
            draws = np.zeros((len(ids), num_draws(view, self.domain)), np.float32)
        return render(rows, view, self.domain, draws, size=self.size, scale=self.scale)
