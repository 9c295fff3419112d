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
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from understudy.data import decode
from understudy.data.sizing import Form

CHUNK = 64
_INLINE = 2 * CHUNK


@dataclass(frozen=True)
class Chunk:
    """A run of files whose rows lie one after another in the store, from row `start`."""

    start: int
    paths: list[str]


@dataclass(frozen=True)
class Decoded:
    """What became of a chunk: (position in the chunk, reason) of unreadable files, and every file's `FACTS`."""

    chunk: Chunk
    bad: list[tuple[int, str]]
    facts: bytes


class _CrashedError(Exception):
    """A worker process ended without an answer."""


def num_workers() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decode_all(paths: list[str], form: Form, store: Path, workers: int | None = None) -> Generator[Decoded, None, None]:
    """Each chunk's outcome, in any order, once its rows are written into the store.

    Raises:
        OSError: The store cannot be written, for example because the disk is full.
    """
    chunks = [Chunk(start, paths[start : start + CHUNK]) for start in range(0, len(paths), CHUNK)]
    count = min(workers or num_workers(), len(chunks))
    if len(paths) <= _INLINE:
        yield from (_decode_here(chunk, form, store) for chunk in chunks)
        return
    pool: list[_Worker] = []
    idle: SimpleQueue[_Worker] = SimpleQueue()

    def decode_chunk(chunk: Chunk) -> Decoded:
        worker = idle.get()
        try:
            return worker.decode(chunk, form, store)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(count) as threads:
        try:
            for _ in range(count):
                pool.append(_Worker())
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


def _decode_here(chunk: Chunk, form: Form, store: Path) -> Decoded:
    return Decoded(chunk, *decode.decode_into(store, chunk.start, chunk.paths, form.canvas, form.channels))


class _Worker:
    """One decoder process, started again when a damaged file brings it down."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._stopped = False

    def decode(self, chunk: Chunk, form: Form, store: Path) -> Decoded:
        """The chunk's outcome; a file that brings the process down is found by halving the chunk, and is unreadable."""
        try:
            return self._ask(chunk, form, store)
        except _CrashedError:
            if self._stopped:
                raise
            self.close()
        if len(chunk.paths) == 1:
            return Decoded(chunk, [(0, "damaged: the decoder crashed")], bytes(decode.FACTS.itemsize))
        half = len(chunk.paths) // 2
        left = self.decode(Chunk(chunk.start, chunk.paths[:half]), form, store)
        right = self.decode(Chunk(chunk.start + half, chunk.paths[half:]), form, store)
        bad = left.bad + [(half + position, reason) for position, reason in right.bad]
        return Decoded(chunk, bad, left.facts + right.facts)

    def stop(self) -> None:
        """Kill the process, whatever it is at, and start none again."""
        self._stopped = True
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Wait for the process to end and close its pipes; nobody may be waiting for its answer."""
        if self._process is not None:
            _reap(self._process)
            self._process = None

    def _ask(self, chunk: Chunk, form: Form, store: Path) -> Decoded:
        if self._process is None:
            self._process = _start()
            if self._process is None:
                return _decode_here(chunk, form, store)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        job = {
            "paths": chunk.paths,
            "start": chunk.start,
            "store": str(store),
            "canvas": form.canvas,
            "channels": form.channels,
        }
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except (OSError, ValueError):
            line = ""
        if not line:
            raise _CrashedError
        reply = json.loads(line)
        if "error" in reply:
            raise OSError(reply["errno"], reply["error"])
        return Decoded(chunk, [(int(at), str(reason)) for at, reason in reply["bad"]], bytes.fromhex(reply["facts"]))


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
