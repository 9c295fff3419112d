"""Presets: settings under a name, as TOML files beside this module; other settings override those of a preset."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from understudy.core.arguments import quoted
from understudy.core.config import merge
from understudy.core.errors import ConfigError, nearest


def names() -> list[str]:
    """The names of all presets."""
    entries = list(files(__name__).iterdir())  # to the end, which closes the folder
    return sorted(file.name.removesuffix(".toml") for file in entries if file.name.endswith(".toml"))


def summary(name: str) -> str:
    """What a preset is for: the first line of its file."""
    return _text(name).partition("\n")[0].removeprefix("# ")


def with_preset(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table of options on top of the preset that its key `preset` names, if it names one.

    Raises:
        ConfigError: There is no such preset; the nearest name is suggested.
    """
    table = dict(table)
    name = table.pop("preset", None)
    return table if name is None else merge(tomllib.loads(_text(name)), table)


def _text(name: Any) -> str:
    known = names()
    if not isinstance(name, str):
        raise ConfigError(f"preset is {quoted(name)}; give a name, one of {', '.join(known)}")
    if name not in known:
        raise ConfigError(f"there is no preset {name!r}; {nearest(name, known)}")
    return (files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
