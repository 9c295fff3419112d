"""Configurations and plans that nobody should write: random tables, and a real file with parts exchanged."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import tomli_w

from understudy.cli.request import Request, options_table
from understudy.core.config import to_table
from understudy.core.errors import UserError
from understudy.experiment.job import Job
from understudy.planning.plan import Plan

_VALUES: tuple[Any, ...] = (
    0, 1, -1, 2**63, 10**400, 0.0, -0.0, 1e300, float("inf"), float("nan"), "", "fixmatch", "a\0b", "x" * 5000,
    True, [], [1], ["a", [2]], {}, {"name": "fixmatch"}, {"name": {}}, {"": 1},
)  # fmt: skip
_KEYS = (
    "method",
    "optimizer",
    "recipe",
    "budget",
    "seed",
    "network",
    "name",
    "",
    "1",
    "a.b",
    "x" * 999,
    "\u00e9",
    "figures",
)
_PIECES = (
    "[",
    "]",
    "[[",
    "=",
    "\n",
    '"',
    "'''",
    "#",
    "\0",
    "1",
    "{",
    "a.b.c=1\n",
    "é",
    "\ufeff",
    "=" * 99,
    "[a]\n[a]\n",
)


def call_toml(place: Path, seed: int) -> str:
    """Read a random file as a configuration and as a plan; the text says what went wrong."""
    draw = random.Random(f"toml {seed}")
    path = place / "hostile.toml"
    content = _table(draw) if draw.random() < 0.5 else _mutated(draw)
    path.write_bytes(content)
    return read_both(path)


def read_both(path: Path) -> str:
    """Read a file as a configuration and as a plan; the text says what went wrong."""
    for read in (_as_config, _as_plan):
        try:
            read(path)
        except UserError as error:
            if len(str(error)) > 100_000:
                return "the sentence is longer than anybody reads"
    return ""


def _as_config(path: Path) -> None:
    Request("train", "digits", options=options_table(path, {}, ())).check()


def _as_plan(path: Path) -> None:
    Plan.load(path)


def _table(draw: random.Random) -> bytes:
    def value(depth: int) -> Any:
        if depth and draw.random() < 0.4:
            return {draw.choice(_KEYS): value(depth - 1) for _ in range(draw.randrange(4))}
        return draw.choice(_VALUES)

    table = to_table(Job()) if draw.random() < 0.7 else {}
    for _ in range(draw.randint(1, 3)):
        target = table
        while draw.random() < 0.5 and (inner := [part for part in target.values() if isinstance(part, dict)]):
            target = draw.choice(inner)
        target[draw.choice([*target, *_KEYS])] = value(draw.choice((0, 1, 2, 30)))
    try:
        return tomli_w.dumps(table).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError):
        return repr(table).encode("utf-8", "replace")


def _mutated(draw: random.Random) -> bytes:
    text = tomli_w.dumps(to_table(Job()))
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(text) + 1)
        piece = draw.choice(_PIECES) * draw.choice((1, 1, 1, 2, 3000))
        text = text[:at] + piece + text[at + draw.choice((0, 0, 1, 20)) :]
    content = bytearray(text.encode())
    if draw.random() < 0.3:
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content)
