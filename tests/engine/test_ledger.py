"""The ledger survives torn lines, names damage, and takes decisions in the middle of a replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from understudy.core.errors import RunFolderError
from understudy.engine.ledger import Ledger


def write(path: Path, *kinds: str) -> Ledger:
    ledger = Ledger(path)
    for index, kind in enumerate(kinds):
        ledger.append(kind, 10 * index, position=index, index=index)
    return ledger


def test_ledger__reads_back_what_it_wrote(tmp_path: Path) -> None:
    written = write(tmp_path / "ledger.jsonl", "execution", "pace", "diverged")
    read = Ledger(tmp_path / "ledger.jsonl")
    assert read.entries == written.entries
    assert read.entries[1] == {"kind": "pace", "step": 10, "index": 1}


def test_ledger__drops_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    whole = write(path, "execution", "pace").entries
    path.write_text(path.read_text() + '{"kind": "pa')
    ledger = Ledger(path)
    assert ledger.entries == whole
    ledger.append("pace", 30, position=2)
    assert [entry["step"] for entry in Ledger(path).entries] == [0, 10, 30]


def test_ledger__a_torn_first_line_leaves_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_text('{"kind"')
    ledger = Ledger(path)
    assert ledger.entries == []
    ledger.append("a", 0, position=0)
    assert Ledger(path).entries == [{"kind": "a", "step": 0}]


def test_ledger__names_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, "execution", "pace", "pace")
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
    ledger = write(tmp_path / "ledger.jsonl", "execution", "pace", "pace")
    assert ledger.pending(0, 0) == ledger.entries[0]
    assert ledger.pending(1, 9) is None
    assert ledger.pending(1, 10) == ledger.entries[1]
    assert ledger.pending(3, 99) is None


def test_append__during_a_replay_keeps_what_comes_after(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, "execution", "pace", "pace")
    Ledger(path).append("interrupted", 7, position=1)
    assert [entry["kind"] for entry in Ledger(path).entries] == ["execution", "interrupted", "pace", "pace"]


def test_ledger__without_a_path_lives_in_memory() -> None:
    ledger = Ledger(None)
    ledger.append("execution", 0, position=0)
    assert len(ledger.entries) == 1
