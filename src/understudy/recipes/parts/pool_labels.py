"""Pseudo-labels of the pool: which are kept, and the training data they make together with the true labels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from understudy.core.files import atomic, load_arrays
from understudy.core.types import Ids
from understudy.data.training_data import TrainingData
from understudy.engine.predict import predict
from understudy.models.nets import Execution

Shares = NDArray[np.float64]

BALANCES = ("none", "cap", "duplicate")
# Predictions of so many rows are held in float32 at a time: 33 MB for 1,000 classes.
_ROWS_AT_ONCE = 8192
# Bounds how often a single image, whose label may be wrong, is seen in one pass.
MAX_COPIES = 10


@dataclass(frozen=True, eq=False)
class PoolLabels:
    """A teacher's pseudo-labels of the pool.

    Args:
        ids: Row numbers.
        label: The likeliest class of each row.
        confidence: Its probability.
        repeats: How often the row occurs in the student's training set; 0 leaves it out.
        probabilities: Of all classes, in half precision, where the student learns from them.
    """

    ids: Ids
    label: Ids
    confidence: NDArray[np.float32]
    repeats: Ids
    probabilities: NDArray[np.float16] | None = None

    @property
    def kept(self) -> NDArray[np.bool_]:
        """Which rows a student learns from."""
        found: NDArray[np.bool_] = self.repeats > 0
        return found

    @property
    def coverage(self) -> float:
        """The share of the pool that is kept."""
        return float(self.kept.mean())

    def counts(self, num_classes: int) -> list[int]:
        """Rows of each class that are kept."""
        return np.bincount(self.label[self.kept], minlength=num_classes).tolist()  # type: ignore[no-any-return]

    def changed_since(self, before: PoolLabels) -> float:
        """The share of the pool whose pseudo-label is another than before; having none is a label of its own."""
        now, then = (np.where(labels.kept, labels.label, -1) for labels in (self, before))
        return float((now != then).mean())

    def save(self, path: Path) -> None:
        """Write them as npz, whole or not at all."""
        columns = {"ids": self.ids, "label": self.label, "confidence": self.confidence, "repeats": self.repeats}
        if self.probabilities is not None:
            columns["probabilities"] = self.probabilities
        with atomic(path, parents=True) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **columns)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path | None) -> PoolLabels | None:
        """Those that `save` wrote, or None if the file is missing or damaged: they are computed again to the bit."""
        columns = None if path is None else load_arrays(path)
        if columns is None or not {"ids", "label", "confidence", "repeats"} <= set(columns) <= {
            field.name for field in fields(cls)
        }:
            return None
        return cls(**columns)


def below_text(confidence: float, threshold: float) -> str:
    """A confidence below a threshold in so many digits, three at least, that it reads as below it."""
    digits = next((digits for digits in range(3, 9) if round(confidence, digits) < threshold), 9)
    return f"{confidence:.{digits}f}"


def predict_pool(
    network: nn.Module,
    data: TrainingData,
    *,
    soft: bool,
    device: torch.device,
    execution: Execution | None = None,
) -> PoolLabels:
    """The network's labels of all unlabeled rows, none of which is kept yet.

    Rows are looked at a part at a time and stay where they are, and of hard labels no table of all classes is made, so
    that neither the images nor the predictions of a large pool have to fit into memory.
    """
    ids, num_classes = data.unlabeled, len(data.classes)
    label = np.zeros(len(ids), np.int64)
    confidence = np.zeros(len(ids), np.float32)
    probabilities = np.zeros((len(ids), num_classes), np.float16) if soft else None
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        found = predict(network, data, ids[part], device=device, execution=execution)
        label[part], confidence[part] = found.argmax(-1), found.max(-1)
        if probabilities is not None:
            probabilities[part] = found
    return PoolLabels(ids, label, confidence, np.zeros(len(ids), np.int64), probabilities)


def select_pseudo_labels(
    label: Ids,
    confidence: NDArray[np.float32],
    class_shares: Shares,
    *,
    threshold: float = 0.0,
    top_share: float = 1.0,
    balance: str = "none",
    quota: float = 1.0,
) -> Ids:
    """How often each row is to stand among the pseudo-labeled ones.

    Args:
        class_shares: How common each class is taken to be; they add up to 1.
        threshold: Least confidence of a row that is kept.
        top_share: Share of the rows of each predicted class that may be kept, the most confident first.
        balance: "cap" keeps of a class at most its quota, the most confident rows; "duplicate" also repeats the rows of
            smaller classes, up to ten times, until they fill it.
        quota: The quota as a multiple of the class's share of all rows kept.
    """
    assert balance in BALANCES
    counts = np.bincount(label, minlength=len(class_shares))
    order = np.lexsort((-confidence, label))
    place = np.empty(len(label), np.int64)  # of a row among those of its class, the most confident first
    place[order] = np.arange(len(label)) - (np.cumsum(counts) - counts)[label[order]]
    kept = (confidence >= threshold) & (place < np.ceil(top_share * counts)[label])
    times: Ids = kept.astype(np.int64)
    if balance == "none":
        return times
    room = np.ceil(quota * kept.sum() * class_shares - 1e-9).astype(np.int64)
    kept &= place < room[label]
    times = kept.astype(np.int64)
    if balance == "duplicate":
        found = np.maximum(1, np.bincount(label[kept], minlength=len(class_shares)))
        wanted = np.minimum(room, MAX_COPIES * found)
        times *= (wanted // found)[label] + (place < (wanted % found)[label])
    return times


def with_pseudo_labels(
    data: TrainingData, labels: PoolLabels, *, lambda_u: float, labeled_share: float
) -> TrainingData:
    """The true labels and the kept pseudo-labels as one labeled set, each part with a weight of its own.

    The loss over it is (L_true + lambda_u L_pseudo) / (1 + lambda_u), each L a mean over its own rows, whatever the
    numbers of rows: those decide only how many of each a batch holds.

    Args:
        labeled_share: Share of truly labeled rows in a batch, on average, which they are repeated to reach.
    """
    chosen = np.repeat(np.arange(len(labels.ids)), labels.repeats)
    num_true, num_pseudo = len(data.labeled), len(chosen)
    repeats = max(1, round(labeled_share * num_pseudo / ((1 - labeled_share) * num_true)))
    true_weight = torch.ones(num_true) if data.weight is None else data.weight.float()
    weight = torch.cat(
        [
            (true_weight / true_weight.sum() / repeats).repeat(repeats),
            torch.full((num_pseudo,), lambda_u / max(1, num_pseudo)),
        ]
    )
    targets, pseudo = data.targets, torch.from_numpy(labels.label[chosen]).to(data.targets.device)
    if labels.probabilities is not None or targets.ndim == 2:
        num_classes = len(data.classes)
        targets = targets if targets.ndim == 2 else F.one_hot(targets, num_classes).float()
        if labels.probabilities is None:
            pseudo = F.one_hot(pseudo, num_classes).float()
        else:
            pseudo = torch.from_numpy(labels.probabilities[chosen].astype(np.float32)).to(targets.device)
            pseudo = pseudo / pseudo.sum(-1, keepdim=True)
    return replace(
        data,
        labeled=np.concatenate([np.tile(data.labeled, repeats), labels.ids[chosen]]),
        targets=torch.cat([targets.repeat(repeats, *[1] * (targets.ndim - 1)), pseudo]),
        unlabeled=labels.ids[~labels.kept],
        weight=weight * len(weight),
    )
