"""What a comparison sets side by side: variants, tables of settings with a name; that of a method is short for one."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from understudy.comparison.result import ALL_LABELS, BASELINE
from understudy.comparison.runs import folder_name
from understudy.core.arguments import quoted
from understudy.core.config import Config, knobs, to_table
from understudy.core.errors import ConfigError, UserError, nearest
from understudy.data.collection import Collection
from understudy.experiment.job import Job, make_job, normalize_options
from understudy.methods.base import METHODS, Method
from understudy.recipes.plain import Plain

SHARED = (
    "budget", "seed", "num_labels", "imbalance", "num_unlabeled", "unlabeled_imbalance", "unlabeled_order",
    "size", "channels", "domain", "device", "dtype", "compile", "corrupted",
)  # fmt: skip
"""Settings that no variant may have of its own: unless they are equal, a difference says nothing about the variant."""
# Longer names leave no room for figures in a table of the terminal.
_MAX_NAME = 60


@dataclass(frozen=True)
class Variant:
    """One set of settings that is compared with others.

    Args:
        name: Name in the report; empty for a method, which is named after itself and its non-default settings.
        settings: A table of `Job`. Its `method` is a table with a name, or an object.
    """

    name: str
    settings: Mapping[str, Any]

    @property
    def method(self) -> Mapping[str, Any] | Method[Any]:
        """The method, as a table or an object."""
        found: Mapping[str, Any] | Method[Any] = self.settings["method"]
        return found

    def job(self, shared: Mapping[str, Any], collection: Collection, source: str) -> Job:
        """All settings of its runs.

        Raises:
            ConfigError: One is unknown, has the wrong type or is outside its range.
        """
        table = {**shared, **self.settings}
        usual, own = shared.get("optimizer"), self.settings.get("optimizer")
        if isinstance(usual, Mapping) and isinstance(own, Mapping) and own.get("name") in (None, usual.get("name")):
            table["optimizer"] = {**usual, **own}
        with prefix_errors(self.name):
            return make_job(table, collection, None, source)

    def own(self, job: Job) -> dict[str, Any]:
        """Its settings except the method, in full and as plain values."""
        return {name: json_value(getattr(job, name)) for name in self.settings if name != "method"}

    def label(self, job: Job, shared: Mapping[str, Any], collection: Collection, source: str) -> str:
        """Its name, or that of its method with the settings that differ from the defaults."""
        if self.name:
            return self.name
        kind = job.method.name
        text = kind
        if self.method != {"name": kind}:
            usual: Method[Any] = type(job.method)()
            if kind in METHODS.names():
                usual = make_job({**shared, "method": kind}, collection, None, source).method
            text = _label(job.method, usual)
        if isinstance(job.recipe, Plain):
            return text
        return f"{_label(job.recipe, type(job.recipe)())}: {text}"

    def folder(self, label: str) -> str:
        """The name of its folders: one that no other variant, method or operating system can take for its own."""
        if not self.name:
            return folder_name(label)
        readable = re.sub(r"[^a-zA-Z0-9_.=-]+", "-", label).strip("-.")
        return f"{readable}-{hashlib.blake2b(label.encode(), digest_size=4).hexdigest()}".strip("-")


def named_variants(tables: Any, taken: Iterable[str]) -> list[Variant]:
    """The variants of a table of tables, with names and settings validated.

    Args:
        taken: Names of the methods in the same comparison.

    Raises:
        ConfigError: A name is taken or cannot be shown, or a setting is unknown or belongs to all variants.
    """
    if not isinstance(tables, Mapping):
        raise ConfigError(f"variants is {quoted(tables)}; give a table of settings under the name of each variant")
    names = {name.casefold(): name for name in (BASELINE, ALL_LABELS, *taken)}
    found = []
    for name, settings in tables.items():
        if not isinstance(name, str) or not name.isprintable() or name != name.strip() or not name:
            raise ConfigError(
                f"variant name {quoted(name)} cannot be shown; give printable text without spaces around it"
            )
        if len(name) > _MAX_NAME:
            raise ConfigError(
                f"variant name {quoted(name)} has {len(name)} characters, too many for a table; "
                f"give at most {_MAX_NAME}"
            )
        if name.casefold() in names:
            raise ConfigError(
                f"variant {name!r} has the name of {names[name.casefold()]!r}, which is compared too; choose another"
            )
        names[name.casefold()] = name
        with prefix_errors(name):
            found.append(Variant(name, _checked(settings)))
    return found


@contextmanager
def prefix_errors(name: str) -> Iterator[None]:
    """Name the variant at the start of every user error raised inside."""
    try:
        yield
    except UserError as error:
        if not name:
            raise
        raise type(error)(f"variant {name!r}: {error}") from None


def json_value(value: Any) -> Any:
    """A setting as a value of JSON."""
    return to_table(value) if isinstance(value, Config) else value


def _checked(settings: Any) -> dict[str, Any]:
    """A variant's table with its method, optimizer and recipe as tables or objects."""
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{quoted(settings)} is not a table of settings; write for example method = 'fixmatch'")
    table: dict[str, Any] = {"method": Job().method.name, **settings}
    table = normalize_options(table)
    method = table["method"]
    if isinstance(method, Mapping):
        table["method"] = method = {"name": Job().method.name, **method}
        kind = METHODS.get(str(method["name"]))
    elif isinstance(method, Method):
        kind = type(method)
    else:
        raise ConfigError(
            f"method is {quoted(method)}; give the name of a method, or a table with its name and settings"
        )
    known = {field.name for field in dataclasses.fields(Job)} - set(SHARED)
    for key in table:
        if key in SHARED:
            raise ConfigError(f"{key} is the same for all variants; set it for the whole comparison")
        if key not in known:
            raise unknown_setting(str(key), [kind], known)
    return table


def unknown_setting(key: str, methods: Iterable[type[Method[Any]]], known: Iterable[str]) -> ConfigError:
    """The error for a key that no table of settings has at its top; it may be a setting of a method."""
    for method in methods:
        if key in knobs(method):
            return ConfigError(f"{key} is a setting of method {method.name}; write method.{key}")
    return ConfigError(f"unknown setting {key}: {nearest(key, known)}")


def _label(one: Config, default: Config) -> str:
    """The name of a method or recipe, with the knobs that differ from the default in brackets."""
    own, usual = to_table(one), to_table(default)
    changed = [f"{name}={_text(value)}" for name, value in own.items() if value != usual.get(name)]
    return f"{one.name}({', '.join(changed)})" if changed else one.name


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
