"""Comparisons as Python users call them: shown while they run, and with a report in their folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.comparison.ablation import ablate as carry_out_ablation
from understudy.comparison.compare import compare as carry_out
from understudy.comparison.result import Comparison as Compared
from understudy.comparison.watchers import ComparisonWatcher
from understudy.core.brief import as_html
from understudy.core.processes import Map
from understudy.display.comparing import watching
from understudy.display.comparison_tables import print_report
from understudy.display.shown import shown
from understudy.methods.base import Method
from understudy.recipes.base import Recipe
from understudy.reports.figures import comparison as draw
from understudy.reports.figures.style import framed, svg
from understudy.reports.pages.comparison import summary_table, waterfall
from understudy.reports.write import write_report

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Compared):
    """Variants x numbers of labels x seeds, every run at one budget, tested on images that decided nothing.

    A notebook shows the table and the figure of its report. The fields are those of
    `understudy.comparison.result.Comparison`.
    """

    def _repr_html_(self) -> str:
        found = self.to_json()
        table = summary_table(found)
        picture = waterfall(found) or draw.methods(found)
        text = as_html(self, self.brief(), [table.columns, *table.rows])
        return text + ("" if picture is None else framed(svg(picture.figure)))


def _finish(console: Console, found: Comparison) -> None:
    print_report(console, found)


@shown(finish=_finish, show=watching)
def compare(
    source: Any = None,
    *,
    methods: str | Sequence[str | Method[Any]] = (),
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    num_labels: int | Sequence[int] | None = None,
    seeds: int | Sequence[int] = 3,
    budget: str | None = None,
    upper_bound: bool = False,
    unlabeled: Any = None,
    test: Any = None,
    validation: Any = None,
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    jobs: int | None = None,
    map: Map | None = None,  # noqa: A002 - what functions that fan out call it
    watch: ComparisonWatcher | None = None,
    quiet: bool = False,  # noqa: ARG001 - read by `shown`
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Comparison:
    """Train every variant with every number of labels and seed, and supervised learning with each, and compare them.

    For a number of labels and a seed all variants get the same labels, split, initial weights and draws. Test images
    select nothing: without a test part or `test`, a fifth of the labeled images is set aside first.

    Args:
        source: As `understudy.train` takes it, and so `unlabeled`, `test` and `validation`.
        methods: Names or method objects, each a variant of its own; "all" is every registered one.
        variants: Tables of settings by name, for whatever else is to be compared: any field of `Job` that not all runs
            share, as `{"weak labels": {"method": "softmatch", "labeled_view": "weak"}, "rounds": {"recipe":
            "self_training"}}`.
        num_labels: Labels to keep; without it those given are used as they are.
        seeds: So many from 0 on, or the seeds themselves; a seed draws labels and initial weights.
        budget: Of each run, such as "60cpu-s", which is the default, "2m" or "500steps".
        upper_bound: Also train supervised learning on all labels that are hidden, once for each seed, and say what
            share of the way there each variant goes.
        folder: Where to keep everything, with a report. A folder of the same comparison goes on, also with other
            variants, numbers of labels or seeds, and trains only what it does not hold yet.
        jobs: Runs at a time, each a process with one thread; as many as there are free cores.
        map: What carries the runs out, such as a cluster's: called with a function and the tasks, gives results in any
            order. It must reach `folder`.
        watch: Shows progress in place of the display: an `understudy.comparison.watchers.ComparisonWatcher`.
        quiet: Show and print nothing.
        config: A table of options, as read from a TOML file; `options` overrule it.
        options: Any field of `Job`, of which `network` may be an own module. `method={"threshold": 0.9}` sets a knob of
            every method that has it; a method with knobs of its own is an object or a variant.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "seeds": 1, "budget": "5steps", "jobs": 1, "quiet": True}
        >>> comparison = understudy.compare("digits", methods="fixmatch", **options)
        >>> comparison.methods
        ('supervised', 'fixmatch')
        >>> comparison.summary("fixmatch", num_labels=40).seeds
        (0,)

    Raises:
        UserError: Something given cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM came; the same call with the same folder goes on.
    """
    found = carry_out(
        source,
        methods=methods,
        variants=variants,
        num_labels=num_labels,
        seeds=seeds,
        budget=budget,
        upper_bound=upper_bound,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        folder=folder,
        cache=cache,
        jobs=jobs,
        map=map,
        watch=watch,
        config=config,
        **options,
    )
    return _with_report(found)


@shown(finish=_finish, show=watching)
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
    quiet: bool = False,  # noqa: ARG001 - read by `shown`
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Comparison:
    """A comparison whose `ablation` says what each ingredient adds to those before it, at one budget per run.

    The first step is supervised learning with weak augmentation, one learning rate after its rise, and no average of
    the weights. Then come the fall of the learning rate, the average of the weights, strong augmentation of labeled
    images, the method's unlabeled images, and pretraining if the recipe is `pretrain`. Every step has the same labels,
    split, initial weights and budget. An ingredient that the settings turn off is left out.

    Args:
        source: As `understudy.train` takes it.
        method: A name, a table of settings or an object; that of `Job` if not given.
        recipe: `pretrain`, by name or with settings, adds it as the last ingredient.
        num_labels: Labels to keep; without it those given are used as they are.
        seeds: As `compare` takes them, and all that is not explained here.
        watch: Shows progress in place of the display: an `understudy.comparison.watchers.ComparisonWatcher`.
        quiet: Show and print nothing.
        config: A table of options, as read from a TOML file; arguments overrule it.
        options: Any field of `Job`; `lr_decay` and `labeled_view` are what their ingredient brings.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "seeds": 1, "budget": "2steps", "jobs": 1, "quiet": True}
        >>> comparison = understudy.ablate("digits", method="fixmatch", **options)
        >>> [rung.adds for rung in comparison.ablation]
        ['bare', 'schedule', 'weight averaging', 'strong augmentation', 'unlabeled images']

    Raises:
        UserError: Something given cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM came; the same call with the same folder goes on.
    """
    found = carry_out_ablation(
        source,
        method=method,
        recipe=recipe,
        num_labels=num_labels,
        seeds=seeds,
        budget=budget,
        unlabeled=unlabeled,
        test=test,
        validation=validation,
        folder=folder,
        cache=cache,
        jobs=jobs,
        map=map,
        watch=watch,
        config=config,
        **options,
    )
    return _with_report(found)


def _with_report(found: Compared) -> Comparison:
    """The comparison as a notebook shows it, after the report of one that has a folder was written."""
    if found.folder is not None:
        write_report([found.folder])
    return Comparison(**{field.name: getattr(found, field.name) for field in fields(found)})
