"""The only place that talks to other processes; with one process every function is the identity."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

Rows = TypeVar("Rows", Tensor, np.ndarray[Any, Any])


def start() -> None:
    """Join the group of processes that torchrun started, if it did."""
    if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean(value: Tensor) -> Tensor:
    """The average of a tensor over all processes, equal on each of them."""
    if world_size() == 1:
        return value
    value = value.clone()
    dist.all_reduce(value)
    return value / world_size()


def share(rows: Rows) -> Rows:
    """This process's part of the rows of a global batch."""
    count = len(rows) // world_size()
    return rows if world_size() == 1 else rows[rank() * count : (rank() + 1) * count]


def gather(rows: Tensor) -> Tensor:
    """The rows of the global batch, of which each process has an equal part; gradients flow back to every part."""
    if world_size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows)
    return gathered


class _Gather(torch.autograd.Function):
    """Concatenation over processes; a row's gradient is the sum of what all processes' losses say of it."""

    @staticmethod
    def forward(_: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return share(gradient)


def all_true(value: bool) -> bool:
    """Whether the value is true on every process."""
    if world_size() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    votes = torch.tensor([0 if value else 1], device=device)
    dist.all_reduce(votes)
    return int(votes) == 0


def broadcast_object(value: Any) -> Any:
    """What process 0 passed, on every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace every gradient by its mean over all processes, in one transfer; a missing gradient counts as zero."""
    parameters = list(parameters)
    for parameter in parameters:
        if parameter.grad is None:  # also with one process, so that optimizers step alike however many there are
            parameter.grad = torch.zeros_like(parameter)
    if world_size() == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for parameter, gradient in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
        parameter.grad = gradient.view_as(parameter)
