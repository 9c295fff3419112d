"""The decision ledger: what the environment decides is written down before it takes effect and replayed on resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from understudy.core import distributed
from understudy.core.errors import RunFolderError
from understudy.core.files import DamagedError, JsonLines

_CLOSED = "finished"


class Ledger:
    """An append-only list of decisions, each tied to the step before which it takes effect."""

    def __init__(self, path: Path | None) -> None:
        """Read what an earlier process decided; with no path the ledger lives in memory alone."""
        # Process 0 alone reads: by the time another one did, the first could have decided something new.
        leads = distributed.rank() == 0
        self._file = _open(path) if path and leads else None
        entries = list(self._file.entries) if self._file else []
        self.is_closed = bool(entries) and entries[-1]["kind"] == _CLOSED
        self.entries: list[dict[str, Any]] = distributed.broadcast_object(entries[: -1 if self.is_closed else None])

    def append(self, kind: str, step: int, *, position: int, **details: Any) -> dict[str, Any]:
        """Write one decision of process 0, on disk before this returns; the entry is the same on every process.

        Args:
            position: How many entries the state has taken in. What an earlier process decided after that stays in
                force behind the new decision.
        """
        entry = distributed.broadcast_object({"kind": kind, "step": step, **details})
        self.entries.insert(position, entry)
        if self._file is not None:
            if position == len(self.entries) - 1:
                self._file.append(entry)
            else:
                self._file.rewrite(self.entries)
        return entry  # type: ignore[no-any-return]

    def close(self, step: int) -> None:
        """Write down that the result is on disk, so that it is missed when it is lost."""
        if self._file is not None:
            self._file.append({"kind": _CLOSED, "step": step})

    def pending(self, position: int, step: int) -> dict[str, Any] | None:
        """The next decision a replay has to carry out before this step, if any.

        Args:
            position: How many entries the state has already taken in.
        """
        if position < len(self.entries) and self.entries[position]["step"] <= step:
            return self.entries[position]
        return None


def _open(path: Path) -> JsonLines:
    try:
        return JsonLines(path)
    except DamagedError as error:
        raise RunFolderError(
            f"{path} is damaged ({error}), so the decisions of the run are lost; delete {path.parent} and train again"
        ) from None
