"""Execution on this machine: device, free cores, data type and memory layout, measured once per run."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from understudy.core.arguments import quoted
from understudy.core.budget import Budget
from understudy.core.errors import ConfigError
from understudy.models.nets import Execution, running

if TYPE_CHECKING:
    from understudy.engine.state import TrainState

_WORTH_COMPILING_S = 180  # compiling may take a minute, which a shorter run does not win back
_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # numbers of glibc's malloc.h
_GAIN_WORTH_HAVING = 0.95  # of the time; a smaller gain is within the noise of three measurements


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA, else Apple's, else the processor.

    Raises:
        ConfigError: There is no such device here.
    """
    available = ["cpu"]
    if torch.cuda.is_available():
        available.insert(0, "cuda")
    elif torch.backends.mps.is_available():
        available.insert(0, "mps")
    if name == "auto":
        name = available[0]
    if name == "cuda":
        name = f"cuda:{int(os.environ.get('LOCAL_RANK', 0))}"
    if name.split(":")[0] not in available:
        raise ConfigError(f"device {quoted(name)} is not here; available: {', '.join(available)}")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        allowed = ", ".join(available)
        raise ConfigError(f"device {quoted(name)} cannot be used ({reason}); available: {allowed}") from None
    return device


def free_cores(sample_s: float = 0.2) -> int:
    """How many processor cores this process may use that other processes leave idle, at least 1.

    A thread more than there are free cores makes small operations several times slower, so a busy core is left alone.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return max(1, int(os.environ["OMP_NUM_THREADS"].split(",")[0]))
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = min(allowed, _cores_of_container() or allowed)
    before = _busy_and_idle_ticks()
    if before is None:
        return allowed
    time.sleep(sample_s)
    after = _busy_and_idle_ticks()
    assert after is not None
    busy, idle = after[0] - before[0], after[1] - before[1]
    if busy + idle <= 0:
        return allowed
    cores = os.cpu_count() or 1
    return max(1, min(allowed, round(cores * idle / (busy + idle) + 0.2)))


def choose_execution(state: TrainState, device: torch.device, budget: Budget) -> Execution:
    """How to run the networks of this state on this device, by the settings or, where they say auto, by measurement."""
    settings = state.settings
    threads = free_cores() if device.type == "cpu" else torch.get_num_threads()
    torch.set_num_threads(threads)
    images = len(state.spec.shape) == 3
    base = Execution(dtype="float32" if settings.dtype == "auto" else settings.dtype, threads=threads)
    if device.type == "cuda":
        dtype = "bfloat16" if settings.dtype == "auto" and torch.cuda.is_bf16_supported() else base.dtype
        base = replace(base, dtype=dtype, channels_last=images)
    elif device.type == "cpu" and images and budget.is_timed:
        base = _fastest_on_processor(state, base, fixed_dtype=settings.dtype != "auto")
    else:  # a budget of steps promises reproducible results, so nothing is decided by timing
        base = replace(base, channels_last=images)
    return replace(base, compiled=_compiles(settings.compile, device, budget))


def keep_freed_memory() -> None:
    """Let this process keep the memory it frees, where the C library allows it.

    A training step on the processor frees and takes back the same large blocks; returning them to the system each
    time costs a fault per page, 2 to 12 % of a step.
    """
    with contextlib.suppress(OSError, AttributeError):  # only glibc has these settings
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch means that memory ran out, on a device or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        phrase in str(error).lower() for phrase in ("can't allocate memory", "out of memory", "not enough memory")
    )


def _compiles(wish: str, device: torch.device, budget: Budget) -> bool:
    if wish != "auto":
        return wish == "on"
    seconds = budget.wall_s or budget.cpu_s or 0
    return device.type == "cuda" and seconds >= _WORTH_COMPILING_S


def _fastest_on_processor(state: TrainState, base: Execution, *, fixed_dtype: bool) -> Execution:
    """The fastest of a few ways to run the network forward and back on rows like the run's."""
    candidates = [base, replace(base, channels_last=True)]
    if not fixed_dtype and has_fast_bfloat16():
        candidates.append(replace(base, dtype="bfloat16", channels_last=True))
    network = copy.deepcopy(state.nets.model)
    rows = min(128, state.stream.batch_size + state.stream.unlabeled_batch_size)
    x = torch.rand(rows, *state.spec.shape, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(rows, dtype=torch.long)

    def seconds(execution: Execution) -> float:
        before = time.process_time()
        with running(execution, x) as laid_out:
            logits = network(laid_out)
        F.cross_entropy(logits.float(), y).backward()  # type: ignore[no-untyped-call]
        return time.process_time() - before

    times = {candidate: [seconds(candidate)] for candidate in candidates}
    for _ in range(2):  # in turn, so that a busy moment does not fall on one candidate alone
        for candidate in candidates:
            times[candidate].append(seconds(candidate))
    best = base
    for candidate in candidates[1:]:
        if min(times[candidate][1:]) < _GAIN_WORTH_HAVING * min(times[best][1:]):
            best = candidate
    return best


def has_fast_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 faster than in float32."""
    capabilities = torch.backends.cpu.get_cpu_capability()
    flags = Path("/proc/cpuinfo")
    if flags.exists():
        text = flags.read_text(encoding="utf-8", errors="replace")
        return "avx512_bf16" in text or "amx_bf16" in text
    return capabilities not in ("NO AVX", "DEFAULT", "AVX2")


def _busy_and_idle_ticks() -> tuple[int, int] | None:
    """Ticks of all processors since the machine started, busy and idle, where the system reports them."""
    try:
        fields = [int(value) for value in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    except (OSError, ValueError):
        return None
    idle = fields[3] + fields[4]
    return sum(fields[:8]) - idle, idle


def _cores_of_container() -> int | None:
    """The number of cores that a container is limited to, rounded up."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else max(1, -(-int(quota) // int(period)))
