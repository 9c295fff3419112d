"""What a comparison was asked for, sorted: methods with their own knobs, numbers of labels, seeds, shared settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from understudy.core.budget import Budget
from understudy.core.config import knobs, to_table
from understudy.core.errors import ConfigError, nearest
from understudy.methods.base import METHODS, Method
from understudy.recipes.job import Job

BASELINE = "supervised"
ALL, PLAIN = "all", "plain"
DEFAULT_BUDGET = "60cpu-s"
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Asked:
    """A checked request.

    Args:
        methods: Each a table of `name` and knobs, or a method object; supervised first.
        num_labels: Ascending; 0 is all that are given.
        shared: Settings of every run.
    """

    methods: tuple[Mapping[str, Any] | Method[Any], ...]
    num_labels: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: str
    shared: Mapping[str, Any]
    notes: tuple[str, ...]


def sort_options(
    methods: str | Sequence[str | Method[Any]],
    num_labels: int | Sequence[int] | None,
    seeds: int | Sequence[int],
    budget: str | None,
    options: Mapping[str, Any],
) -> Asked:
    """The request, once it is known to make sense; nothing was read yet.

    Raises:
        ConfigError: A method or setting is unknown, a number is out of range, or the budget is none.
    """
    options = dict(options)
    first_seed, kept = options.pop("seed", 0), options.pop("num_labels", 0)
    in_table = options.pop("budget", DEFAULT_BUDGET)
    budget = str(in_table if budget is None else budget)
    Budget.parse(budget)
    asked = _methods(methods)
    tables, shared, notes = _knobs(asked, options)
    return Asked(
        methods=tables,
        num_labels=_numbers_of_labels(num_labels if num_labels is not None else kept or None),
        seeds=_seeds(seeds, first_seed),
        budget=budget,
        shared=shared,
        notes=notes,
    )


def method_label(method: Method[Any], default: Method[Any]) -> str:
    """The method's name, with the knobs that differ from the default in brackets; it depends on nothing else."""
    own, usual = to_table(method), to_table(default)
    changed = [f"{name}={_plain(value)}" for name, value in own.items() if value != usual.get(name)]
    return f"{method.name}({', '.join(changed)})" if changed else method.name


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _methods(asked: str | Sequence[str | Method[Any]]) -> list[str | Method[Any]]:
    """The names and objects asked for, supervised first, each name once.

    Raises:
        ConfigError: There are none, or a name is unknown.
    """
    given = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
    given = [one for item in given for one in (_all() if item == ALL else [item])]
    for one in given:
        if not isinstance(one, Method):
            METHODS.get(str(one))
    if not any(_name(one) != BASELINE for one in given):
        raise ConfigError(f"no method to compare with supervised was given; allowed: all, {', '.join(_all())}")
    baseline = next((one for one in given if _name(one) == BASELINE), BASELINE)
    result: list[str | Method[Any]] = [baseline]
    return result + [one for one in dict.fromkeys(given) if one != baseline]


def _all() -> list[str]:
    """The methods that learn classes; those that learn features alone are where others start from."""
    return [name for name in METHODS.names() if not METHODS.get(name).pretext]


def _name(one: str | Method[Any]) -> str:
    return one.name if isinstance(one, Method) else one


def _knobs(
    asked: Sequence[str | Method[Any]], options: Mapping[str, Any]
) -> tuple[tuple[Mapping[str, Any] | Method[Any], ...], dict[str, Any], tuple[str, ...]]:
    """Each method with its knobs, the settings of every run, and what to say about settings that changed nothing."""
    by_name = {_name(one): {"name": _name(one)} for one in asked if not isinstance(one, Method)}
    known = {name: knobs(METHODS.get(name)) for name in by_name}
    settings = {field.name for field in dataclasses.fields(Job)} - {"method"}
    shared: dict[str, Any] = {}
    notes: list[str] = []

    def for_all(key: str, value: Any) -> None:
        holders = [name for name in by_name if key in known[name]]
        if not holders:
            names = {*settings, *by_name, *(knob for one in known.values() for knob in one)}
            raise ConfigError(
                f"unknown setting {key}: none of {', '.join(map(_name, asked))} has it; {nearest(key, names)}"
            )
        for name in holders:
            by_name[name].setdefault(key, value)

    own: list[tuple[str, Mapping[str, Any]]] = []
    general: dict[str, Any] = {}
    for key, value in options.items():
        if key == "method":
            method = {} if isinstance(value, str) else dict(value)
            name = method.pop("name", None)
            if name is None:
                general |= method
            elif name in by_name:
                own.append((name, method))
            elif method:
                notes.append(f"The settings of method {name} change nothing, since it is not compared.")
        elif key == "recipe":
            if (value if isinstance(value, str) else value.get("name", PLAIN)) != PLAIN:
                raise ConfigError("a comparison trains every method in one run from fresh weights; leave out recipe")
        elif key in settings:
            shared[key] = {"name": value} if key == "optimizer" and isinstance(value, str) else value
        elif isinstance(value, Mapping) and key in METHODS.names():
            if key not in by_name:
                raise ConfigError(f"settings of {key} were given, which is not compared; {nearest(key, by_name)}")
            own.append((key, value))
        else:
            general[key] = value
    for name, table in own:  # what is said of one method comes before what is said of all
        by_name[name] = {**by_name[name], **table}
    for key, value in general.items():
        for_all(key, value)
    return tuple(by_name[_name(one)] if not isinstance(one, Method) else one for one in asked), shared, tuple(notes)


def _numbers_of_labels(asked: int | Sequence[int] | None) -> tuple[int, ...]:
    numbers = [0] if asked is None else [asked] if isinstance(asked, int) else list(asked)
    bad = [number for number in numbers if not isinstance(number, int) or number < (0 if asked is None else 1)]
    if bad or not numbers:
        raise ConfigError(f"the numbers of labels are {numbers}; give whole numbers of at least one label per class")
    return tuple(sorted(set(numbers)))


def _seeds(asked: int | Sequence[int], first: int) -> tuple[int, ...]:
    seeds = list(range(first, first + asked)) if isinstance(asked, int) else list(dict.fromkeys(asked))
    if not seeds or len(seeds) > _MOST_SEEDS or any(not isinstance(seed, int) or seed < 0 for seed in seeds):
        raise ConfigError(
            f"seeds is {asked}; give how many, from 1 to {_MOST_SEEDS}, or a list of whole numbers of at least 0"
        )
    return tuple(seeds)
