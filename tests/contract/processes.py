"""Runs by two processes that share every batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.contract.tiny import network, run, stage
from understudy.engine.stage import Stage
from understudy.methods.base import Method


def training(kind: type[Method[Any]]) -> Stage:
    """A run whose result does not depend on how a batch is shared: no batch norm, nothing that amplifies rounding."""
    return stage(kind(), steps=12, net=network(norm=False))


def train_by_two(kinds: list[type[Method[Any]]], folder: Path) -> list[dict[int, dict[str, Tensor]]]:
    """The last state of each of two processes, by rank, for a run of each method; the runs keep a folder each."""
    torch.multiprocessing.spawn(_work, (kinds, folder), nprocs=2)
    return [{rank: torch.load(folder / f"{index}-{rank}.pt") for rank in (0, 1)} for index in range(len(kinds))]


def _work(rank: int, kinds: list[type[Method[Any]]], folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    for index, kind in enumerate(kinds):
        torch.save(run(training(kind), folder / f"run-{index}").tensors, folder / f"{index}-{rank}.pt")
    torch.distributed.destroy_process_group()
