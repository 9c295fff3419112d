"""Files are decoded once, into a memory-mapped file of uint8 rows that the next run finds again."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import platform
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from understudy.core.errors import DataError, UserError
from understudy.core.types import Observe
from understudy.data.collection import Names
from understudy.data.decode import FACTS, file_extent
from understudy.data.sizing import Form
from understudy.data.value_ranges import DEFAULTS, NUM_MEASURED, Range, Ranges
from understudy.data.workers import decode_all

VERSION = 3  # of the files; a store of another version is decoded again
_CONTENT_VERSION = 2  # pixels of 8-bit files are the same since version 2, so runs on them can be resumed
_DRAFT, _FACTS, _OWNER = ".decoding-", "facts.npy", "owner"
_ABANDONED_S = 3600  # without a write for an hour: no decoder waits that long for one image
_BLOCK_BYTES = 1 << 24  # 16 MiB copied at a time, so that memory does not grow with the data set
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) if hasattr(errno, "EDQUOT") else (errno.ENOSPC, errno.EFBIG)


@dataclass(frozen=True, eq=False)
class Stored:
    """Decoded rows, which of the given files they are, and why the others are missing.

    Args:
        rows: One per readable file, memory-mapped.
        readable: For each given file, whether it has a row.
        quarantine: (position of the file, reason).
        content: Digest of the bytes of all readable files and of the form they are kept in.
        hashes: Of each row's pixels; equal pixels have equal ones.
        sizes: Width and height of each row's image as its file holds it.
        flawed: (position of the file, flaw) of files that have a row all the same.
    """

    rows: UInt8[Tensor, "n c h w"]
    readable: NDArray[np.bool_]
    quarantine: tuple[tuple[int, str], ...]
    content: str
    hashes: NDArray[np.uint64]
    sizes: NDArray[np.int32]
    flawed: tuple[tuple[int, str], ...] = ()


def store(
    names: Names,
    paths: Names,
    form: Form,
    *,
    ranges: Ranges | None = None,
    cache: str | Path | None = None,
    observe: Observe | None = None,
) -> Stored:
    """The files' rows, decoded now or by an earlier run.

    A store is found again by the files' names, byte sizes and modification times, since reading a large pool only to
    hash it costs as much as decoding it. What identifies the data is the digest of the bytes, taken while decoding.

    Args:
        ranges: Of values of more than 8 bits; measured on these files if None.
        cache: Folder of stores; else `UNDERSTUDY_CACHE`, else `understudy` in the user's cache folder.
        observe: Called with the numbers of files done and in all.

    Raises:
        UserError: The cache folder cannot be written, or has no room.
        DataError: No file could be decoded.
    """
    status, missing = _examine(paths)
    present = np.flatnonzero(status[:, 0] >= 0)
    root = cache_folder(cache)
    ranges = ranges or Ranges()
    # A store of 8-bit files serves whoever asks; of others, who asks for the ranges that it was made with. A range that
    # is still to be measured depends on the files alone, so they identify it.
    asked = (dict(DEFAULTS) if ranges.fixed else {}) | ranges.known
    keys = (_key(names, status, form, {}), _key(names, status, form, asked))
    folder, index = root / keys[0], None
    for key in keys:
        candidate = _open_index(root / key, form, len(present))
        if candidate is not None and _agrees(candidate["ranges"], asked):
            folder, index = root / key, candidate
            break
    if index is None and len(present):
        folder, index = _decode_into(root, keys, [str(path) for path in paths[present]], form, ranges, observe)
    for kind, pair in (index["ranges"] if index else {}).items():
        ranges.known.setdefault(kind, (pair[0], pair[1]))
        ranges.of(kind, ())
    quarantine = missing + [(int(present[at]), reason) for at, reason in (index["quarantine"] if index else [])]
    if len(quarantine) == len(paths):
        position, reason = quarantine[0]
        raise DataError(f"none of the {len(paths)} image files could be used; the first, {names[position]!r}: {reason}")
    assert index is not None
    readable = np.ones(len(paths), np.bool_)
    readable[[position for position, _ in quarantine]] = False
    shape = (index["count"], form.channels, form.canvas, form.canvas)
    # Copy-on-write lets torch take the memory as it is, and a stray write could never reach the file.
    rows = torch.from_numpy(np.memmap(folder / "rows.u8", np.uint8, "c", shape=shape))
    facts = np.load(folder / _FACTS)
    flawed = tuple((int(present[at]), flaw) for at, flaw in index["flawed"])
    return Stored(rows, readable, tuple(sorted(quarantine)), index["content"], facts["hash"], facts["size"], flawed)


def cache_folder(cache: str | Path | None = None) -> Path:
    """Where stores are kept: as asked, else `UNDERSTUDY_CACHE`, else `understudy` in the user's cache folder."""
    if cache is None:
        cache = os.environ.get("UNDERSTUDY_CACHE")
    if cache:
        return Path(cache).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    if sys.platform == "darwin" and not base:
        base = "~/Library/Caches"
    return Path(base or "~/.cache").expanduser() / "understudy"


def _examine(paths: Names) -> tuple[NDArray[np.int64], list[tuple[int, str]]]:
    """Each file's byte size and modification time, -1 for files that cannot be used, and those with the reason."""
    status = np.full((len(paths), 2), -1, np.int64)
    missing = []
    for position, path in enumerate(paths):
        try:
            found = os.stat(path)
        except FileNotFoundError:
            missing.append((position, "no such file"))
        except (OSError, ValueError) as error:
            missing.append((position, f"cannot be read: {getattr(error, 'strerror', None) or error}"))
        else:
            if stat.S_ISREG(found.st_mode):
                status[position] = found.st_size, found.st_mtime_ns
            else:
                missing.append((position, "not a file"))
    return status, missing


def _agrees(used: Mapping[str, Sequence[float]], asked: Mapping[str, Range]) -> bool:
    """Whether a store made with these ranges holds what is asked for."""
    return all(kind not in asked or tuple(pair) == asked[kind] for kind, pair in used.items())


def _key(names: Names, status: NDArray[np.int64], form: Form, ranges: Mapping[str, Range]) -> str:
    about = [VERSION, form.canvas, form.channels, *sorted(ranges.items())]
    digest = hashlib.blake2b(json.dumps(about).encode(), digest_size=16)
    for start in range(0, len(names), 65536):
        digest.update("\n".join(names[start : start + 65536]).encode())
    digest.update(status.tobytes())
    return digest.hexdigest()


def _open_index(folder: Path, form: Form, num_files: int) -> dict[str, Any] | None:
    """The description of a finished store; None if it is missing or damaged."""
    try:
        index: dict[str, Any] = json.loads((folder / "index.json").read_text("utf-8"))
        size = (folder / "rows.u8").stat().st_size
        num_facts = len(np.load(folder / _FACTS, mmap_mode="r"))
    except (OSError, ValueError, EOFError):
        return None
    expected = index["count"] * form.channels * form.canvas**2
    sound = index["count"] + len(index["quarantine"]) == num_files and size == expected > 0
    sound = sound and num_facts == index["count"] and "ranges" in index
    return index if sound else None


def _decode_into(
    root: Path, keys: tuple[str, str], paths: list[str], form: Form, ranges: Ranges, observe: Observe | None
) -> tuple[Path, dict[str, Any]]:
    """The folder and index of a store made under a temporary name and renamed when complete.

    Args:
        keys: Its name when all files are 8-bit, and otherwise.
    """
    row_bytes = form.channels * form.canvas**2
    need = len(paths) * row_bytes
    draft = root / f"{_DRAFT}{uuid.uuid4().hex}"
    try:
        draft.mkdir(parents=True)
        (draft / _OWNER).write_text(f"{platform.node()} {os.getpid()}", "utf-8")
        _remove_abandoned(root)
        _reserve(draft / "rows.u8", need)
        done = _Files(paths, form, draft / "rows.u8", ranges, observe)
        done.decode()
        good = np.ones(len(paths), np.bool_)
        good[list(done.bad)] = False
        _close_gaps(draft / "rows.u8", good, row_bytes)
        content = hashlib.blake2b(json.dumps([_CONTENT_VERSION, asdict(form)]).encode(), digest_size=16)
        if done.used:
            content.update(json.dumps(sorted(done.used.items())).encode())
        content.update(done.facts["digest"][good].tobytes())
        np.save(draft / _FACTS, done.facts[["hash", "size"]][good])
        index = {"count": int(good.sum()), "quarantine": sorted(done.bad.items()), "content": content.hexdigest()}
        index |= {"ranges": done.used, "flawed": sorted(done.flawed.items())}
        (draft / "index.json").write_text(json.dumps(index), "utf-8")
        folder = root / keys[bool(done.used)]
        if index["count"]:
            _publish(draft, folder, form, len(paths))
        return folder, index
    except OSError as error:
        raise _cannot_store(error, root, need) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class _Files:
    """Files on their way into the store, those with more than 8 bits a value once their range has been measured."""

    def __init__(self, paths: list[str], form: Form, rows: Path, ranges: Ranges, observe: Observe | None) -> None:
        self.paths, self.form, self.rows, self.ranges, self.observe = paths, form, rows, ranges, observe
        self.facts = np.zeros(len(paths), FACTS)
        self.bad: dict[int, str] = {}
        self.flawed: dict[int, str] = {}
        self.used: dict[str, Range] = {}
        self._done = 0

    def decode(self) -> None:
        """Decode all of them."""
        waiting = self._pass(range(len(self.paths)), {})
        if waiting:
            used = {kind: self.ranges.of(kind, self._extents(files)) for kind, files in waiting.items()}
            files = sorted(at for some in waiting.values() for at in some)
            self._pass(files, used)
            self.used = {kind: used[kind] for kind in used if not self.bad.keys() >= set(waiting[kind])}

    def _extents(self, files: list[int]) -> Iterator[Range]:
        """Of files spread evenly over all that wait; read only when the range is still to be measured."""
        for at in np.linspace(0, len(files) - 1, min(NUM_MEASURED, len(files))).astype(int).tolist():
            if (found := file_extent(self.paths[files[at]])) is not None:
                yield found

    def _pass(self, files: Sequence[int], ranges: Mapping[str, Range]) -> dict[str, list[int]]:
        """Decode the files; those whose kind of value has no range yet come back, by kind."""
        waiting: dict[str, list[int]] = {}
        paths = [self.paths[at] for at in files]
        with closing(decode_all(paths, self.form, self.rows, rows=files, ranges=ranges)) as parts:
            for chunk, outcome in ((part.chunk, part.outcome) for part in parts):
                self.bad.update((chunk.rows[at], reason) for at, reason in outcome.bad)
                self.flawed.update((chunk.rows[at], flaw) for at, flaw in outcome.flawed)
                self.facts[chunk.rows] = np.frombuffer(outcome.facts, FACTS)
                for at, kind in outcome.unscaled:
                    waiting.setdefault(kind, []).append(chunk.rows[at])
                self._done += len(chunk.rows) - len(outcome.unscaled)
                if self.observe is not None:
                    self.observe(self._done, len(self.paths))
        return {kind: sorted(waiting[kind]) for kind in sorted(waiting)}


def _reserve(path: Path, size: int) -> None:
    """Create a file of that size, with its disk space allocated where the system supports it."""
    free = shutil.disk_usage(path.parent).free
    if free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with path.open("wb") as file:
        file.truncate(size)
        if hasattr(os, "posix_fallocate"):
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno in _NO_ROOM:
                    raise


def _close_gaps(path: Path, good: NDArray[np.bool_], row_bytes: int) -> None:
    """Move rows up over those of unreadable files, and cut the file to what is left."""
    if good.all():
        return
    edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]]).astype(np.int8)))
    with path.open("r+b") as file:
        end = 0
        for first, last in edges.reshape(-1, 2):
            for start in range(int(first) * row_bytes, int(last) * row_bytes, _BLOCK_BYTES):
                file.seek(start)
                block = file.read(min(_BLOCK_BYTES, int(last) * row_bytes - start))
                file.seek(end)
                end += file.write(block)
        file.truncate(end)


def _publish(draft: Path, folder: Path, form: Form, num_files: int) -> None:
    """Give the finished store its name, unless another process was faster; a damaged store is replaced."""
    try:
        draft.rename(folder)
    except OSError:
        if _open_index(folder, form, num_files) is not None:
            return
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)


def _remove_abandoned(root: Path) -> None:
    """Remove what decoders that were killed left behind: drafts of dead processes, or not written to for an hour."""
    for draft in root.glob(f"{_DRAFT}*"):
        with suppress(OSError):
            newest = max(path.stat().st_mtime for path in (draft, *draft.glob("*")))
            if newest < time.time() - _ABANDONED_S or _is_orphan(draft):
                shutil.rmtree(draft, ignore_errors=True)


def _is_orphan(draft: Path) -> bool:
    """Whether the process of this machine that made the draft has ended."""
    if os.name != "posix":
        return False
    try:
        machine, number = (draft / _OWNER).read_text("utf-8").split()
        if machine != platform.node():
            return False
        os.kill(int(number), 0)  # asks, and sends nothing
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _cannot_store(error: OSError, root: Path, need: int) -> UserError:
    advice = "name another folder with cache= or UNDERSTUDY_CACHE"
    if error.errno in _NO_ROOM:
        return UserError(
            f"the disk of {root} is full: the decoded images need {math.ceil(need / 2**20):,} MB there; "
            f"free some room or {advice}"
        )
    return UserError(f"decoded images cannot be written to {root} ({error.strerror or error}); {advice}")
