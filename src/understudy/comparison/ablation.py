"""Ablation: what each ingredient of a semi-supervised run adds to those before it, each step a variant of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from understudy.comparison.ablation_steps import PlannedStep
from understudy.comparison.compare import run_comparison
from understudy.comparison.result import BASELINE, ComparisonResult
from understudy.comparison.spec import make_spec
from understudy.comparison.variants import Variant, unknown_setting
from understudy.comparison.watchers import ComparisonWatcher
from understudy.core.arguments import check, quoted
from understudy.core.config import from_table, to_table
from understudy.core.errors import ConfigError, nearest
from understudy.core.processes import Map
from understudy.experiment.job import Job, normalize_options
from understudy.functional.criteria import CrossEntropy
from understudy.methods.base import Method
from understudy.methods.supervised import Supervised
from understudy.recipes.base import Recipe
from understudy.recipes.plain import Plain
from understudy.recipes.pretrain import Pretrain

_BARE = {"lr_decay": "constant", "labeled_view": "weak"}


def ablate(
    source: Any = None,
    *,
    method: str | Mapping[str, Any] | Method[Any] | None = None,
    recipe: str | Mapping[str, Any] | Recipe | None = None,
    num_labels: int | None = None,
    seeds: int | Sequence[int] = 3,
    budget: str | None = None,
    unlabeled: Any = None,
    test: Any = None,
    validation: Any = None,
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    jobs: int | None = None,
    map: Map | None = None,  # noqa: A002 - what functions that fan out call it
    watch: ComparisonWatcher | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> ComparisonResult:
    """Measure what each ingredient adds, without a display or a report; `understudy.ablate` describes the arguments.

    Raises:
        UserError: An argument cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM; the same call with the same folder continues.
    """
    check(config=config, num_labels=num_labels, seeds=seeds)
    table = {**(config or {}), **options}
    given = {"method": table.pop("method", None), "recipe": table.pop("recipe", None)}
    given |= {name: value for name, value in (("method", method), ("recipe", recipe)) if value is not None}
    named = {name: value for name, value in table.items() if name != "network"}  # which may be an own module
    steps = ingredients(given["method"], given["recipe"], named)
    kept = [step for at, step in enumerate(steps) if not at or step.variant.settings != steps[at - 1].variant.settings]
    off = [step.adds for step in steps if step not in kept]
    if len(kept) == 1:
        raise ConfigError(
            f"the settings turn off {' and '.join(off)}, so there is nothing to add; leave one of them on"
        )
    (baseline,) = (step.variant for step in steps if step.adds == "strong augmentation")
    variants = [baseline, *(step.variant for step in kept if step.variant.settings != baseline.settings)]
    settings = [variant.settings for variant in variants]
    spec = make_spec(
        variants,
        num_labels,
        seeds,
        budget,
        table,
        notes=[f"The settings turn off {' and '.join(off)}, so that is left out."] if off else [],
    )
    if len(spec.num_labels) > 1:
        raise ConfigError(f"an ablation has one number of labels, and {len(spec.num_labels)} were given; choose one")
    return run_comparison(
        spec,
        {"source": source, "unlabeled": unlabeled, "test": test, "validation": validation},
        folder=folder,
        cache=cache,
        jobs=jobs,
        map_=map,
        watch=watch,
        ablation=[PlannedStep(step.adds, step.text, settings.index(step.variant.settings)) for step in kept],
    )


@dataclass(frozen=True)
class Ingredient:
    """What one step adds: its name, the settings that make it in words, and the variant with all settings so far."""

    adds: str
    text: str
    variant: Variant


def ingredients(method: Any, recipe: Any, options: Mapping[str, Any]) -> list[Ingredient]:
    """All ingredients from the bare run on, whether or not the options turn one off.

    Raises:
        ConfigError: A setting is unknown or the recipe is not an ingredient.
    """
    table, full = _method(method)
    _check(options, full)
    defaults = Job()
    usual = {name: options.get(name, getattr(defaults, name)) for name in _BARE}
    settings: dict[str, Any] = {name: value for name, value in _BARE.items() if value != usual[name]}
    supervised = _supervised(full)
    settings["method"] = {**supervised, "ema_decay": 0.0} if full.ema_decay else supervised
    steps = [Ingredient("bare", "labeled_view=weak, lr_decay=constant, ema_decay=0", Variant("bare", settings))]

    def add(adds: str, name: str, text: str, **changes: Any) -> None:
        before = {key: value for key, value in steps[-1].variant.settings.items() if changes.get(key, "") is not None}
        changed = {key: value for key, value in changes.items() if value is not None}
        steps.append(Ingredient(adds, text, Variant(name, before | changed)))

    add("schedule", "+ schedule", f"lr_decay={usual['lr_decay']}", lr_decay=None)
    add("weight averaging", "+ weight averaging", f"ema_decay={full.ema_decay:g}", method=supervised)
    add("strong augmentation", "", f"labeled_view={usual['labeled_view']}", labeled_view=None)
    add("unlabeled images", "", f"method={full.name}", method=supervised if isinstance(full, Supervised) else table)
    if (added := _recipe(recipe)) is not None:
        add("pretraining", "", f"recipe={Pretrain.name}", recipe=added)
    return steps


def _method(given: Any) -> tuple[Any, Method[Any]]:
    """The method as a table or object, and with all its settings."""
    if isinstance(given, Method):
        return given, given
    table = {"name": Job().method.name} | normalize_options({"method": given}).get("method", {})
    resolved: Method[Any] = from_table(Method, table, where="method")
    return table, resolved


def _supervised(method: Method[Any]) -> dict[str, Any]:
    """Supervised learning with the average of the weights and the criterion of the method."""
    table: dict[str, Any] = {"name": BASELINE}
    if method.ema_decay != Supervised().ema_decay:
        table["ema_decay"] = method.ema_decay
    if method.criterion != CrossEntropy():
        table["criterion"] = to_table(method.criterion)
    return table


def _recipe(given: Any) -> Any:
    """Pretraining as a table or object, or None."""
    name = given.name if isinstance(given, Recipe) else given.get("name") if isinstance(given, Mapping) else given
    if name in (None, Plain.name):
        return None
    if name != Pretrain.name:
        raise ConfigError(
            f"recipe {quoted(name)} is not an ingredient; {nearest(str(name), (Plain.name, Pretrain.name))}"
        )
    return {"name": name} if isinstance(given, str) else given


def _check(options: Mapping[str, Any], method: Method[Any]) -> None:
    known = {field.name for field in dataclasses.fields(Job)}
    for key in options:
        if key not in known:
            raise unknown_setting(key, [type(method)], known)
