"""One page per method, generated from its docstring and settings, its cost, and what benchmarks measured of it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from understudy.core.config import lines
from understudy.methods.base import METHODS, Method

HERE = Path(__file__).resolve().parent
BENCHMARKS = HERE.parent / "benchmarks"


def main() -> None:
    """Write every page, and the list of them."""
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def pages() -> dict[Path, str]:
    """The text of each page by its path."""
    folder = HERE / "methods"
    kinds = [METHODS.get(name) for name in METHODS.names()]
    found = {folder / f"{kind.name}.md": page(kind) for kind in kinds}
    rows = [
        f"| [{kind.name}]({kind.name}.md) | {kind.summary} | {kind.use_when} | {price(kind)} | {reached(kind)} "
        f"| {paper(kind)} |"
        for kind in kinds
    ]
    head = [
        "| method | idea | when to use | cost of a step | digits, 40 labels, accuracy in % | paper |",
        "|---|---|---|---|---|---|",
    ]
    note = (
        "The cost of a step is relative to a supervised step with the same number of labeled images. It is measured "
        "with 7 unlabeled images per labeled one that all count in the loss "
        "([method_cost.json](../../benchmarks/method_cost.json)). Methods that skip unconfident images cost less "
        "while few images are confident."
    )
    found[folder / "README.md"] = "\n".join(["# Methods", "", note, "", *head, *rows, ""])
    return found


def page(kind: type[Method[Any]]) -> str:
    """One method's page."""
    doc = inspect.getdoc(kind) or ""
    parts = [
        f"# {kind.name}",
        kind.summary,
        f"**Use it** {kind.use_when}.",
        f"**Paper:** {paper(kind)}",
        doc,
        "## Cost",
    ]
    parts += [costs(kind), "## Settings", settings(kind)]
    if measured := figures(kind):
        parts += ["## Measured", measured]
    return "\n\n".join(parts) + "\n"


def settings(kind: type[Method[Any]]) -> str:
    """The table of a method's settings."""
    rows = [
        f"| `{line.key}` | {line.value} | {line.allowed.replace('|', 'or')} | {line.help} |" for line in lines(kind())
    ]
    return "\n".join(["| `--set method.` | default | allowed | meaning |", "|---|---|---|---|", *rows])


def price(kind: type[Method[Any]]) -> str:
    """Cost of a step in supervised steps, as a number."""
    return "-" if kind.cost is None else f"{kind.cost:.1f}"


def reached(kind: type[Method[Any]]) -> str:
    """Mean accuracy on digits with 40 labels, in percent."""
    line = read("methods").get("digits, 40 labels", {}).get("methods", {}).get(kind.name)
    return "-" if line is None else f"{100 * line['mean']:.1f}"


def costs(kind: type[Method[Any]]) -> str:
    """What a step costs beside a supervised one and a FixMatch one, from the benchmark's record."""
    record = read("method_cost").get(kind.name)
    if record is None:
        return "Not measured."
    many, few = record["all count"], record["few count"]
    return (
        f"A step with 16 labeled and 112 unlabeled images costs {many['of_supervised']:.1f} supervised steps "
        f"if every unlabeled image counts in the loss, and {few['of_supervised']:.1f} if hardly any does. This is "
        f"{many['of_fixmatch']:.2f} and {few['of_fixmatch']:.2f} times the cost of FixMatch "
        "([method_cost.json](../../benchmarks/method_cost.json))."
    )


def figures(kind: type[Method[Any]]) -> str:
    """What the comparison of all methods measured of this one; nothing if it was not among them."""
    rows = []
    for task, table in read("methods").items():
        line, base = table["methods"].get(kind.name), table["methods"].get("supervised")
        if line:
            deviation = f" \N{PLUS-MINUS SIGN} {100 * line['std']:.1f}" if line["n"] > 1 else ""
            rows.append(
                f"| {task} | {table['budget']} | {line['n']} | {100 * line['mean']:.1f}{deviation} | "
                f"{100 * line['worst']:.1f} | {100 * base['mean']:.1f} |"
            )
    if not rows:
        return ""
    head = ["| task | budget per run | runs | accuracy, % | worst | supervised |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows, "", "Source: [methods.json](../../benchmarks/methods.json)."])


def paper(kind: type[Method[Any]]) -> str:
    """The citation, its address a link."""
    words = [f"<{word}>" if word.startswith("http") else word for word in kind.paper.split()]
    return " ".join(words)


def read(name: str) -> dict[str, Any]:
    """The result of a benchmark's record; empty where there is none."""
    path = BENCHMARKS / f"{name}.json"
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"] if path.exists() else {}
    return result


if __name__ == "__main__":
    main()
