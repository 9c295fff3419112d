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
        self.entries: list[dict[str, Any]] = []
        if path is not None and path.exists():
            whole, _, torn = path.read_text(encoding="utf-8").rpartition("\n")
            try:
                self.entries = [json.loads(line) for line in whole.splitlines()]
            except json.JSONDecodeError as error:
                raise RunFolderError(f"{path} is damaged ({error}); delete the run folder and start again") from None
            if torn:  # a line cut short by a crash took no effect
                path.write_text(whole + "\n" if whole else "", encoding="utf-8")

    def append(self, kind: str, step: int, **details: Any) -> dict[str, Any]:
        """Write one decision of process 0, on disk before this returns; the entry is the same on every process."""
        entry = distributed.broadcast_object({"kind": kind, "step": step, **details})
        self.entries.append(entry)
        if self._path is not None and distributed.rank() == 0:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
                file.flush()
                os.fsync(file.fileno())
        return entry  # type: ignore[no-any-return]

    def pending(self, position: int, step: int) -> dict[str, Any] | None:
        """The next decision a replay has to carry out before this step, if any.

        Args:
            position: How many entries the state has already taken in.
        """
        if position < len(self.entries) and self.entries[position]["step"] <= step:
            return self.entries[position]
        return None
