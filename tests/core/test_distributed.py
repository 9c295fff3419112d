"""Rows shared by two processes and gathered again, with their gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from understudy.core import distributed

ROWS = torch.arange(12.0).reshape(6, 2)


def _loss(rows: torch.Tensor, everyone: torch.Tensor) -> torch.Tensor:
    """The mean over own rows of their squared sums of products with all rows: each row's loss reads all others."""
    return (rows @ everyone.T).sum(1).square().mean()


def _work(rank: int, folder: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=2)
    rows = distributed.share(ROWS).clone().requires_grad_()
    everyone = distributed.gather(rows)
    _loss(rows, everyone).backward()  # type: ignore[no-untyped-call]
    torch.save((everyone.detach(), rows.grad, distributed.share(np.arange(6))), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_gather__rows_and_gradients_of_all_processes(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_work, (tmp_path,), nprocs=2)
    outcomes = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    rows = ROWS.clone().requires_grad_()
    _loss(rows, rows).backward()  # type: ignore[no-untyped-call]
    for everyone, _, _ in outcomes:
        assert torch.equal(everyone, ROWS)
    # Gradients are averaged over processes by the engine, so that together they are those of the mean over all rows.
    torch.testing.assert_close(torch.cat([gradient for _, gradient, _ in outcomes]) / 2, rows.grad)
    assert np.array_equal(np.concatenate([ids for _, _, ids in outcomes]), np.arange(6))


def test_gather__alone_is_the_identity() -> None:
    assert distributed.gather(ROWS) is ROWS
    assert distributed.share(ROWS) is ROWS
