"""`understudy.compare` and `understudy.ablate`: comparisons with a display and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from understudy.comparison.ablation import ablate as carry_out_ablation
from understudy.comparison.compare import compare as carry_out
from understudy.comparison.result import ComparisonResult
from understudy.comparison.watchers import ComparisonWatcher
from understudy.core.brief import as_html
from understudy.core.processes import Map
from understudy.display.comparison_progress import watching
from understudy.display.comparison_tables import print_report
from understudy.display.with_progress import with_progress
from understudy.methods.base import Method
from understudy.recipes.base import Recipe
from understudy.reports.figures import comparison as draw
from understudy.reports.figures.style import framed, svg
from understudy.reports.pages.comparison import summary_table, waterfall
from understudy.reports.write import write_report

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(ComparisonResult):
    """The result of `understudy.compare`: variants x numbers of labels x seeds, every run at the same budget.

    A notebook shows the table and the figure of its report. The fields are those of
    `understudy.comparison.result.ComparisonResult`.
    """

    def _repr_html_(self) -> str:
        found = self.to_json()
        table = summary_table(found)
        picture = waterfall(found) or draw.methods(found)
        text = as_html(self, self.brief(), [table.columns, *table.rows])
        return text + ("" if picture is None else framed(svg(picture.figure)))


def _finish(console: Console, found: Comparison) -> None:
    print_report(console, found)


@with_progress(finish=_finish, show=watching)
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
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Comparison:
    """Compare methods, and any other variants of a run, with supervised learning over numbers of labels and seeds.

    For a number of labels and a seed, all variants get the same labels, split, initial weights and draws. Without test
    images, a fifth of the labeled images is set aside first. Test images select nothing.

    Args:
        source: As for `understudy.train`; likewise `unlabeled`, `test` and `validation`.
        methods: Names or method objects, each a variant; "all" for every registered method.
        variants: Tables of settings by name, with any fields of `Job` that differ between runs, such as
            `{"weak": {"labeled_view": "weak"}, "rounds": {"recipe": "self_training"}}`.
        num_labels: Numbers of labels to keep; all labels by default.
        seeds: Number of seeds, or the seeds; a seed draws the labels and the initial weights.
        budget: Of each run, such as "60cpu-s" (the default), "2m" or "500steps".
        upper_bound: Also train supervised on all hidden labels, once per seed, and report the share of that gap
            that each variant closes.
        folder: Where to save the runs and a report. The folder of the same comparison is continued, also with other
            variants, numbers of labels or seeds; only missing runs are trained.
        jobs: Number of processes, each with one thread; the number of free cores by default.
        map: Function that executes the runs, for example on a cluster: called with a function and the tasks, it yields
            results in any order. Workers must have access to `folder`.
        watch: Replaces the display: an `understudy.comparison.watchers.ComparisonWatcher`.
        quiet: No display and no output.
        config: A table of options, as read from a TOML file; `options` override it.
        options: Any field of `Job`; `network` may be your own module. `method={"threshold": 0.9}` sets a knob of every
            method that has it; for one method use an object or a variant.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "seeds": 1, "budget": "5steps", "jobs": 1, "quiet": True}
        >>> comparison = understudy.compare("digits", methods="fixmatch", **options)
        >>> comparison.methods
        ('supervised', 'fixmatch')
        >>> comparison.summary("fixmatch", num_labels=40).seeds
        (0,)

    Raises:
        UserError: An argument cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM; the same call with the same folder continues.
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


@with_progress(finish=_finish, show=watching)
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
    quiet: bool = False,  # noqa: ARG001 - read by `with_progress`
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Comparison:
    """Measure what each ingredient of a run adds to those before it, at the same budget per run.

    The first step is supervised learning with weak augmentation, a constant learning rate after warm-up, and no weight
    averaging. Then the learning-rate schedule, weight averaging, strong augmentation of labeled images, the method's
    unlabeled images, and pretraining (if the recipe is `pretrain`) are added one by one. Every step has the same
    labels, split, initial weights and budget. An ingredient that the settings turn off is left out.

    Args:
        source: As for `understudy.train`.
        method: A name, a table of settings or an object; by default the method of `Job`.
        recipe: `pretrain`, by name or with settings, adds it as the last ingredient.
        num_labels: Number of labels to keep; all labels by default.
        seeds: As for `compare`; likewise all arguments not listed here.
        watch: Replaces the display: an `understudy.comparison.watchers.ComparisonWatcher`.
        quiet: No display and no output.
        config: A table of options, as read from a TOML file; arguments override it.
        options: Any field of `Job`; `lr_decay` and `labeled_view` are set by their ingredients.

    Examples:
        >>> import understudy
        >>> options = {"num_labels": 40, "seeds": 1, "budget": "2steps", "jobs": 1, "quiet": True}
        >>> comparison = understudy.ablate("digits", method="fixmatch", **options)
        >>> [step.adds for step in comparison.ablation]
        ['bare', 'schedule', 'weight averaging', 'strong augmentation', 'unlabeled images']

    Raises:
        UserError: An argument cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM; the same call with the same folder continues.
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


def _with_report(found: ComparisonResult) -> Comparison:
    """The comparison as a notebook shows it, after the report of one that has a folder was written."""
    if found.folder is not None:
        write_report([found.folder])
    return Comparison(**{field.name: getattr(found, field.name) for field in fields(found)})
