"""The documentation site: the Markdown of the repository, an API reference from docstrings, and a page of all commands.

`python docs/make_site.py` builds it in build/site. Every page keeps its path in the repository, so that a link between
two of them works in both places.
"""

from __future__ import annotations

import inspect
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tomli_w
import typer.main
from rich.text import Text

import understudy
from understudy.augment import Augmentation
from understudy.cli.main import app
from understudy.core.config import Line, lines
from understudy.engine.optim import OPTIMIZERS
from understudy.methods.base import METHODS
from understudy.recipes.base import RECIPES

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "photos.ipynb"

# A section lists these pages of docs/ in this order; Guides ends with all pages that no section names.
GETTING_STARTED = ("data", "splits", "budget")
GUIDES = ("plan", "audit", "suggest", "labels", "report")
COMPARING = ("compare",)

FAMILIES = {
    "Baseline": ("supervised",),
    "Consistency of weak views": ("pi_model", "mean_teacher", "vat"),
    "Mixed pseudo-labels": ("mixmatch", "remixmatch"),
    "Weak to strong views": (
        *("pseudo_label", "uda", "fixmatch", "dash", "flexmatch", "freematch", "adamatch", "softmatch", "shrinkmatch"),
    ),
    "Features and graphs": ("simmatch", "comatch", "crmatch"),
    "Meta learning": ("meta_pseudo_labels",),
    "Generative": ("sgan",),
    "Unequal classes": ("debiased_pseudo_label", "abc"),
    "Pretraining": ("simclr", "barlow_twins", "rotation", "masked_image"),
}
"""Methods by what they do with unlabeled images; one that is not listed appears under "Other methods"."""

API = {
    "Training": ("train", "Result", "plan", "evaluate", "Predictor", "Predictions", "SemiSupervisedClassifier"),
    "Images": ("audit", "suggest", "split", "load"),
    "Comparing": ("compare", "ablate", "Comparison"),
    "Settings": ("Job", "Settings", "Budget"),
    "Single runs": ("fit", "Stage", "Trained"),
    "Errors": ("UserError", "Interrupted"),
}
"""Public names by page; those that no page lists are on a page of their own."""

RESULTS = {"Comparing": ("comparison.result",)}
"""Modules of what the functions of a page return."""

EXTENDING = ("methods.base", "core.types", "models.nets", "core.config", "recipes.base", "core.registry")
"""Modules that a new method or recipe is written against."""

_CHOICES = {"method.name": METHODS, "optimizer.name": OPTIMIZERS, "recipe.name": RECIPES}


def main() -> None:
    """Build the site, and fail on the first broken link, anchor or unknown name."""
    site = build(ROOT / "build", execute=True)
    print(f"The site is in {site.relative_to(ROOT)}: open index.html")


def build(folder: Path, *, execute: bool = False) -> Path:
    """Gather the pages in a folder, let Zensical build the site there strictly, and give the site's folder.

    Args:
        execute: Run the notebook, so that its page has outputs.

    Raises:
        CalledProcessError: Zensical found a fault, which it has printed.
    """
    for name in ("pages", "site"):
        shutil.rmtree(folder / name, ignore_errors=True)
    write_pages(folder / "pages", execute=execute)
    config = tomllib.loads((ROOT / "docs" / "site.toml").read_text(encoding="utf-8"))
    config["project"] |= {"docs_dir": "pages", "site_dir": "site", "nav": navigation(folder / "pages")}
    config["project"]["plugins"]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(ROOT / "src")]
    (folder / "zensical.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(folder / "zensical.toml")]
    subprocess.run(command, check=True)
    return folder / "site"


def write_pages(folder: Path, *, execute: bool) -> None:
    """Copy the pages of the repository and what they link to, and write the references."""
    ignored = shutil.ignore_patterns("*.py", "*.toml", "__pycache__")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=ignored)
    shutil.copytree(ROOT / "benchmarks", folder / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "README.md", folder / "index.md")
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "examples").mkdir()
    (folder / "examples" / "photos.md").write_text(notebook_page(NOTEBOOK, execute=execute), encoding="utf-8")
    for path, text in references().items():
        page = folder / "reference" / path
        page.parent.mkdir(exist_ok=True)
        page.write_text(text, encoding="utf-8")


def navigation(folder: Path) -> list[dict[str, Any]]:
    """The sections of the site and their pages."""
    named = {*GETTING_STARTED, *GUIDES, *COMPARING}
    others = [path.stem for path in sorted((folder / "docs").glob("*.md")) if path.stem not in named]

    def pages(*stems: str) -> list[str]:
        return [f"docs/{stem}.md" for stem in stems]

    api = [f"reference/{path}" for path in references() if path != "commands.md"]
    return [
        {"Home": "index.md"},
        {"Getting started": [*pages(*GETTING_STARTED), "examples/photos.md"]},
        {"Guides": pages(*GUIDES, *others)},
        {"Methods": [{"All methods": "docs/methods/README.md"}, *by_family()]},
        {"Comparing": [*pages(*COMPARING), {"Benchmarks": "benchmarks/README.md"}]},
        {
            "Reference": [
                "reference/commands.md",
                {"Python API": api},
                {"Changelog": "CHANGELOG.md"},
                {"Security": "SECURITY.md"},
            ]
        },
        {"Contributing": "CONTRIBUTING.md"},
    ]


def by_family() -> list[dict[str, list[str]]]:
    """The pages of all methods, grouped by family."""
    families = {**FAMILIES, **_rest(FAMILIES, METHODS.names(), "Other methods")}
    return [{family: [f"docs/methods/{name}.md" for name in names]} for family, names in families.items()]


def notebook_page(path: Path, *, execute: bool) -> str:
    """The cells of a notebook as Markdown, with the outputs it has."""
    notebook = executed(path) if execute else json.loads(path.read_text(encoding="utf-8"))
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            text = "".join(data.get("text/plain") or output.get("text", ""))
            parts.append("".join(data.get("text/html", "")) or f"```\n{text}\n```")
    return "\n\n".join(parts) + "\n"


def executed(path: Path) -> Any:
    """The notebook with the outputs of a run in a temporary folder.

    Raises:
        CellExecutionError: A cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        # 10 minutes for a cell: it takes seconds, and more where other processes have the cores.
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    return notebook


def references() -> dict[str, str]:
    """The text of each page of the reference by its file name."""
    groups = {**API, **_rest(API, understudy.__all__, "More")}
    pages = {"commands.md": "\n".join(commands())}
    for title, names in groups.items():
        page = _api_page(title, (f"understudy.{name}" for name in (*names, *RESULTS.get(title, ()))))
        pages[f"{title.lower().replace(' ', '-')}.md"] = page + "\n".join(settings() if title == "Settings" else ())
    pages["extending.md"] = _api_page("Extending", (f"understudy.{module}" for module in EXTENDING))
    return pages


def settings() -> Iterator[str]:
    """The lines of the tables of all settings but those of methods, which are on the pages of the methods."""
    whole = [line for line in lines(understudy.Job()) if "." not in line.key or line.key in _CHOICES]
    yield from ("## All settings", "", *_settings_table(whole), "")
    yield from ("### augmentation", "", *_settings_table(lines(Augmentation(), "augmentation.")), "")
    for group, registry in _CHOICES.items():
        if registry is METHODS:
            continue
        for name in registry.names():
            kind = registry.get(name)
            table = _settings_table(lines(kind(), group.removesuffix("name")))
            yield from (f"### {group} = {name}", "", inspect.getdoc(kind) or "", "", *table, "")


def _settings_table(settings: Iterable[Line]) -> Iterator[str]:
    rows = [_row(_code(line.key), _code(line.value), line.allowed, _plain(line.help)) for line in settings]
    if rows:
        yield from (_row("setting", "default", "allowed", "meaning"), _row(*["---"] * 4), *rows)


def commands() -> Iterator[str]:
    """The lines of the page about the command line, from the parsers of the commands."""
    yield from ("# Commands", "")
    parsers: Any = typer.main.get_command(app)
    for name, command in parsers.commands.items():
        arguments: list[str] = []
        tables: dict[str, list[str]] = {}
        for parameter in command.params:
            if parameter.param_type_name == "argument":
                arguments.append(parameter.metavar if parameter.required else f"[{parameter.metavar}]")
                table, cells = "Arguments", (_code(parameter.metavar),)
            else:
                names = (*parameter.opts, *parameter.secondary_opts)
                value = "" if parameter.is_flag else parameter.metavar
                default = _code(names[0]) if parameter.default is True else _default(parameter.default)
                default = default if parameter.show_default else ""
                table = parameter.rich_help_panel or "Options"
                cells = (", ".join(_code(option) for option in names), _code(value), default)
            tables.setdefault(table, []).append(_row(*cells, " ".join(_plain(parameter.help).split())))
        usage = " ".join(["understudy", name, *arguments, "[OPTIONS]"])
        yield from (f"## understudy {name}", "", "```", usage, "```", "", *_paragraphs(command.help or ""), "")
        for title, rows in tables.items():
            head = ("argument", "meaning") if title == "Arguments" else ("option", "value", "default", "meaning")
            yield from (f"**{title}**", "", _row(*head), _row(*("---" for _ in head)), *rows, "")


def _paragraphs(text: str) -> Iterator[str]:
    """The lines of a command's help, with indented ones as code."""
    for is_code, group in itertools.groupby(text.splitlines(), key=lambda line: line.startswith("  ")):
        if is_code:
            yield from ("", "```", *(Text.from_markup(line).plain.removeprefix("  ") for line in group), "```")
        else:
            yield from (_plain(line) for line in group)


def _default(value: Any) -> str:
    """The default of an option; nothing where leaving it out is the default."""
    return "" if value in (None, "", False, (), ...) or isinstance(value, list) else _code(str(value))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _row(*cells: str) -> str:
    """A line of a table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _plain(markup: str | None) -> str:
    """A help text without the markup of the terminal, with what a page would take for HTML or emphasis escaped."""
    return re.sub(r"([<*_])", r"\\\1", Text.from_markup(markup or "").plain)


def _api_page(title: str, names: Iterable[str]) -> str:
    """A page that documents the objects of these dotted names."""
    return "\n\n".join([f"# {title}", *(f"::: {name}" for name in names)]) + "\n"


def _rest(groups: Mapping[str, tuple[str, ...]], names: Iterable[str], title: str) -> dict[str, tuple[str, ...]]:
    """A group of the names that no other has; none if there are none."""
    listed = {name for group in groups.values() for name in group}
    rest = tuple(name for name in names if name not in listed)
    return {title: rest} if rest else {}


if __name__ == "__main__":
    main()
