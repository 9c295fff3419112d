"""A folder that holds one training run: claimed by one process, written atomically, recognized by its identity."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.core.errors import RunFolderError
from understudy.core.files import FORMAT, atomic, check_format, explain_write_errors, read_json, write_json

IDENTITY = "identity.json"
_PATIENCE_S = 5.0  # a killed run's workers need a moment to end
_CHECKPOINTS = ("checkpoint.safetensors", "checkpoint-previous.safetensors")
_LEDGER = "ledger.jsonl"
_CHECKSUM = "checksum"
# Files that are written after the identity, so that without one they show that it was lost.
_AFTER_IDENTITY = (_LEDGER, *_CHECKPOINTS, "finished.json", "budgets.json", "grants.json", "result.json", "model.json")


class RunFolder:
    """The files of one stage: identity, ledger, checkpoints, history, and the result once it is finished."""

    def __init__(self, path: Path) -> None:
        """Make the folder if it is not there."""
        self.path = path
        with explain_write_errors(path):
            path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Hold the folder for this process; the operating system lets go when the process ends, however it ends.

        Raises:
            RunFolderError: Another process is training in this folder.
        """
        with explain_write_errors(self.path), (self.path / "lock").open("w") as file:
            try:
                import fcntl

                patient_until = time.monotonic() + _PATIENCE_S
                while True:
                    try:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        if time.monotonic() > patient_until:
                            raise
                        time.sleep(0.1)
            except ImportError:  # Windows has no flock; two runs in one folder are then not noticed
                pass
            except OSError:
                raise RunFolderError(
                    f"another run is writing to {self.path}; wait for it, or choose another folder"
                ) from None
            yield

    def recognize(self, identity: dict[str, str]) -> None:
        """Write the identity into a fresh folder, or compare it with the one there.

        Raises:
            RunFolderError: The folder belongs to another run, or to a newer version.
        """
        path = self.path / IDENTITY
        wanted = {"format": FORMAT, **identity}
        if not path.exists():
            if any((self.path / name).exists() for name in _AFTER_IDENTITY):
                raise _lost(path)
            if (other := _other_run(self.path)) is not None:
                raise RunFolderError(
                    f"{self.path} is not a run folder but holds other runs, such as {other}; choose a folder for this "
                    "run alone"
                )
            write_json(path, wanted)
            return
        stored = read_json(path)
        check_format(stored, self.path)
        different = [name for name in identity if stored.get(name) != identity[name]]
        if different:
            raise RunFolderError(
                f"{self.path} holds a run that differs in {' and '.join(different)}; "
                "choose another folder, or repeat the command that began it"
            )

    def save_checkpoint(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Replace the newest checkpoint; the one before it is kept in case this one turns out damaged."""
        newest, previous = (self.path / name for name in _CHECKPOINTS)
        with atomic(newest, replaced=previous) as temporary:
            _save_tensors(temporary, tensors, {"meta": json.dumps(meta)})
        with explain_write_errors(self.path):
            _sync_folder(self.path)

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The newest undamaged checkpoint, or None.

        Raises:
            RunFolderError: There are some, and none is whole.
        """
        paths = [self.path / name for name in _CHECKPOINTS if (self.path / name).exists()]
        for path in paths:
            loaded = load_tensors(path)
            if loaded is not None:
                return loaded[0], json.loads(loaded[1]["meta"])
        if paths:
            raise RunFolderError(
                f"{' and '.join(map(str, paths))} {'are' if len(paths) > 1 else 'is'} damaged; delete {self.path} "
                "and repeat the command, which trains this part again"
            )
        return None

    def drop_checkpoints(self) -> None:
        """Remove what only a resume would need."""
        for name in _CHECKPOINTS:
            (self.path / name).unlink(missing_ok=True)


def save_weights(path: Path, tensors: dict[str, Tensor], meta: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    with atomic(path) as temporary:
        # Copies, because the format refuses tensors that share memory, as tied weights do.
        _save_tensors(temporary, {name: tensor.detach().clone() for name, tensor in tensors.items()}, meta or {})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and text of a file that `save_weights` wrote, or None if it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            text = dict(file.metadata() or {})
    except (FileNotFoundError, SafetensorError, OSError):
        return None
    return (tensors, text) if text.pop(_CHECKSUM, "") == _checksum(tensors, text) else None


def read_decisions(path: Path) -> dict[str, Any]:
    """What an earlier process of the run decided before it trained, by name; empty if none did.

    Raises:
        RunFolderError: The file is damaged, or it is missing though runs below its folder were begun.
    """
    if path.exists():
        return read_json(path)  # type: ignore[no-any-return]
    begun = (ledger.relative_to(path.parent) for ledger in path.parent.rglob(_LEDGER))
    if any(ledger.parts[0] != "plan" for ledger in begun):  # trials of a plan come before every decision
        raise _lost(path)
    return {}


def _other_run(folder: Path) -> Path | None:
    """A run below a folder that is not a run itself: a run started in the folder would mix up their files."""
    for depth in (1, 2, 3):  # deeper, the search could take long in a folder of everything
        identity = min(folder.glob("*/" * depth + "identity.json"), default=None)
        if identity is not None:
            return identity.parent
    return None


def _lost(path: Path) -> RunFolderError:
    return RunFolderError(
        f"{path} is missing, though training had begun; restore it, or delete {path.parent} and train again"
    )


def _save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, str]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(tensors, path, metadata={**meta, _CHECKSUM: _checksum(tensors, meta)})
    except SafetensorError as error:
        if "os error 28" in str(error).lower() or "no space" in str(error).lower():
            raise OSError(errno.ENOSPC, "no space left on device") from error
        raise


def _checksum(tensors: dict[str, Tensor], text: dict[str, str]) -> str:
    """A checksum of tensors and text, since safetensors itself does not notice a changed weight."""
    checksum = zlib.crc32(json.dumps(sorted(text.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), checksum)
        content: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(content, checksum)
    return f"{checksum:08x}"


def _sync_folder(path: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
