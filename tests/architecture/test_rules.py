"""The source keeps the house rules, and the checks that say so catch planted violations."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import checks

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
"""Every module of the package."""


def test_test_folders__are_packages() -> None:
    """Two folders may then hold files of one name."""
    folders = {path.parent for path in (ROOT / "tests").rglob("test_*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)


def _violations(check: Callable[[str, str], list[str]]) -> list[str]:
    assert SOURCES
    return [line for path in SOURCES for line in check(path.read_text(encoding="utf-8"), _module(path))]


@pytest.mark.parametrize("check", [checks.import_order, checks.prints, checks.missing_docstrings])
def test_source__keeps_the_rule(check: Callable[[str, str], list[str]]) -> None:
    found = _violations(check)
    assert not found, "\n".join(found)


def test_files__name_no_machine_path() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    suffixes = {".py", ".md", ".toml", ".json", ".yaml", ".yml", ".sh", ""}
    names = [name for name in listed if Path(name).suffix in suffixes and (ROOT / name).is_file()]
    names = names or [str(path.relative_to(ROOT)) for path in SOURCES]
    assert [
        line
        for name in names
        if not name.startswith("tests/architecture/")
        for line in checks.machine_paths((ROOT / name).read_text(encoding="utf-8"), name)
    ] == []


def test_public_api__is_small() -> None:
    tree = ast.parse((ROOT / "src/understudy/__init__.py").read_text(encoding="utf-8"))
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and "__all__"
        in {ast.unparse(target) for target in getattr(node, "targets", [getattr(node, "target", None)]) if target}
    ]
    assert all(isinstance(names, ast.List | ast.Tuple) and len(names.elts) <= 24 for names in lists)


@pytest.mark.parametrize(
    ("module", "source", "complaint"),
    [
        ("core.types", "from understudy.functional import losses", "core comes before functional"),
        ("core.types", "def f():\n    import understudy.data.load", "core comes before data"),
        ("models.nets", "from ..data.load import load", "models comes before data"),
        ("models.__init__", "from ..data import load", "models comes before data"),
        ("models.nets", "from understudy import cli", "models comes before cli"),
        ("reports.html", "from understudy.serving import web", "reports comes before serving"),
        ("engine.fit", "from understudy.api.train import train", "engine comes before api"),
        ("engine.fit", "from understudy.misc import thing", "misc has no place"),
        ("methods.uda", "from understudy.data import load", "a method sees batches"),
        ("methods.uda", "from understudy.engine import fit", "methods comes before engine"),
        ("methods.uda", "from understudy.methods.fixmatch import FixMatch", "not one another"),
        ("methods.uda", "from . import fixmatch", "not one another"),
        ("methods.uda", "from .fixmatch import FixMatch", "not one another"),
        ("evaluation.metrics", "from understudy.models import build", "evaluation takes arrays"),
        ("engine.fit", "import torch.distributed as dist", "only core.distributed does"),
        ("engine.fit", "from torch import distributed", "only core.distributed does"),
        ("reports.html", "import torch", "from JSON alone"),
    ],
)
def test_import_order__planted_violation(module: str, source: str, complaint: str) -> None:
    (found,) = checks.import_order(source, f"understudy.{module}")
    assert complaint in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("methods.fixmatch", "from understudy.methods.base import Method\nfrom understudy.functional import losses"),
        ("methods.__init__", "from understudy.methods.fixmatch import FixMatch"),
        ("methods.fixmatch", "from .base import Method"),
        ("core.distributed", "import torch.distributed"),
        ("cli.main", "from understudy.api.train import train\nimport understudy\nimport json"),
        ("api", "from understudy.serving import web"),
        ("__init__", "from understudy.api.train import train"),
    ],
)
def test_import_order__allowed(module: str, source: str) -> None:
    assert checks.import_order(source, f"understudy.{module}") == []


def test_prints__planted_violation() -> None:
    assert checks.prints("def f():\n    print(1)", "understudy.core.a") == [
        "understudy.core.a:2 prints; only cli and display do"
    ]
    assert checks.prints("print(1)", "understudy.cli.main") == []


def test_missing_docstrings__planted_violation() -> None:
    source = "def f(): ...\nclass C:\n    '''Good.'''\n    def g(self): ...\n    def _h(self): ...\n"
    assert checks.missing_docstrings(source, "m") == [
        "m has no docstring",
        "m:1 f has no docstring",
        "m:4 C.g has no docstring",
    ]
    assert checks.missing_docstrings("'''Good.'''\ndef f():\n    '''Good.'''", "m") == []


@pytest.mark.parametrize("line", ["x = '/home/me/data'", "see /mnt/shared/x", "cd /srv/abc", r"C:\\Users"])
def test_machine_paths__planted_violation(line: str) -> None:
    assert len(checks.machine_paths(line, "a")) == 1


@pytest.mark.parametrize("line", ["src/mnt/x", "https://a.org/home/x", "tests/srv/x", "a/b", "pip install -e ."])
def test_machine_paths__allowed(line: str) -> None:
    assert checks.machine_paths(line, "a") == []
