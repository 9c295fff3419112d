"""Settings as frozen dataclasses that check themselves, and their strict translation to and from TOML."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_args, get_origin, get_type_hints

from understudy.core.arguments import quoted
from understudy.core.budget import Budget
from understudy.core.errors import ConfigError, nearest
from understudy.core.registry import Registry

T = TypeVar("T", bound="Config")
_MAX_NESTED = 20  # settings nest three deep; Python stops at a thousand
_MAX_FLOAT = 3.4e38  # of float32, in which networks compute
_HINTS: dict[type[Any], dict[str, Any]] = {}  # resolving them takes milliseconds, and every setting asks


@dataclass(frozen=True)
class Knob:
    """Range and description of a setting; declared once, used for checks, help, docs and tests.

    Args:
        help: What it means, in one phrase.
        low: Smallest value allowed.
        high: Largest value allowed.
        choices: The only values allowed.
        probe: A legal value, far from the default, that must change a training run.
    """

    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    probe: Any = None

    def problem(self, value: Any) -> str | None:
        """What is wrong with the value, as the end of a sentence, or None."""
        if self.choices and value not in self.choices:
            return f"is {quoted(value)}; {nearest(str(value), self.choices)}"
        if isinstance(value, int | float) and not isinstance(value, bool):
            if isinstance(value, float) and abs(value) > _MAX_FLOAT:
                return f"is {quoted(value)}; it must be finite in single precision, at most {_MAX_FLOAT:g}"
            if value != value or (self.low is not None and value < self.low):
                return f"is {quoted(value)}; it must be at least {self.low}"
            if self.high is not None and value > self.high:
                return f"is {quoted(value)}; it must be at most {self.high}"
        return None

    @property
    def allowed(self) -> str:
        """The values allowed, for help and documentation."""
        if self.choices:
            return " | ".join(self.choices)
        if self.low is None and self.high is None:
            return "any"
        return (
            f"{'-inf' if self.low is None else f'{self.low:g}'} to {'inf' if self.high is None else f'{self.high:g}'}"
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every group of settings: types and ranges are checked on construction, from code or from a file."""

    name: ClassVar[str] = ""
    variants: ClassVar[Registry[Any] | None] = None

    def __post_init__(self) -> None:
        problems = _problems(type(self), {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        if problems:
            title = type(self).name or type(self).__name__
            raise ConfigError("; ".join(f"{title}.{problem}" for problem in problems))


def knobs(kind: type[Config]) -> dict[str, Knob]:
    """The declared knob of every setting of a class, by name."""
    found = {}
    for name, hint in _hints(kind).items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, Knob):
                found[name] = extra
    return found


@dataclass(frozen=True)
class Line:
    """One setting for documentation: its dotted key, its value, the allowed values and its meaning."""

    key: str
    value: str
    allowed: str
    help: str


def lines(config: Config, prefix: str = "") -> list[Line]:
    """Every setting of a group, nested ones after the others, for help and documentation."""
    found = [
        Line(prefix + name, _plain(getattr(config, name)), knob.allowed, knob.help)
        for name, knob in knobs(type(config)).items()
    ]
    for field in dataclasses.fields(config):
        nested = getattr(config, field.name)
        if isinstance(nested, Config):
            key, variants = prefix + field.name, type(nested).variants
            if variants is not None:
                allowed = _names(_config_class(_hints(type(config))[field.name]) or type(nested))
                found.append(Line(f"{key}.name", nested.name, " | ".join(allowed), f"name of the {field.name}"))
            found += lines(nested, f"{key}.")
    return found


def _plain(value: Any) -> str:
    if isinstance(value, Budget):
        return value.text
    return f"{value:g}" if isinstance(value, float) else str(value)


def to_table(config: Config) -> dict[str, Any]:
    """The settings as nested plain values, ready for TOML; unset (None) settings are left out."""
    table: dict[str, Any] = {"name": config.name} if type(config).variants is not None else {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, Config):
            table[field.name] = to_table(value)
        elif value is not None:
            table[field.name] = to_plain(value)
    return table


def to_plain(value: Any) -> Any:
    """A setting, or a table of settings, as values of TOML and JSON."""
    if isinstance(value, Config):
        return to_table(value)
    if isinstance(value, Budget):
        return value.text
    if isinstance(value, Mapping):
        return {key: to_plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value


def normalize(cls: type[Config], table: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a table of settings in its one canonical form.

    Where a class is to be picked, its name, in any case, and the class itself become a table with the name as it is
    registered, as `{"method": "FixMatch"}` becomes `{"method": {"name": "fixmatch"}}`. Objects stay, None is left out,
    and a budget is parsed. Keys that the class does not have are left to `from_table`.

    Raises:
        ConfigError: A name or a budget is unknown.
    """
    result = dict(table)
    for key, hint in _hints(cls).items():
        if key not in result:
            continue
        nested, value = _config_class(hint), result[key]
        if Budget in get_args(hint):
            result[key] = Budget.parse(value)
        elif nested is not None and value is None:
            del result[key]
        elif nested is not None:
            result[key] = _normalized(nested, value, key, _default_name(cls, key))
    return result


def _normalized(cls: type[Config], value: Any, key: str, default: str) -> Any:
    """A nested setting in canonical form; a value of another form is refused if a class is to be picked.

    Args:
        default: Name of the class that a table without a name is of.
    """
    if cls.variants is None:
        return normalize(cls, value) if isinstance(value, Mapping) else value
    if isinstance(value, type) and issubclass(value, Config):
        value = value.name
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        if isinstance(value, Config):
            return value
        raise ConfigError(f"{key} is {quoted(value)}; give a name, one of {', '.join(_names(cls))}")
    named = {"name": cls.variants.canonical(value["name"], _names(cls))} if "name" in value else {}
    name = named.get("name", default)
    return {**(normalize(cls.variants.get(name), value) if name else value), **named}


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both tables as one, in which values of `above` win.

    A table of another `name` replaces the one below, since the settings of another class differ.
    """
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(under, Mapping) and isinstance(value, str):
            value = {"name": value}
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            is_same_class = value.get("name", under.get("name")) == under.get("name")
            value = merge(under, value) if is_same_class else value
        result[key] = value
    return result


def from_table(kind: type[T], table: Mapping[str, Any], *, where: str = "") -> T:
    """The settings that a nested table describes; a `name` in it picks the class where several exist.

    Raises:
        ConfigError: A key is unknown (the nearest valid one is named), or a value has the wrong type or range.
    """
    prefix = f"{where}." if where else ""
    values = dict(table)
    if kind.variants is not None:
        name = values.pop("name", kind.name)
        if not name or not isinstance(name, str):
            raise ConfigError(f"{where or kind.__name__} needs a name; allowed: {', '.join(_names(kind))}")
        asked, kind = kind, kind.variants.get(name, _names(kind))
        if not issubclass(kind, asked):
            raise ConfigError(f"{prefix}name is {name!r}; {nearest(name, _names(asked))}")
    hints = _hints(kind)
    unknown = [str(key) for key in values if key not in hints]
    if unknown:
        complaints = (
            f"unknown setting {prefix}{key}: {_elsewhere(kind, values, key)}{nearest(str(key), hints)}"
            for key in unknown
        )
        raise ConfigError("; ".join(complaints))
    for key, value in values.items():
        nested = _config_class(hints[key])
        if Budget in get_args(hints[key]):
            values[key] = Budget.parse(value)
            continue
        if nested is not None and nested.variants is not None and isinstance(value, str):
            value = {"name": value}
        if nested is not None and isinstance(value, Mapping):
            named = {"name": _default_name(kind, key)} if nested.variants is not None else {}
            values[key] = from_table(nested, named | dict(value), where=f"{prefix}{key}")
        elif isinstance(value, list):
            values[key] = tuple(value)
    problems = _problems(kind, values)
    if problems:
        raise ConfigError("; ".join(f"{prefix}{problem}" for problem in problems))
    return kind(**values)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: The file is missing or is not TOML.
    """
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind):  # reading a named pipe would wait for ever
            raise ConfigError(f"configuration file {path} is not a regular file; give a .toml file")
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        if _depth(table) > _MAX_NESTED:
            raise RecursionError
        return table
    except FileNotFoundError:
        raise ConfigError(f"configuration file {path} does not exist") from None
    except RecursionError:
        raise ConfigError(f"configuration file {path} nests its tables or lists too deeply") from None
    except OSError as error:
        raise ConfigError(f"configuration file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"configuration file {path} is not TOML: {error}") from None


def _depth(value: Any) -> int:
    """How deep tables and lists are nested, found without recursion."""
    depth, level = 0, [value]
    while level and depth <= _MAX_NESTED:
        parts = (part.values() if isinstance(part, dict) else part if isinstance(part, list) else () for part in level)
        level = [inner for part in parts for inner in part]
        depth += 1
    return depth


def override(table: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of the table in which assignments such as `method.threshold=0.9` were carried out in turn.

    Raises:
        ConfigError: An assignment is not KEY=VALUE, or its key goes through something that is no table.
    """
    result = _copy(table)
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        keys = path.strip().split(".")
        if not equals or not all(keys) or len(keys) > _MAX_NESTED:
            raise ConfigError(f"override {assignment!r} is not KEY=VALUE; write for example method.threshold=0.9")
        inner = result
        for key in keys[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"override {assignment!r} goes through {key!r}, which is a value and no table")
        if keys[-1] == "name":
            inner.clear()  # another class has other settings; keeping the old ones would only make errors
        inner[keys[-1]] = _parse_value(text.strip())
    return result


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # ValueError also for integers of more digits than Python converts
        return text


def _copy(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in table.items()}


def _hints(kind: type[Config]) -> dict[str, Any]:
    if kind not in _HINTS:
        hints = get_type_hints(kind, include_extras=True)
        _HINTS[kind] = {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return _HINTS[kind]


def _names(kind: type[Config]) -> list[str]:
    """Names of the registered classes that may stand where this one is asked for."""
    variants = kind.variants
    if variants is None:
        return []
    fitting = [name for name in variants.names() if issubclass(variants.get(name), kind)]
    return [name for name in fitting if name in variants.offered()] or fitting  # a hidden kind was asked for itself


def _default_name(kind: type[Config], key: str) -> str:
    """The name of the class that a nested setting has by default; none if it has no default."""
    (field,) = (field for field in dataclasses.fields(kind) if field.name == key)
    if field.default_factory is not dataclasses.MISSING:
        return str(field.default_factory().name)
    return str(getattr(field.default, "name", ""))


def _elsewhere(kind: type[Config], values: Mapping[str, Any], key: str) -> str:
    """The start of a hint where a nested group has a setting of that name, as `optimizer.lr` for `lr`."""
    found = []
    for name, hint in _hints(kind).items():
        nested = _config_class(hint)
        if nested is None:
            continue
        given = values.get(name)
        if isinstance(given, Config):
            nested = type(given)
        elif nested.variants is not None:
            asked = given.get("name", "") if isinstance(given, Mapping) else given
            filed = asked if isinstance(asked, str) and asked else _default_name(kind, name)
            with contextlib.suppress(ConfigError):
                nested = nested.variants.get(filed)
        found += [f"{name}.{key}"] if key in _hints(nested) else []
    return f"did you mean {' or '.join(map(repr, found))}? " if found else ""


def _config_class(hint: Any) -> type[Config] | None:
    """The class of settings that a type hint such as `Optimizer`, `Method[Any]` or `Optimizer | None` names."""
    for candidate in (hint, get_origin(hint), *get_args(hint)):
        if isinstance(candidate, type) and issubclass(candidate, Config):
            return candidate
    return None


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(hint, config=ConfigDict(strict=True, arbitrary_types_allowed=True))


def _problems(kind: type[Config], values: Mapping[str, Any]) -> list[str]:
    from pydantic import ValidationError

    declared = knobs(kind)
    problems = []
    for key, value in values.items():
        hint = _hints(kind)[key]
        nested = _config_class(hint)
        if nested is not None:
            if not isinstance(value, nested) and not (value is None and type(None) in getattr(hint, "__args__", ())):
                problems.append(f"{key} is {quoted(value)}; it must be a table of {nested.__name__} settings")
            continue
        if Budget in get_args(hint):
            if not isinstance(value, Budget):
                problems.append(f"{key} is {quoted(value)}; give a Budget")
            continue
        try:
            _adapter(hint).validate_python(value)
        except ValidationError as error:
            problems.append(f"{key} is {quoted(value)}: {error.errors()[0]['msg'].lower()}")
            continue
        problem = declared[key].problem(value) if key in declared else None
        if problem:
            problems.append(f"{key} {problem}")
    return problems
