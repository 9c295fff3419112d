"""The command as a whole: help, version, lists of names, the demonstration, and errors of use."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from understudy.cli.main import _format_warning
from understudy.core.config import lines
from understudy.core.errors import UnderstudyWarning
from understudy.display.console import open_console
from understudy.methods.base import METHODS

COMMANDS = ("demo", "train", "evaluate", "predict", "methods")


def test_main__no_arguments_is_help(understudy: Run) -> None:
    bare, asked = understudy(), understudy("--help")
    assert bare.code == asked.code == 0
    assert bare.out.split() == asked.out.split()
    places = [bare.out.index(f"│ {name} ") for name in COMMANDS]
    assert places == sorted(places)


def test_main__version(understudy: Run) -> None:
    assert understudy("--version").out == f"understudy {importlib.metadata.version('understudy')}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_main__help_has_an_example(understudy: Run, command: str) -> None:
    output = understudy(command, "--help")
    assert output.code == 0
    assert f"\n   understudy {command}" in output.out
    assert "[bold]" not in output.out


def test_main__train_help_is_grouped(understudy: Run) -> None:
    out = understudy("train", "--help").out
    places = [out.index(f"─ {name} ─") for name in ("Data", "Budget", "Method", "Machine", "Output")]
    assert places == sorted(places)


def test_main__wrong_use(understudy: Run) -> None:
    for arguments in (("trian",), ("train", "--budgte", "5m"), ("evaluate",), ("train", "x", "--seed", "one")):
        output = understudy(*arguments)
        assert output.code == 2
        assert output.err
        assert "Traceback" not in output.err


def test_methods__lists_all_names(understudy: Run) -> None:
    output = understudy("methods")
    assert output.code == 0
    for name in (*METHODS.names(), "wrn_28_2", "timm:NAME", "aerial", "muon"):
        assert name in output.out
    for name in METHODS.names():
        assert METHODS.get(name).use_when in output.out


@pytest.mark.parametrize("name", METHODS.names())
def test_methods__shows_every_knob(understudy: Run, name: str) -> None:
    text = " ".join(understudy("methods", name).out.split())  # long lines wrap
    for line in lines(METHODS.get(name)()):
        assert f"{line.key} = {line.value} ({line.allowed}) {line.help}" in text


def test_methods__unknown(understudy: Run) -> None:
    assert "did you mean 'fixmatch'?" in understudy("methods", "fixmacth").error()


def test_demo__runs_and_says_what_is_next(understudy: Run) -> None:
    output = understudy("demo", "--budget", "3steps")
    assert (output.code, output.err) == (0, "")
    (folder,) = Path("runs").iterdir()
    assert folder.name.startswith("demo-")
    for text in ("40 keep their label", "500", "VERDICT", f"understudy predict {folder} digits"):
        assert text in output.out
    assert understudy("evaluate", folder, "digits", "--json", "e.json").code == 0
    evaluated = json.loads(Path("e.json").read_text(encoding="utf-8"))
    trained = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert evaluated["n"] == 500, "images that were trained on do not count"
    del evaluated["checksum"]
    assert evaluated in trained["metrics"].values()


def test_demo__bad_budget(understudy: Run) -> None:
    assert "budget 'now' is not a length of time" in understudy("demo", "--budget", "now").error()
    assert not Path("runs").exists()


def _as_module(tail: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m understudy` in a shell, which `tail` gives arguments and redirections."""
    return subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m understudy {tail}'],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_main__as_a_module_is_the_same_command() -> None:
    output = _as_module("trian")
    assert output.returncode == 2
    assert "Usage: understudy [OPTIONS]" in output.stderr


def test_main__without_standard_output() -> None:
    output = _as_module("--help >&-")
    assert (output.returncode, output.stderr) == (0, "")
    assert _as_module("trian >&- 2>&-").returncode == 2


def test_open_console__standard_output_is_none_or_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for output in (None, closed):
        monkeypatch.setattr("sys.stdout", output)
        assert not open_console().is_terminal


def test_main__reader_that_stops_early() -> None:
    output = _as_module("methods | head -n 1")
    assert (output.stdout.count("\n"), output.stderr) == (1, "")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_main__encoding_that_lacks_characters(encoding: str) -> None:
    output = _as_module("train --help", LC_ALL="C", PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert (output.returncode, output.stderr) == (0, "")


def test_format_warning__ours_is_a_sentence_and_others_name_their_line() -> None:
    assert _format_warning(UnderstudyWarning("it goes on"), UnderstudyWarning, "a.py", 3) == "note: it goes on\n"
    assert _format_warning(UserWarning("look here"), UserWarning, "a.py", 3).startswith("a.py:3: UserWarning: look")
