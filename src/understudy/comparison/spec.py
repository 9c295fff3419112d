"""The specification of a comparison: variants with their settings, numbers of labels, seeds and shared settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from understudy.comparison.result import BASELINE
from understudy.comparison.variants import Variant, named_variants, unknown_setting
from understudy.core.budget import Budget
from understudy.core.errors import ConfigError, nearest
from understudy.experiment.job import Job, normalize_options
from understudy.methods.base import METHODS, Method
from understudy.models import as_module

ALL = "all"
DEFAULT_BUDGET = Budget(cpu_s=60)  # the benchmarks' budget of one run, enough for small images
_MAX_SEEDS = 1000  # intervals hardly narrow beyond; a larger number is more likely one seed that should be in a list


@dataclass(frozen=True)
class ComparisonSpec:
    """A validated specification.

    Args:
        variants: Supervised first, then methods, then named variants.
        num_labels: Ascending; 0 keeps all.
        shared: Settings of every run.
        upper_bound: Whether supervised learning is also trained on all hidden labels.
        module: The user's own network; `shared` holds its name.
    """

    variants: tuple[Variant, ...]
    num_labels: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: Budget
    shared: Mapping[str, Any]
    notes: tuple[str, ...]
    upper_bound: bool = False
    module: nn.Module | None = None


def parse_options(
    methods: str | Sequence[str | Method[Any]],
    num_labels: int | Sequence[int] | None,
    seeds: int | Sequence[int],
    budget: str | None,
    options: Mapping[str, Any],
    *,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    upper_bound: bool = False,
) -> ComparisonSpec:
    """The specification of a comparison, validated before any image is read.

    Raises:
        ConfigError: A method or setting is unknown, a number is out of range, the budget is not valid, or the name of
            a variant is taken.
    """
    options = dict(options)
    named = options.pop("variants", {})
    named = named if variants is None else variants
    names = _methods(methods, alone=not named)
    listed = [Variant("", normalize_options({"method": method})) for method in names]
    listed += named_variants(named, map(_name, names))
    return make_spec(listed, num_labels, seeds, budget, options, upper_bound=upper_bound)


def make_spec(
    variants: Sequence[Variant],
    num_labels: int | Sequence[int] | None,
    seeds: int | Sequence[int],
    budget: str | None,
    options: Mapping[str, Any],
    *,
    upper_bound: bool = False,
    notes: Sequence[str] = (),
) -> ComparisonSpec:
    """The specification for these variants, supervised first, with each option assigned to where it belongs.

    Raises:
        ConfigError: As `parse_options` does.
    """
    options = normalize_options({**options, **({} if budget is None else {"budget": budget})})
    module = None
    if not isinstance(options.get("network", ""), str):
        module = as_module(options["network"])
        options["network"] = f"module:{type(module).__qualname__}"
    first_seed, kept = options.pop("seed", 0), options.pop("num_labels", 0)
    budget_of_run: Budget = options.pop("budget", DEFAULT_BUDGET)
    sorting = _OptionParser(variants)
    for key, value in options.items():
        sorting.take(key, value)
    return ComparisonSpec(
        variants=sorting.completed(),
        num_labels=_numbers_of_labels(num_labels if num_labels is not None else kept or None),
        seeds=_seeds(seeds, first_seed),
        budget=budget_of_run,
        shared=sorting.shared,
        upper_bound=upper_bound,
        notes=(*notes, *sorting.notes),
        module=module,
    )


def _methods(asked: str | Sequence[str | Method[Any]], *, alone: bool) -> list[str | Method[Any]]:
    """The methods to compare, as names or objects, supervised first, each name once.

    Args:
        alone: Whether there are no other variants to compare with supervised.

    Raises:
        ConfigError: There is no method, or a name is unknown.
    """
    given = [name.strip() for name in asked.split(",")] if isinstance(asked, str) else list(asked)
    given = [one for item in given for one in (_all() if item == ALL else [item])]
    for one in given:
        if not isinstance(one, Method):
            METHODS.get(one)
    given = [one if isinstance(one, Method) else METHODS.canonical(one) for one in given]
    if alone and not any(_name(one) != BASELINE for one in given):
        raise ConfigError(f"no method to compare with supervised was given; allowed: all, {', '.join(_all())}")
    baseline = next((one for one in given if _name(one) == BASELINE), BASELINE)
    result: list[str | Method[Any]] = [baseline]
    return result + [one for one in dict.fromkeys(given) if one != baseline]


def _all() -> list[str]:
    """The methods that train a classifier, without those that only learn features."""
    return METHODS.offered()


def _name(one: str | Method[Any]) -> str:
    return one.name if isinstance(one, Method) else one


class _OptionParser:
    """Assigns each option to all runs, or to all methods that have it."""

    def __init__(self, variants: Sequence[Variant]) -> None:
        """The first variant is the baseline."""
        self.variants = variants
        self.shared: dict[str, Any] = {}
        self.knobs: dict[str, Any] = {}
        self.own: dict[str, Mapping[str, Any]] = {}
        self.recipe: Any = None
        self.notes: list[str] = []
        tables = [one.method for one in variants if not isinstance(one.method, Method)]  # an object stays as given
        self.objects = [type(one.method) for one in variants if isinstance(one.method, Method)]
        self.kinds = {str(one["name"]): METHODS.get(str(one["name"])) for one in tables}
        self.settings = {field.name for field in dataclasses.fields(Job)} - {"method"}

    def take(self, key: str, value: Any) -> None:
        """Assign one option."""
        if key == "method":
            if isinstance(value, Method):
                raise ConfigError(f"method is a {value.name} object; give what is compared as methods=[...]")
            self.take_method(dict(value))
        elif key == "recipe":
            self.recipe = value if value != {"name": Job().recipe.name} else None
        elif key in self.settings:
            self.shared[key] = value
        elif key in METHODS.names():
            raise ConfigError(
                f"unknown setting {key}: a method with settings of its own is a variant; write variants.NAME.method = "
                f"{{name = {key!r}, ...}} and choose a NAME"
            )
        else:
            raise unknown_setting(key, (*self.kinds.values(), *self.objects), {*self.settings, "method", "variants"})

    def take_method(self, table: dict[str, Any]) -> None:
        """Assign the settings of a table `method`: without a name to all methods, with a name to that method alone.

        The configuration file of a training run names its method.
        """
        name = table.pop("name", None)
        if name is None:
            self.knobs |= table
        elif name in self.kinds:
            self.own[name] = table
        elif table:
            self.notes.append(f"The settings of method {name} change nothing, since it is not compared.")

    def completed(self) -> tuple[Variant, ...]:
        """The variants with the settings of all methods, overridden by those of one method, and then by their own.

        Raises:
            ConfigError: No method has a setting.
        """
        for key in self.knobs:
            if not any(key in _fields(cls) for cls in self.kinds.values()):
                known = {f"method.{name}" for cls in self.kinds.values() for name in _fields(cls)}
                have = ", ".join(dict.fromkeys(_method_name(variant) for variant in self.variants))
                raise ConfigError(
                    f"unknown setting method.{key}: none of {have} has it; {nearest(f'method.{key}', known)}"
                )
        return tuple(self._complete(one, is_baseline=not at) for at, one in enumerate(self.variants))

    def _complete(self, variant: Variant, *, is_baseline: bool) -> Variant:
        settings, method = dict(variant.settings), variant.method
        if not isinstance(method, Method):
            name = str(method["name"])
            known = _fields(self.kinds[name])
            table = {key: value for key, value in self.knobs.items() if key in known}
            settings["method"] = {"name": name} | table | dict(self.own.get(name, {})) | dict(method)
        if self.recipe is not None and not is_baseline:
            settings.setdefault("recipe", self.recipe)
        return Variant(variant.name, settings)


def _fields(method: type[Method[Any]]) -> set[str]:
    """The settings of a method, nested ones included."""
    return {field.name for field in dataclasses.fields(method)}


def _method_name(variant: Variant) -> str:
    method = variant.method
    return method.name if isinstance(method, Method) else str(method["name"])


def _numbers_of_labels(asked: int | Sequence[int] | None) -> tuple[int, ...]:
    numbers = [0] if asked is None else [asked] if isinstance(asked, int) else list(asked)
    bad = [number for number in numbers if not isinstance(number, int) or number < (0 if asked is None else 1)]
    if bad or not numbers:
        raise ConfigError(f"the numbers of labels are {numbers}; give whole numbers of at least one label per class")
    return tuple(sorted(set(numbers)))


def _seeds(asked: int | Sequence[int], first: int) -> tuple[int, ...]:
    seeds = list(range(first, first + asked)) if isinstance(asked, int) else list(dict.fromkeys(asked))
    if not seeds or len(seeds) > _MAX_SEEDS or any(not isinstance(seed, int) or seed < 0 for seed in seeds):
        raise ConfigError(
            f"seeds is {asked}; give how many, from 1 to {_MAX_SEEDS}, or a list of whole numbers of at least 0"
        )
    return tuple(seeds)
