"""The ledger survives torn lines, names damage, and takes decisions in the middle of a replay."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from understudy.core.errors import RunFolderError
from understudy.core.files import DamagedError, JsonLines
from understudy.engine.ledger import (
    ENTRY_TYPES,
    Diverged,
    ExecutionChosen,
    Finished,
    FirstPhaseEnded,
    Ledger,
    LedgerEntry,
    OutOfMemory,
    PaceSet,
    Stopped,
    from_json,
    to_json,
)
from understudy.engine.pace import Pace
from understudy.models.nets import Execution

EXECUTION = ExecutionChosen(step=0, execution=Execution(threads=2))
PACE = PaceSet(step=10, share=0.25, phase=2, warmup=0.1, pace=Pace(10, 0.2, 30, 0.5))
ALL: list[LedgerEntry] = [
    EXECUTION,
    PACE,
    FirstPhaseEnded(step=20, evaluations=3, pace=Pace(20, 0.4, 50)),
    Diverged(step=25),
    OutOfMemory(step=26),
    Stopped(step=27),
    Finished(step=50),
]


def write(path: Path, *decisions: LedgerEntry) -> Ledger:
    ledger = Ledger(path)
    for position, decision in enumerate(decisions):
        ledger.append(decision, position=position)
    return ledger


def test_ledger__reads_back_what_it_wrote(tmp_path: Path) -> None:
    assert {type(decision) for decision in ALL} == set(ENTRY_TYPES.values())
    write(tmp_path / "ledger.jsonl", *ALL[:-1]).close(50)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.entries == ALL[:-1]
    assert ledger.is_closed


def test_to_json__one_flat_line_that_a_person_reads(tmp_path: Path) -> None:
    write(tmp_path / "ledger.jsonl", PACE)
    line = json.loads((tmp_path / "ledger.jsonl").read_text())
    assert line.pop("checksum")
    assert line == {
        "kind": "pace",
        "step": 10,
        "share": 0.25,
        "phase": 2,
        "warmup": 0.1,
        "from_step": 10,
        "from_progress": 0.2,
        "to_step": 30,
        "to_progress": 0.5,
    }
    assert to_json(Diverged(step=3)) == {"kind": "diverged", "step": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sunny"}, r"unknown decision 'sunny'"),
        ({"kind": None}, r"unknown decision None"),
        ({"mood": 1}, r"decision 'pace' has the unknown value 'mood'"),
        ({"to_step": None}, r"a decision lacks 'to_step'"),
        ({"step": "10"}, r"step is '10', not int"),
        ({"phase": True}, r"phase is True, not int"),
        ({"step": 1.5}, r"step is 1.5, not int"),
        ({"share": "all"}, r"share is 'all', not float"),
    ],
)
def test_from_json__refuses_what_is_not_a_decision(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    changed = {name: value for name, value in (to_json(PACE) | changes).items() if value is not None}
    with pytest.raises(DamagedError, match=message):
        from_json(changed)
    JsonLines(tmp_path / "ledger.jsonl").rewrite([to_json(EXECUTION), changed])
    with pytest.raises(RunFolderError, match=rf"ledger.jsonl is damaged \(line 2: {message}\), so .*; delete .* again"):
        Ledger(tmp_path / "ledger.jsonl")


def test_from_json__takes_a_whole_number_for_a_share() -> None:
    assert from_json(to_json(PACE) | {"share": 1}) == PaceSet(
        step=10, share=1.0, phase=2, warmup=0.1, pace=Pace(10, 0.2, 30, 0.5)
    )


def test_ledger__drops_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    whole = write(path, EXECUTION, PACE).entries
    path.write_text(path.read_text() + '{"kind": "pa')
    ledger = Ledger(path)
    assert ledger.entries == whole
    ledger.append(Diverged(step=30), position=2)
    assert [entry.step for entry in Ledger(path).entries] == [0, 10, 30]


def test_ledger__a_torn_first_line_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"kind"')
    ledger = Ledger(path)
    assert ledger.entries == []
    ledger.append(EXECUTION, position=0)
    assert Ledger(path).entries == [EXECUTION]


def test_ledger__names_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, EXECUTION, PACE, Diverged(step=20))
    whole = path.read_bytes()
    first, second, third = whole.splitlines(keepends=True)
    for damaged, line in (
        (first + b"nonsense\n", 2),
        (whole.replace(b'"step": 10', b'"step": 11'), 2),
        (first + third, 2),
        (second + third, 1),
        (b"\x00" + whole, 1),
    ):
        path.write_bytes(damaged)
        with pytest.raises(
            RunFolderError, match=rf"ledger.jsonl is damaged \(line {line}: .*\), so .*; delete .* and train again"
        ):
            Ledger(path)


def test_pending__in_order_and_not_before_their_step(tmp_path: Path) -> None:
    ledger = write(tmp_path / "ledger.jsonl", EXECUTION, PACE, Diverged(step=20))
    assert ledger.pending(0, 0) == EXECUTION
    assert ledger.pending(1, 9) is None
    assert ledger.pending(1, 10) == PACE
    assert ledger.pending(3, 99) is None


def test_append__during_a_replay_keeps_what_comes_after(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, EXECUTION, PACE, Diverged(step=20))
    Ledger(path).append(Stopped(step=7), position=1)
    assert Ledger(path).entries == [EXECUTION, Stopped(step=7), PACE, Diverged(step=20)]


def test_ledger__without_a_path_lives_in_memory() -> None:
    ledger = Ledger(None)
    ledger.append(EXECUTION, position=0)
    assert len(ledger.entries) == 1
