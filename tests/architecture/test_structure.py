"""The figures of benchmarks/structure.py, each on a few lines whose figure is plain to see."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def structure() -> ModuleType:
    """The script as a module; what it imports beside itself is found while it loads."""
    spec = importlib.util.spec_from_file_location("structure", BENCHMARKS / "structure.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCHMARKS))
    return module


def test_function_lengths__start_at_the_def(structure: ModuleType) -> None:
    source = "@cached\ndef f():\n    return 1\n\nclass A:\n    async def g(self):\n        x = 1\n\n        return x\n"
    assert structure.function_lengths(source) == [2, 4]


def test_comments__leave_pragmas_out(structure: ModuleType) -> None:
    source = "x = 1  # why\ny = 2  # noqa: E501\nz = 3  # type: ignore\ns = '# text'\n# alone\n"
    assert structure.comments(source) == {1: "# why", 5: "# alone"}


def test_docstring_lines__of_module_class_and_function(structure: ModuleType) -> None:
    source = '"""One."""\n\nclass A:\n    """Two.\n\n    Three.\n    """\n    def f(self):\n        "Four."\n'
    assert structure.docstring_lines(source) == 6
    assert structure.docstring_lines("x = 1\n'no docstring'\n") == 0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("MAX_A = 3", [False]),
        ("MAX_A = 3  # the limit", [True]),
        ("# the limit\nMAX_A = 3", [True]),
        ('MAX_A = 3\n"""The limit."""', [True]),
        ("MAX_A = 3  # noqa: E501", [False]),
        ("# the limit\nMAX_A = 3\nMAX_B = 4", [True, False]),
        ("_A, _B = 1 << 30, -2.5", [False]),
        ("_A: Final = 3", [False]),
        ("A = True\nB = 'x'\nc = 3\nD = f(3)\nE = ()", []),
    ],
)
def test_constants__reason_beside(structure: ModuleType, source: str, expected: list[bool]) -> None:
    assert structure.constants(source) == expected


def test_repeated_lines__need_six_in_another_module(structure: ModuleType) -> None:
    lines = [f"x{number} = {number}" for number in range(7)]
    six, five = "\n".join(lines[:6]), "\n".join(lines[:5])
    assert structure.repeated_lines({"p.a": six, "p.b": "y = 1\n" + six}) == 12
    assert structure.repeated_lines({"p.a": "\n".join(lines), "p.b": "\n".join(lines)}) == 14
    assert structure.repeated_lines({"p.a": five, "p.b": five}) == 0
    assert structure.repeated_lines({"p.a": six + "\n" + six, "p.b": ""}) == 0
    imports = "\n".join(f"import x{number}" for number in range(9))
    assert structure.repeated_lines({"p.a": imports, "p.b": imports}) == 0


MODULES = {
    "p.__init__": "",
    "p.core.__init__": "",
    "p.core.a": "from p.core.b import f\n",
    "p.core.b": "def f():\n    from .a import g\n    import p.cli.main\n",
    "p.core.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.core.d import D\n",
    "p.core.d": "from p.core import c\nimport numpy\n",
    "p.cli.main": "from p.core import a\nfrom p import core\n",
}


def test_imports__resolve_to_modules_and_leave_types_out(structure: ModuleType) -> None:
    assert structure.imports(MODULES) == {
        "p.__init__": set(),
        "p.core.__init__": set(),
        "p.core.a": {"p.core.b"},
        "p.core.b": {"p.core.a", "p.cli.main"},
        "p.core.c": set(),
        "p.core.d": {"p.core.c"},
        "p.cli.main": {"p.core.a", "p.core.__init__"},
    }


def test_cycles__are_groups(structure: ModuleType) -> None:
    assert structure.cycles(structure.imports(MODULES)) == [["p.cli.main", "p.core.a", "p.core.b"]]
    assert structure.cycles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def test_upward_imports__name_both_ends(structure: ModuleType) -> None:
    assert structure.upward_imports(structure.imports(MODULES)) == ["p.core.b -> p.cli.main"]
    assert structure.upward_imports({"p.planning.a": {"p.comparison.b"}}) == ["p.planning.a -> p.comparison.b"]
    assert structure.upward_imports({"p.core.a": {"p.unheard.b"}}) == ["p.core.a -> p.unheard.b"]
    assert structure.upward_imports({"p.cli.a": {"p.core.b"}, "p.core.b": {"p.core.c"}}) == []


def test_num_option_declarations__of_the_command_line(structure: ModuleType) -> None:
    source = "a: Annotated[str, typer.Option('--a')]\nb = Option('--b')\nc = typer.Argument()\n"
    assert structure.num_option_declarations({"p.cli.x": source, "p.core.x": source}) == 2


def test_share__of_nothing_is_zero(structure: ModuleType) -> None:
    assert structure.share(1, 3) == 0.3333
    assert structure.share(0, 0) == 0.0
