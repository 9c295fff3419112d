"""Structure of the source in figures, at two commits: sizes, repetition, comments, imports, names, options, start-up.

    python benchmarks/structure.py [--before COMMIT] [--at COMMIT]

`--at` names the second checkout; by default it is the working tree. Everything but the parses of a budget and the
start-up times is read from the syntax tree, so one script measures both sides.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common import COMMIT_AT_START, write

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "e53e328"  # the last commit before the redesign
LONG_FUNCTION, LONG_FILE = 50, 300  # the limits of the project's own rules of thumb, in lines
MIN_REPEATED = 6  # lines; shorter repetitions are signatures and loops that any two files share
REPEATS = 5  # the best of five start-ups is the one that other load disturbed least

# Lowest first, the order that the redesign ends in; both sides are measured against it by the names they use.
LAYERS = (
    ("core",),
    ("functional",),
    ("augment",),
    ("models",),
    ("data",),
    ("evaluation",),
    ("methods",),
    ("engine",),
    ("inspection", "audit"),
    ("recipes",),
    ("experiment",),
    ("planning", "comparison"),
    ("reports", "serving", "cluster", "display"),
    ("api", "auditing", "suggesting", "comparing", "estimator"),
    ("cli",),
    ("__main__",),
)
_RANK = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}
_PRAGMA = re.compile(r"#\s*(noqa|type:|fmt:|pragma|pyright|mypy)")

_PARSES = """
import sys
calls = 0
def count(frame, event, argument):
    global calls
    code = frame.f_code
    is_parse = event == "call" and code.co_name == "parse" and code.co_filename.endswith("budget.py")
    calls += is_parse and any(isinstance(value, str) for value in frame.f_locals.values())  # not a Budget already
sys.setprofile(count)
sys.argv = "understudy train digits --set num_labels=40 --budget 2steps --no-plan --out run".split()
from understudy.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
finally:
    sys.setprofile(None)
    print(calls)
"""
_OPTIONS = """
import typer
from understudy.cli.main import app
group = typer.main.get_command(app)
names = [p.opts[0] for c in group.commands.values() for p in c.params if p.param_type_name == "option"]
print(len(names), len(set(names)))
"""
_IMPORT = "import time; s = time.process_time(); import understudy; print(time.process_time() - s)"
_HELP = """
import contextlib, io, sys, time
s = time.process_time()
sys.argv = ["understudy", "--help"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    from understudy.cli.main import main
    main()
print(time.process_time() - s)
"""

Sources = Mapping[str, str]
"""Text of each module by its full name; a package's ends in `.__init__`."""


def sources(folder: Path) -> dict[str, str]:
    """The modules below a source folder."""
    return {
        ".".join(path.relative_to(folder).with_suffix("").parts): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.py"))
    }


def function_lengths(source: str) -> list[int]:
    """Lines from the `def` to the end of each function and method, decorators left out."""
    nodes = [x for x in ast.walk(ast.parse(source)) if isinstance(x, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [(node.end_lineno or node.lineno) - node.lineno + 1 for node in nodes]


def comments(source: str) -> dict[int, str]:
    """Comment by line number, without those that speak to a tool."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}
    return {line: text for line, text in found.items() if not _PRAGMA.match(text)}


def docstring_lines(source: str) -> int:
    """Lines of the docstrings of modules, classes and functions."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [x for x in ast.walk(ast.parse(source)) if isinstance(x, owners) and ast.get_docstring(x) is not None]
    return sum((node.body[0].end_lineno or 0) - node.body[0].lineno + 1 for node in nodes)


def constants(source: str) -> list[bool]:
    """For each statement that binds numbers to module constants, whether a reason stands beside it.

    A reason is a comment on one of its lines or on the line before it, or a docstring right after it. A comment before
    several constants in a row speaks for the first of them alone.
    """
    body = ast.parse(source).body
    lines = comments(source)
    found = []
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or not node.value or not _is_numeric(node.value):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [x.id for target in targets for x in ast.walk(target) if isinstance(x, ast.Name)]
        if not names or not all(re.fullmatch(r"_?[A-Z][A-Z0-9_]*", name) for name in names):
            continue
        has_docstring = isinstance(after, ast.Expr) and isinstance(getattr(after.value, "value", None), str)
        near = range(node.lineno - 1, (node.end_lineno or node.lineno) + 1)
        found.append(has_docstring or any(line in lines for line in near))
    return found


def _is_numeric(value: ast.expr) -> bool:
    """Whether an expression is made of numbers: `3`, `-1`, `1 << 30`, `(2, 3)`."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float) and not isinstance(value.value, bool)
    if isinstance(value, ast.UnaryOp):
        return _is_numeric(value.operand)
    if isinstance(value, ast.BinOp):
        return _is_numeric(value.left) and _is_numeric(value.right)
    return isinstance(value, ast.Tuple) and bool(value.elts) and all(_is_numeric(x) for x in value.elts)


def repeated_lines(modules: Sources) -> int:
    """Lines that belong to a stretch of equal lines in another module; imports, blank lines and indents left out."""
    kept: dict[str, list[str]] = {}
    for name, source in modules.items():
        imports = {
            line
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }
        numbered = enumerate(source.splitlines(), start=1)
        kept[name] = [text.strip() for number, text in numbered if text.strip() and number not in imports]
    owners: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for name, lines in kept.items():
        for start in range(len(lines) - MIN_REPEATED + 1):
            owners[tuple(lines[start : start + MIN_REPEATED])].add(name)
    repeated = 0
    for lines in kept.values():
        starts = range(len(lines) - MIN_REPEATED + 1)
        shared = [start for start in starts if len(owners[tuple(lines[start : start + MIN_REPEATED])]) > 1]
        repeated += len({line for start in shared for line in range(start, start + MIN_REPEATED)})
    return repeated


def imports(modules: Sources) -> dict[str, set[str]]:
    """For each module the modules of the same package that it imports, at its top or in a function, but for types."""
    found: dict[str, set[str]] = {}
    for name, source in modules.items():
        tree = ast.parse(source)
        typed = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            for inner in ast.walk(node)
        }
        asked = set()
        for node in ast.walk(tree):
            if id(node) in typed:
                continue
            if isinstance(node, ast.Import):
                asked |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                parents = name.split(".")[: -node.level] if node.level else []
                base = ".".join([*parents, *([node.module] if node.module else [])])
                asked |= {f"{base}.{alias.name}" for alias in node.names}
        resolved = {_module_of(other, modules) for other in asked}
        found[name] = {other for other in resolved if other and other != name}
    return found


def _module_of(name: str, modules: Sources) -> str | None:
    """The module that a dotted name lies in: itself, a package, or the module that defines the last word."""
    for candidate in (name, name.rpartition(".")[0]):
        for module in (candidate, f"{candidate}.__init__"):
            if module in modules:
                return module
    return None


def cycles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Groups of modules that import one another in a circle."""
    reach = {name: _reached(name, graph) for name in graph}
    groups = {tuple(sorted(x for x in reach[name] if name in reach[x])) for name in graph if name in reach[name]}
    return [list(group) for group in sorted(groups)]


def _reached(start: str, graph: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    front = list(graph[start])
    while front:
        name = front.pop()
        if name not in found:
            found.add(name)
            front.extend(graph.get(name, ()))
    return found


def upward_imports(graph: Mapping[str, Iterable[str]]) -> list[str]:
    """Imports from a package into one that stands higher in the order, or beside it."""

    def layer(name: str) -> str:
        return name.split(".")[1]

    return sorted(
        f"{name} -> {other}"
        for name, others in graph.items()
        for other in others
        if layer(name) != layer(other) and "__init__" not in (layer(name), layer(other))
        if _RANK.get(layer(other), len(LAYERS)) >= _RANK.get(layer(name), -1)
    )


def num_option_declarations(modules: Sources) -> int:
    """Calls of `typer.Option` in the command line's modules."""
    return sum(
        isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Option"
        for name, source in modules.items()
        if ".cli." in name
        for node in ast.walk(ast.parse(source))
    )


def share(part: float, whole: float) -> float:
    """A share with four digits; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0


def measured(modules: Sources) -> dict[str, Any]:
    """Every figure that the syntax trees give."""
    lengths = [length for source in modules.values() for length in function_lengths(source)]
    num_lines = {name: len(source.splitlines()) for name, source in modules.items()}
    total = sum(num_lines.values())
    reasons = [has_reason for source in modules.values() for has_reason in constants(source)]
    graph = imports(modules)
    folders = Counter[str]()
    for name, count in num_lines.items():
        folders[name.split(".")[1] if name.count(".") > 1 else "(top)"] += count
    largest, largest_lines = folders.most_common(1)[0]
    classes = Counter(
        node.name
        for source in modules.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    )
    names = Counter(name.rpartition(".")[2] for name in modules)
    del names["__init__"]
    return {
        "files": len(modules),
        "lines": total,
        "lines_per_function": {
            "median": float(np.median(lengths)),
            "p90": float(np.percentile(lengths, 90)),
            "max": max(lengths),
        },
        "functions": len(lengths),
        "functions_over_50_lines": share(sum(x > LONG_FUNCTION for x in lengths), len(lengths)),
        "files_over_300_lines": sum(x > LONG_FILE for x in num_lines.values()),
        "comments_per_1000_lines": round(1000 * sum(len(comments(x)) for x in modules.values()) / total, 1),
        "numeric_constants": len(reasons),
        "numeric_constants_with_reason": share(sum(reasons), len(reasons)),
        "repeated_lines": share(repeated_lines(modules), total),
        "docstring_lines": share(sum(docstring_lines(x) for x in modules.values()), total),
        "import_cycles": cycles(graph),
        "upward_imports": upward_imports(graph),
        "largest_folder": {"name": largest, "share_of_lines": share(largest_lines, total)},
        "class_names_used_twice": {name: count for name, count in sorted(classes.items()) if count > 1},
        "module_names_used_twice": {name: count for name, count in sorted(names.items()) if count > 1},
        "option_declarations": num_option_declarations(modules),
    }


def ran(source: Path) -> dict[str, Any]:
    """The figures that need the code to run: options of the CLI, parses of a budget, CPU-seconds of the start-up."""

    def last_line(code: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "UNDERSTUDY_CACHE": folder}
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    options, distinct = last_line(_OPTIONS).split()
    return {
        "options": int(options),
        "options_by_distinct_name": int(distinct),
        "budget_parses": int(last_line(_PARSES)),
        "import_cpu_s": round(min(float(last_line(_IMPORT)) for _ in range(REPEATS)), 3),
        "help_cpu_s": round(min(float(last_line(_HELP)) for _ in range(REPEATS)), 3),
    }


def checkout(commit: str) -> dict[str, Any]:
    """All figures of a commit."""
    git = ["git", "-C", str(ROOT)]
    name = subprocess.check_output([*git, "rev-parse", "--short=12", commit], text=True).strip()
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.check_output([*git, "archive", name, "src"])
        subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
        source = Path(folder) / "src"
        return {"commit": name} | measured(sources(source)) | ran(source)


def table(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """A line per figure; lists and tables of names are counted."""

    def cell(value: Any) -> str:
        if isinstance(value, dict) and {"median", "share_of_lines"} & set(value):
            return " / ".join(str(x) for x in value.values())
        return str(len(value)) if isinstance(value, dict | list) else str(value)

    rows = [("", "before", "after"), *((key, cell(before[key]), cell(after[key])) for key in before)]
    return "\n".join(f"{name:32}{old:>22}{new:>34}" for name, old, new in rows)


def main() -> None:
    """Measure both sides, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, metavar="COMMIT", help="the first side (default: %(default)s)")
    parser.add_argument("--at", metavar="COMMIT", help="the second side (default: the working tree)")
    options = parser.parse_args()
    before = checkout(options.before)
    working_tree = ROOT / "src"
    after = (
        checkout(options.at)
        if options.at
        else {"commit": COMMIT_AT_START} | measured(sources(working_tree)) | ran(working_tree)
    )
    print(table(before, after))
    seconds = {"import_cpu_s": after["import_cpu_s"], "help_cpu_s": after["help_cpu_s"]}
    write("structure", {"before": before, "after": after}, seeds=[], n=after["files"], seconds=seconds)


if __name__ == "__main__":
    main()
