"""The decision ledger: what the environment decides is written down before it takes effect and replayed on resume."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from understudy.core import distributed
from understudy.core.errors import RunFolderError


class Ledger:
    """An append-only list of decisions, each tied to the step before which it takes effect."""

    def __init__(self, path: Path | None) -> None:
        """Read what an earlier process decided; with no path the ledger lives in memory alone."""
        self._path = path
        # Process 0 alone reads: by the time another one did, the first could have decided something new.
        leads = distributed.rank() == 0
        self.entries: list[dict[str, Any]] = distributed.broadcast_object(_read(path) if path and leads else [])

    def append(self, kind: str, step: int, *, position: int, **details: Any) -> dict[str, Any]:
        """Write one decision of process 0, on disk before this returns; the entry is the same on every process.

        Args:
            position: How many entries the state has taken in. What an earlier process decided after that stays in
                force behind the new decision.
        """
        entry = distributed.broadcast_object({"kind": kind, "step": step, **details})
        self.entries.insert(position, entry)
        if self._path is not None and distributed.rank() == 0:
            if position == len(self.entries) - 1:
                _write(self._path, "a", [entry])
            else:
                temporary = self._path.with_suffix(".tmp")
                _write(temporary, "w", self.entries)
                os.replace(temporary, self._path)
        return entry  # type: ignore[no-any-return]

    def pending(self, position: int, step: int) -> dict[str, Any] | None:
        """The next decision a replay has to carry out before this step, if any.

        Args:
            position: How many entries the state has already taken in.
        """
        if position < len(self.entries) and self.entries[position]["step"] <= step:
            return self.entries[position]
        return None


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    whole, _, torn = path.read_text(encoding="utf-8").rpartition("\n")
    try:
        entries = [json.loads(line) for line in whole.splitlines()]
    except json.JSONDecodeError as error:
        raise RunFolderError(f"{path} is damaged ({error}); delete the run folder and start again") from None
    if torn:  # a line cut short by a crash took no effect
        path.write_text(whole + "\n" if whole else "", encoding="utf-8")
    return entries


def _write(path: Path, mode: str, entries: list[dict[str, Any]]) -> None:
    with path.open(mode, encoding="utf-8") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in entries)
        file.flush()
        os.fsync(file.fileno())
