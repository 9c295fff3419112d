"""Decoder processes: each is `decode.py` run by its path, so it starts in a tenth of a second and never imports torch.

Threads would not do: around the decoder itself Pillow holds the interpreter lock, and two threads decode small files
slower than one. The `multiprocessing` module would import the user's script again, and forking a process in which
torch runs threads is not safe.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from understudy.data import decode
from understudy.data.decode import DecodingResult
from understudy.data.sizing import Form
from understudy.data.value_ranges import DEFAULTS, Range

CHUNK = 64  # files per message to a worker: messages cost nothing beside decoding, and progress still moves
_INLINE = 2 * CHUNK  # up to here decoding takes less time than the start of a worker process


@dataclass(frozen=True)
class Chunk:
    """Some files and their rows in the store."""

    rows: list[int]
    paths: list[str]

    def half(self, first: bool) -> Chunk:
        """The first or second half of them."""
        part = slice(len(self.rows) // 2) if first else slice(len(self.rows) // 2, None)
        return Chunk(self.rows[part], self.paths[part])


@dataclass(frozen=True)
class Decoded:
    """The outcome of decoding a chunk; positions are those in the chunk."""

    chunk: Chunk
    outcome: DecodingResult


class _CrashedError(Exception):
    """A worker process ended without an answer."""


def num_workers() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(
    paths: Sequence[str],
    form: Form,
    store: Path,
    workers: int | None = None,
    *,
    rows: Sequence[int] | None = None,
    ranges: Mapping[str, Range] = DEFAULTS,
) -> Generator[Decoded, None, None]:
    """Each chunk's outcome, in any order, once its rows are written into the store.

    Args:
        rows: Of the files in the store; their positions if None.
        ranges: Of values of more than 8 bits, by kind; files with values of another kind are left out.

    Raises:
        OSError: The store cannot be written, for example because the disk is full.
    """
    rows = range(len(paths)) if rows is None else rows
    chunks = [
        Chunk(list(rows[start : start + CHUNK]), list(paths[start : start + CHUNK]))
        for start in range(0, len(paths), CHUNK)
    ]
    job = _Job(form, store, ranges)
    count = min(workers or num_workers(), len(chunks))
    if len(paths) <= _INLINE:
        yield from (_decode_here(chunk, job) for chunk in chunks)
        return
    pool: list[_DecodingWorker] = []
    idle: SimpleQueue[_DecodingWorker] = SimpleQueue()

    def decode_chunk(chunk: Chunk) -> Decoded:
        worker = idle.get()
        try:
            return worker.decode(chunk, job)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(count) as threads:
        try:
            for _ in range(count):
                pool.append(_DecodingWorker())
                idle.put(pool[-1])
            pending: set[Future[Decoded]] = set()
            for chunk in chunks:
                pending.add(threads.submit(decode_chunk, chunk))
                if len(pending) >= 2 * count:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in pending)
        finally:
            for worker in pool:
                worker.stop()
            threads.shutdown(cancel_futures=True)
            for worker in pool:
                worker.close()


@dataclass(frozen=True)
class _Job:
    """What is the same for all chunks."""

    form: Form
    store: Path
    ranges: Mapping[str, Range]

    def request(self, chunk: Chunk) -> dict[str, Any]:
        """The arguments of `decode_into` for the chunk."""
        return {
            "store": str(self.store),
            "rows": chunk.rows,
            "paths": chunk.paths,
            "canvas": self.form.canvas,
            "channels": self.form.channels,
            "ranges": dict(self.ranges),
        }


def _decode_here(chunk: Chunk, job: _Job) -> Decoded:
    return Decoded(chunk, decode.decode_into(**job.request(chunk)))


class _DecodingWorker:
    """One decoder process, started again when a damaged file brings it down."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def decode(self, chunk: Chunk, job: _Job) -> Decoded:
        """The chunk's outcome; a file that brings the process down is found by halving the chunk, and is unreadable."""
        try:
            return self._ask(chunk, job)
        except _CrashedError:
            if self._stopped:
                raise
            self.close()
        if len(chunk.paths) == 1:
            crashed = [(0, "damaged: the decoder crashed")]
            return Decoded(chunk, DecodingResult(crashed, [], [], bytes(decode.FACTS.itemsize)))
        half = len(chunk.paths) // 2
        left = self.decode(chunk.half(first=True), job).outcome
        right = self.decode(chunk.half(first=False), job).outcome
        bad, unscaled, flawed = (
            a + [(half + at, text) for at, text in b]
            for a, b in ((left.bad, right.bad), (left.unscaled, right.unscaled), (left.flawed, right.flawed))
        )
        return Decoded(chunk, DecodingResult(bad, unscaled, flawed, left.facts + right.facts))

    def stop(self) -> None:
        """Kill the process, whatever it is at, and start none again."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Wait for the process to end and close its pipes; nothing may be waiting for its answer."""
        if self._process is not None:
            _reap(self._process)
            self._process = None

    def _ask(self, chunk: Chunk, job: _Job) -> Decoded:
        if self._process is None:
            self._process = _start()
            if self._process is None:
                return _decode_here(chunk, job)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(job.request(chunk)) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        if not line:
            raise _CrashedError
        reply = json.loads(line)
        if "error" in reply:
            raise OSError(reply["errno"], reply["error"])
        bad, unscaled, flawed = (
            [(int(at), str(text)) for at, text in reply[name]] for name in ("bad", "unscaled", "flawed")
        )
        return Decoded(chunk, DecodingResult(bad, unscaled, flawed, bytes.fromhex(reply["facts"])))


def _start() -> subprocess.Popen[str] | None:
    """A decoder process that said it is ready, or None where no interpreter can be started."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONUTF8": "1"}
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", decode.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
    except OSError:
        return None
    assert process.stdout is not None
    if process.stdout.readline() == "ready\n":
        return process
    _reap(process)
    return None


def _reap(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):  # a request that was never read is still in the pipe's buffer
            if pipe is not None:
                pipe.close()
