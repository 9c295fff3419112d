"""Features of rows by a frozen network, computed once into a memory-mapped file that later runs find again."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from understudy.core.budget import Budget, Cost, format_seconds
from understudy.core.errors import UserError
from understudy.core.files import explain_write_errors, read_json, write_json
from understudy.core.types import Ids, Observe
from understudy.data.store import cache_folder
from understudy.data.training_data import TrainingData
from understudy.engine.predict import features
from understudy.models.heads import feature_width, find_head
from understudy.models.nets import Execution

# Part of the key: raise it when the same rows and network give other features.
VERSION = 1
# Rows between two looks at the clock.
_ROWS_AT_ONCE = 1024
# A killed run loses at most so many seconds of work.
_SAVE_S = 2.0
# The first batches are slow, so a forecast from less than this is not trusted to refuse a budget.
_MIN_FORECAST_S = 0.5
# Larger data are not read once more for their digest; the content that identifies them stands for them.
_MAX_DIGESTED_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class FrozenFeatures:
    """What a frozen network makes of rows.

    Args:
        rows: One per row of the data, by row number; only those that were asked for mean anything.
        key: Text that differs when rows, network or arithmetic do.
        num_computed: Rows that no earlier call had computed.
        cost_before: What the other rows had cost when they were computed.
    """

    rows: Float[Tensor, "n d"]
    key: str
    num_computed: int
    cost_before: Cost


def feature_folder() -> Path:
    """Where features are kept: beside the decoded images."""
    return cache_folder() / "features"


def frozen_features(
    network: nn.Module,
    data: TrainingData,
    ids: Ids,
    *,
    folder: Path | None = None,
    device: torch.device | None = None,
    execution: Execution | None = None,
    budget: Budget | None = None,
    observe: Observe | None = None,
) -> FrozenFeatures:
    """The features of the plain views of these rows by the network in evaluation mode, computed or found.

    Rows are written a few seconds' work at a time and then marked as done, so that a computation that was killed is
    gone on with, and another choice of rows computes only what is new. The head's weights play no part, so that runs
    with other seeds or classes find the same features.

    Args:
        folder: Where files of features are kept; in memory alone without one.
        budget: What all the rows together may have cost, those of earlier calls included.
        observe: Called with (rows done, rows in all).

    Raises:
        UserError: The network has no head to take features from, the budget is too short, or the disk is full.
    """
    device = device or next((p.device for p in network.parameters()), torch.device("cpu"))
    execution = execution or Execution()
    shape = (len(data.rows), feature_width(network))
    key = _key(network, data, device, execution)
    kept = _MemoryRows(shape) if folder is None else _FileRows(folder / key, shape)
    ids = np.unique(ids)
    with kept.claimed():
        missing = ids[~kept.done[ids]]
        num_found = len(ids) - len(missing)
        before = _scaled(kept.cost, num_found / max(1, int(kept.done.sum())))
        begun, saved_at, unsaved = Cost.now(), 0.0, list[Ids]()
        for start in range(0, len(missing), _ROWS_AT_ONCE):
            part = missing[start : start + _ROWS_AT_ONCE]
            kept.rows[part] = features(network, data, part, device=device, execution=execution)
            unsaved.append(part)
            spent, done = Cost.now() - begun, start + len(part)
            if done == len(missing) or spent.wall_s - saved_at >= _SAVE_S:
                kept.save(np.concatenate(unsaved), spent)
                unsaved, saved_at = [], spent.wall_s
            if budget is not None:
                sure = done == len(missing) or spent.wall_s >= _MIN_FORECAST_S
                _check(before + _scaled(spent, len(missing) / done), budget, len(ids), sure=sure)
            if observe is not None:
                observe(num_found + done, len(ids))
        if budget is not None and not len(missing):
            _check(before, budget, len(ids), sure=True)
    return FrozenFeatures(kept.tensor(), key, len(missing), before)


class _MemoryRows:
    """Features that end with the process."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.rows: NDArray[np.float32] = np.zeros(shape, np.float32)
        self.done: NDArray[np.bool_] = np.zeros(shape[0], np.bool_)
        self.cost = Cost()

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Nobody else could write here."""
        yield

    def save(self, ids: Ids, spent: Cost) -> None:
        """Nothing to write."""

    def tensor(self) -> Tensor:
        """The rows as they are."""
        return torch.from_numpy(self.rows)


class _FileRows:
    """Features in a folder of their own: the rows, which of them are done, and what they cost."""

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder, self.shape = folder, shape
        self.cost = Cost()

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Lock the folder; another process waits, and then finds what this one wrote."""
        with explain_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("w") as lock:
                with contextlib.suppress(ImportError):  # Windows has no flock; two runs at once are the user's care
                    import fcntl

                    fcntl.flock(lock, fcntl.LOCK_EX)
                self._open()
                yield

    def save(self, ids: Ids, spent: Cost) -> None:
        """Bring the rows to the disk, and only then mark them as done."""
        self.rows.flush()
        self.done[ids] = True
        self.done.flush()
        write_json(self.folder / "cost.json", asdict(self.cost + spent))

    def tensor(self) -> Tensor:
        """The rows, mapped so that a stray write could never reach the file."""
        path = self.folder / "features.npy"
        return torch.from_numpy(np.load(path, mmap_mode="c") if self.shape[1] else np.zeros(self.shape, np.float32))

    def _open(self) -> None:
        rows, done, cost = (self.folder / name for name in ("features.npy", "done.npy", "cost.json"))
        with contextlib.suppress(OSError, ValueError, UserError):
            for path in (rows, done):
                np.load(path, mmap_mode="r")  # refuses a file that was cut short, which writing would fill up
            self.rows, self.done = np.load(rows, mmap_mode="r+"), np.load(done, mmap_mode="r+")
            self.cost = Cost(**read_json(cost))
            if self.rows.shape == self.shape and len(self.done) == self.shape[0]:
                return
        done.unlink(missing_ok=True)  # first, so that no mark outlives its row
        self.cost = Cost()
        write_json(cost, asdict(self.cost))
        self.rows = _new_map(rows, np.float32, self.shape)
        self.done = _new_map(done, np.bool_, self.shape[:1])


def _new_map(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    """A mapped .npy file of zeros with allocated disk space; a mapped write to a full disk would kill the process."""
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, path.stat().st_size))
    return mapped


def _check(cost: Cost, budget: Budget, num_rows: int, *, sure: bool) -> None:
    """Refuse a budget that all the rows together exceed, as soon as that is foreseeable."""
    over = [
        (name, needs, has)
        for name, needs, has in (("time", cost.wall_s, budget.wall_s), ("processor time", cost.cpu_s, budget.cpu_s))
        if has is not None and needs > has
    ]
    if sure and over:
        name, needs, has = over[0]
        raise UserError(
            f"the features of {num_rows:,} rows take about {format_seconds(needs)} of {name} and the budget leaves "
            f"{format_seconds(has)} for them; give a longer budget, a smaller network, or smaller or fewer images"
        )


def _scaled(cost: Cost, factor: float) -> Cost:
    return Cost(cost.wall_s * factor, cost.cpu_s * factor)


def _key(network: nn.Module, data: TrainingData, device: torch.device, execution: Execution) -> str:
    """A text that is the same only when every feature is."""
    digest = hashlib.blake2b(digest_size=16)
    text = (VERSION, tuple(data.rows.shape), str(data.rows.dtype), data.row_shape, device.type, execution.dtype)
    digest.update(repr(text).encode())
    rows = data.rows
    if not data.content or rows.numel() * rows.element_size() <= _MAX_DIGESTED_BYTES:
        # Of what identifies the data, labels and roles do not matter here, and differ between label budgets.
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            digest.update(rows[start : start + _ROWS_AT_ONCE].contiguous().cpu().numpy().data)
    else:
        digest.update(data.content.encode())
    head = find_head(network)[0]
    for name, module in network.named_modules():
        if name != head:
            parts = "" if any(True for _ in module.children()) else module.extra_repr()
            digest.update(f"{name} {type(module).__qualname__} {parts}\n".encode())
    for name, tensor in network.state_dict().items():
        if not name.startswith(f"{head}.") and head:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return digest.hexdigest()
