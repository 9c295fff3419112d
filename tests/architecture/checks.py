"""The house rules as functions from source text to the violations found in it."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

LAYERS = (
    ("core",),
    ("functional",),
    ("augment",),
    ("models",),
    ("data",),
    ("evaluation",),
    ("methods",),
    ("engine",),
    ("inspection",),
    ("recipes",),
    ("experiment",),
    ("planning", "comparison"),
    ("reports", "serving", "cluster", "display"),
    ("api",),
    ("cli",),
    ("__main__",),
)
RANK = {package: rank for rank, packages in enumerate(LAYERS) for package in packages}
PACKAGE = "understudy"

_MACHINE_PATH = re.compile(r"(?<![\w.])/(?:home|root|Users|mnt|srv)/\w|(?<![\w.])/tmp/\w|(?<!\w)[A-Z]:\\\\\w")


def imported(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Line and full name of everything the module imports, at its top or inside a function.

    Args:
        module: Its own full name, which relative imports start from; a package's ends in `.__init__`.
    """
    parents = module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = parents[: len(parents) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{start}.{alias.name}") for alias in node.names)


def import_order(source: str, module: str) -> list[str]:
    """Imports that go against the order of the layers, or past a rule of one of them."""
    own = _layer(module)
    found = []
    for line, name in imported(source, module):
        other = _layer(name)
        where = f"{module}:{line} imports {name}"
        if name.startswith("torch.distributed") and module != f"{PACKAGE}.core.distributed":
            found.append(f"{where}; only core.distributed does")
        if own == "reports" and name.split(".")[0] == "torch":
            found.append(f"{where}; a report is made from JSON alone")
        if own is None or other is None or own == other:
            if own == other == "methods" and not _may_share(module, name):
                found.append(f"{where}; methods share functions, not one another")
            continue
        if own not in RANK or other not in RANK:
            found.append(f"{where}; {own if own not in RANK else other} has no place in the order of layers")
        elif RANK[other] >= RANK[own]:
            found.append(f"{where}; {own} comes before {other}")
        elif own == "methods" and other == "data":
            found.append(f"{where}; a method sees batches, not where they come from")
        elif own == "evaluation" and other != "core":
            found.append(f"{where}; evaluation takes arrays")
    return found


def import_cycles(sources: Mapping[str, str]) -> list[str]:
    """Groups of modules each of which imports all others of its group, directly or through others.

    Imports inside functions count; those for type checkers alone do not.

    Args:
        sources: Text of each module by its full name; a package's ends in `.__init__`.
    """
    modules = {name.removesuffix(".__init__") for name in sources}
    graph: dict[str, set[str]] = {}
    for name, source in sources.items():
        own = name.removesuffix(".__init__")
        targets = (_module_of(target, modules) for _, target in imported(_without_type_checking(source), name))
        graph[own] = {target for target in targets if target not in (None, own)}  # type: ignore[misc]
    reached = {module: _reachable(graph, module) for module in graph}
    groups = {
        tuple(sorted({module, *(other for other in reached[module] if module in reached[other])}))
        for module in graph
        if module in reached[module]
    }
    return [", ".join(group) for group in sorted(groups)]


def shared_class_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of classes that are defined more than once, and the modules that define them."""
    return _repeated(
        (node.name, module)
        for module, source in sources.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
    )


def shared_file_names(modules: Iterable[str]) -> dict[str, list[str]]:
    """Last parts of the names of several modules, and these modules; packages aside."""
    return _repeated((module.rpartition(".")[2], module) for module in modules if not module.endswith("__"))


def prints(source: str, module: str) -> list[str]:
    """Calls of `print` outside the command line and the display of progress."""
    if _layer(module) in ("cli", "display"):
        return []
    return [
        f"{module}:{node.lineno} prints; only cli and display do"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def missing_docstrings(source: str, module: str) -> list[str]:
    """Modules, public classes and public functions that do not say what they are."""
    tree = ast.parse(source)
    found = [] if ast.get_docstring(tree) else [f"{module} has no docstring"]
    return found + [f"{module}:{node.lineno} {name} has no docstring" for name, node in _public(tree, "")]


def machine_paths(text: str, name: str) -> list[str]:
    """Lines that name a folder of somebody's machine."""
    return [
        f"{name}:{number} names a machine's path: {line.strip()}"
        for number, line in enumerate(text.splitlines(), start=1)
        if _MACHINE_PATH.search(line)
    ]


def _public(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    """Undocumented public definitions of a module or class; `forward` and marked overrides may be silent."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
        excused = (
            (prefix and node.name == "forward")
            or {"overload", "override", "typing.override"} & decorators
            or any(name.endswith((".setter", ".deleter")) for name in decorators)
        )
        if not ast.get_docstring(node) and not excused:
            yield prefix + node.name, node
        if isinstance(node, ast.ClassDef):
            yield from _public(node, f"{prefix}{node.name}.")


def _without_type_checking(source: str) -> str:
    """The source with nothing in the blocks that only a type checker reads."""

    class Remover(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST:
            if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
                node.body = [ast.Pass()]
            return self.generic_visit(node)

    return ast.unparse(Remover().visit(ast.parse(source)))


def _module_of(name: str, modules: set[str]) -> str | None:
    """The module that an imported name is, or is defined in; None for another project's."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name or None


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Everything that a module imports, directly or through others."""
    reached, waiting = set[str](), list(graph[start])
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            waiting += graph[module]
    return reached


def _repeated(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The modules of each name that occurs more than once."""
    modules = defaultdict[str, list[str]](list)
    for name, module in pairs:
        modules[name].append(module)
    return {name: sorted(found) for name, found in modules.items() if len(found) > 1}


def _layer(module: str) -> str | None:
    """The package below the top that a module belongs to; None for the top itself and for other projects."""
    parts = module.split(".")
    if parts[0] != PACKAGE or len(parts) < 2 or parts[1] == "__init__":
        return None
    return parts[1]


def _may_share(module: str, name: str) -> bool:
    """Whether a module of `methods` may import this name of `methods`: its base, or anything by the package itself."""
    return module == f"{PACKAGE}.methods.__init__" or name.startswith(f"{PACKAGE}.methods.base")
