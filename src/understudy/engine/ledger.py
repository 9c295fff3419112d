"""The decision ledger: what the environment decides is written down before it takes effect, and replayed on resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from understudy.core import distributed
from understudy.core.errors import RunFolderError
from understudy.core.files import DamagedError, JsonLines
from understudy.engine.pace import Pace
from understudy.models.nets import Execution

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One entry of the ledger.

    Args:
        step: The step before which it takes effect.
    """

    kind: ClassVar[str]
    step: int


@dataclass(frozen=True, kw_only=True)
class ExecutionChosen(LedgerEntry):
    """How the networks are run on this machine; the first entry of every ledger."""

    kind = "execution"
    execution: Execution


@dataclass(frozen=True, kw_only=True)
class PaceSet(LedgerEntry):
    """How fast training progresses from here on, as the time spent suggests.

    Args:
        share: Part of the budget spent before this step.
        phase: The phase that this step belongs to.
        warmup: Share of training that the first phase takes.
    """

    kind = "pace"
    share: float
    phase: int
    warmup: float
    pace: Pace


@dataclass(frozen=True, kw_only=True)
class FirstPhaseEnded(LedgerEntry):
    """The second phase begins early, because validation stopped improving in the first.

    Args:
        evaluations: Evaluations without a gain.
        pace: The rest of training.
    """

    kind = "first phase ended"
    evaluations: int
    pace: Pace


@dataclass(frozen=True, kw_only=True)
class Diverged(LedgerEntry):
    """A loss or a weight was not finite: other draws and a lower learning rate from the last good snapshot on."""

    kind = "diverged"


@dataclass(frozen=True, kw_only=True)
class OutOfMemory(LedgerEntry):
    """Memory ran out: forward passes in twice as many parts from the last good snapshot on."""

    kind = "out of memory"


@dataclass(frozen=True, kw_only=True)
class Stopped(LedgerEntry):
    """The user stopped the run here, so a snapshot was taken that an undisturbed run would not have taken."""

    kind = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Finished(LedgerEntry):
    """The result is on disk; the ledger takes no more decisions."""

    kind = "finished"


ENTRY_TYPES: dict[str, type[LedgerEntry]] = {
    cls.kind: cls for cls in (ExecutionChosen, PaceSet, FirstPhaseEnded, Diverged, OutOfMemory, Stopped, Finished)
}


class Ledger:
    """An append-only list of decisions, each tied to the step before which it takes effect.

    A state counts the entries it has taken in, its position. Step k is a function of (state, seed, k, entries up to
    k), so a state restored from any checkpoint repeats the entries after its position and arrives at the same bits.
    """

    def __init__(self, path: Path | None) -> None:
        """Read what an earlier process decided; with no path the ledger lives in memory alone.

        Raises:
            RunFolderError: The file is damaged, or holds something that is not a decision.
        """
        # Process 0 alone reads: by the time another one did, the first could have decided something new.
        leads = distributed.rank() == 0
        self._file: JsonLines | None = None
        entries: list[LedgerEntry] = []
        if path and leads:
            self._file, entries = _read(path)
        self.is_closed = bool(entries) and isinstance(entries[-1], Finished)
        self.entries: list[LedgerEntry] = distributed.broadcast_object(entries[: -1 if self.is_closed else None])

    def append(self, decision: LedgerEntry, *, position: int) -> LedgerEntry:
        """Write one decision of process 0, on disk before this returns; the result is the same on every process.

        Args:
            position: How many entries the state has taken in. What an earlier process decided after that stays in
                force behind the new decision.
        """
        decision = distributed.broadcast_object(decision)
        self.entries.insert(position, decision)
        if self._file is not None:
            if position == len(self.entries) - 1:
                self._file.append(to_json(decision))
            else:
                self._file.rewrite([to_json(entry) for entry in self.entries])
        return decision

    def close(self, step: int) -> None:
        """Write down that the result is on disk, so that its loss is noticed."""
        if self._file is not None:
            self._file.append(to_json(Finished(step=step)))

    def pending(self, position: int, step: int) -> LedgerEntry | None:
        """The next decision a replay has to apply before this step, if any.

        Args:
            position: How many entries the state has already taken in.
        """
        if position < len(self.entries) and self.entries[position].step <= step:
            return self.entries[position]
        return None


def to_json(decision: LedgerEntry) -> dict[str, Any]:
    """The decision as one flat table."""
    table: dict[str, Any] = {"kind": decision.kind}
    for field in fields(decision):
        value = getattr(decision, field.name)
        table |= asdict(value) if is_dataclass(value) and not isinstance(value, type) else {field.name: value}
    return table


def from_json(table: Mapping[str, Any]) -> LedgerEntry:
    """The decision that `to_json` wrote.

    Raises:
        DamagedError: It is of an unknown kind, or a value is missing, unknown, or of another type.
    """
    values = dict(table)
    kind = values.pop("kind", None)
    if kind not in ENTRY_TYPES:
        raise DamagedError(f"unknown decision {kind!r}")
    decision = _build(ENTRY_TYPES[kind], values)
    if values:
        raise DamagedError(f"decision {kind!r} has the unknown value {next(iter(values))!r}")
    return decision


def _build(cls: type[T], values: dict[str, Any]) -> T:
    """Take the fields of a class out of flat values."""
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]
        expected = hints[field.name]
        if is_dataclass(expected) and isinstance(expected, type):
            arguments[field.name] = _build(expected, values)
        elif field.name not in values:
            raise DamagedError(f"a decision lacks {field.name!r}")
        else:
            value = arguments[field.name] = values.pop(field.name)
            if type(value) is not expected and (type(value), expected) != (int, float):
                raise DamagedError(f"{field.name} is {value!r}, not {expected.__name__}")
    return cls(**arguments)


def _read(path: Path) -> tuple[JsonLines, list[LedgerEntry]]:
    try:
        file = JsonLines(path)
        entries = []
        for number, table in enumerate(file.entries, 1):
            try:
                entries.append(from_json(table))
            except DamagedError as error:
                raise DamagedError(f"line {number}: {error}") from None
    except DamagedError as error:
        raise RunFolderError(
            f"{path} is damaged ({error}), so the decisions of the run are lost; delete {path.parent} and train again"
        ) from None
    return file, entries
