"""Variants x numbers of labels x seeds at one budget per run, on the same images, splits, draws and initial weights."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Generator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from torch import nn

from understudy.comparison.ablation_steps import PlannedStep, measure_steps
from understudy.comparison.conclusions import conclusions, labels_text
from understudy.comparison.result import ALL_LABELS, BASELINE, Clock, ComparisonResult, Run
from understudy.comparison.runs import RunPlan, Task, lost_run, recorded_run, run_folder, run_task
from understudy.comparison.shared_data import SharedData, held_out_test
from understudy.comparison.single_run import measure_execution, set_up
from understudy.comparison.spec import ComparisonSpec, parse_options
from understudy.comparison.summaries import choose, rank_blocks, summarize, upper_bound
from understudy.comparison.variants import json_value, prefix_errors
from understudy.comparison.watchers import ComparisonWatcher, SilentComparison
from understudy.core.arguments import check
from understudy.core.config import to_table
from understudy.core.errors import ConfigError, DataError, Interrupted, RunFolderError, UserError
from understudy.core.files import write_json
from understudy.core.processes import Map, in_processes
from understudy.core.stopping import signals_interrupt
from understudy.data.collection import Collection, Part
from understudy.data.load import load
from understudy.engine.execution import free_cores, pick_device
from understudy.engine.rundir import RunFolder, read_decisions
from understudy.experiment.job import Job
from understudy.experiment.prepare import Prepared
from understudy.methods.base import Method
from understudy.models import prepared
from understudy.models.nets import Execution
from understudy.recipes.plain import Plain


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
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> ComparisonResult:
    """Compare variants without a display or a report; `understudy.compare` describes the arguments.

    Raises:
        UserError: An argument cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM; the same call with the same folder continues.
    """
    check(config=config, methods=methods, num_labels=num_labels, seeds=seeds, upper_bound=upper_bound)
    check(variants=variants)
    table = {**(config or {}), **options}
    spec = parse_options(methods, num_labels, seeds, budget, table, variants=variants, upper_bound=upper_bound)
    sources = {"source": source, "unlabeled": unlabeled, "test": test, "validation": validation}
    return run_comparison(spec, sources, folder=folder, cache=cache, jobs=jobs, map_=map, watch=watch)


def run_comparison(
    spec: ComparisonSpec,
    sources: Mapping[str, Any],
    *,
    folder: str | Path | None,
    cache: str | Path | None,
    jobs: int | None,
    map_: Map | None,
    watch: ComparisonWatcher | None,
    ablation: Sequence[PlannedStep] = (),
) -> ComparisonResult:
    """Run the comparison of a spec, as `compare` documents.

    Args:
        ablation: The steps to measure, if the comparison is an ablation.
    """
    check(folder=folder, cache=cache, jobs=jobs, map=map_, watch=watch)
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals_interrupt())
        if folder is None:
            root, keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-"))), False
        else:
            root, keep = Path(folder), True
        command = _ComparisonRunner(spec, sources, root, keep, cache, jobs, map_, watch or SilentComparison(), ablation)
        try:
            return command.run()
        except (KeyboardInterrupt, Interrupted):
            saved = f"everything is saved in {root}, repeat the call to resume" if keep else "nothing is saved"
            raise Interrupted(f"stopped; {saved}") from None


class _ComparisonRunner:
    """One call of `compare`, from sources to comparison."""

    def __init__(
        self,
        spec: ComparisonSpec,
        sources: Mapping[str, Any],
        root: Path,
        keep: bool,
        cache: str | Path | None,
        jobs: int | None,
        map_: Map | None,
        watch: ComparisonWatcher,
        ablation: Sequence[PlannedStep],
    ) -> None:
        self.spec, self.sources, self.root, self.keep = spec, sources, root, keep
        self.cache, self.watch, self.map, self.ablation = cache, watch, map_, ablation
        self.labels: list[str] = []
        self.slugs: dict[str, str] = {}
        self.jobs_asked: dict[tuple[str, int], Job] = {}
        self.own: dict[str, dict[str, Any]] = {}
        self.on_processor = pick_device(str(spec.shared.get("device", "auto"))).type == "cpu"
        self.jobs = jobs or (free_cores() if self.on_processor else 1)
        self.module = spec.module
        if self.module is not None:
            self.keep_in_process(jobs)
        self.notes: list[str] = []
        self.runs: dict[str, Run] = {}
        self.test_source = ""

    def run(self) -> ComparisonResult:
        """Read, plan, train what is not there yet, compare, save."""
        for note in self.spec.notes:
            self.say(note)
        shared = self.spec.shared
        given = {name: shared.get(name) or None for name in ("size", "channels")}
        loading = {**self.sources, **given, "cache": self.cache}
        numbers = [number for number in self.spec.num_labels if number] or None
        collection = load(**loading, observe=self.watch.decoding, num_labels=numbers)
        for note in collection.notes:
            self.say(note)
        if collection.quarantine:
            self.say(f"{len(collection.quarantine):,} files could not be used and were skipped.")
        collection, self.test_source = held_out_test(collection)
        self.resolve(collection)
        if self.module is not None:
            self.module, notes = prepared(self.module, collection.shape, len(collection.classes), collection.ranges)
            for note in notes:
                self.say(note)
        folder = RunFolder(self.root)
        with folder.claim():
            folder.recognize(self.identity(collection))
            with SharedData.of(collection, loading, self.root, in_process=self.in_process) as images:
                self.train(self.plan(collection, images))
            return self.conclude()

    def keep_in_process(self, jobs: int | None) -> None:
        """Train here, one run after another, since the code of an own network may exist in this process alone.

        Raises:
            ConfigError: Runs were to be trained elsewhere.
        """
        for name, value in (("map", self.map), ("jobs", jobs if jobs and jobs > 1 else None)):
            if value is not None:
                raise ConfigError(
                    f"{name} was given, and an own network that is given as an object is trained in this process, one "
                    f"run at a time; leave {name} out, or name the network as 'file.py:factory'"
                )
        self.jobs = 1

    @property
    def in_process(self) -> bool:
        """Whether the runs are trained here, one after another."""
        return self.map is None and self.jobs == 1

    def resolve(self, collection: Collection) -> None:
        """Make the job of every variant and number of labels, and so check it, before anything is trained."""
        source, spec = self.sources["source"], self.spec
        named = source if isinstance(source, str) else ""
        for count in spec.num_labels:
            shared = {**spec.shared, "budget": spec.budget, "num_labels": count}
            jobs = [variant.job(shared, collection, named) for variant in spec.variants]
            if count == spec.num_labels[0]:
                full = [
                    variant.label(job, shared, collection, named)
                    for variant, job in zip(spec.variants, jobs, strict=True)
                ]
                self.labels = [BASELINE, *full[1:]]
                self.name_folders(full)
            for variant, label, job in zip(spec.variants, self.labels, jobs, strict=True):
                self.jobs_asked.setdefault((label, count), job)
                self.own.setdefault(label, variant.own(job))

    def name_folders(self, full: Sequence[str]) -> None:
        """Give every variant its folder.

        Raises:
            ConfigError: A variant is named as a method is called.
        """
        for variant, label, text in zip(self.spec.variants, self.labels, full, strict=True):
            if variant.name and label in self.slugs:
                raise ConfigError(
                    f"variant {label!r} has the name of a method that is compared too; choose another name"
                )
            self.slugs.setdefault(label, variant.folder(text))

    def identity(self, collection: Collection) -> dict[str, str]:
        """What all runs of a folder have in common: images, which of them test, budget and settings."""
        tests = hashlib.blake2b((collection.parts == Part.TEST).tobytes(), digest_size=16).hexdigest()
        settings = {name: value for name, value in self.spec.shared.items() if name != "device"}
        return {
            "kind": "comparison",
            "images": collection.content,
            "test images": tests,
            "budget": self.spec.budget.text,
            "settings": json.dumps(settings, sort_keys=True, default=repr),
            **({} if self.module is None else {"network": _digest(self.module)}),
        }

    def plan(self, collection: Collection, images: SharedData) -> list[Task]:
        """The runs that the folder does not hold yet, one seed after the other."""
        self.check_setups(collection)
        spec = self.spec
        execution = self.execution(self.first_setup(collection, spec.num_labels[0]))
        tasks = []
        for seed in spec.seeds:
            for count, label in product(spec.num_labels, self.slugs):
                job = dataclasses.replace(self.jobs_asked[label, count], seed=seed)
                place = run_folder(count, seed, self.slugs[label])
                tasks.append(Task(images, self.root, place, label, job, execution, self.own[label], module=self.module))
            if spec.upper_bound:
                tasks.append(self.bound(images, seed, execution))
        left = []
        for task in tasks:
            run = recorded_run(task)
            if run is None:
                left.append(task)
            else:
                self.runs[task.folder] = run
        plan = RunPlan(
            tuple(self.slugs),
            spec.num_labels,
            spec.seeds,
            self.spec.budget,
            self.jobs,
            tuple(self.runs.values()),
            tuple(left),
            spec.upper_bound,
            "variants" if any(variant.name for variant in spec.variants) else "methods",
        )
        self.say(str(plan))
        self.watch.began(plan)
        return left

    def bound(self, images: SharedData, seed: int, execution: Execution) -> Task:
        """Supervised with all labels that the largest number of labels hides, and the settings of that number."""
        count = self.spec.num_labels[-1]
        job = dataclasses.replace(self.jobs_asked[BASELINE, count], seed=seed)
        place = run_folder(count, seed, ALL_LABELS.replace(" ", "-"))
        return Task(images, self.root, place, ALL_LABELS, job, execution, reveal=True, module=self.module)

    def check_setups(self, collection: Collection) -> None:
        """Validate that every number of labels and every named variant can start.

        Raises:
            UserError: One cannot, or there are no hidden labels to learn an upper bound from.
        """
        spec = self.spec
        if spec.upper_bound and not spec.num_labels[0]:
            raise DataError(
                "the upper bound is what the hidden labels would give, and none are hidden; "
                "say how many labels to keep with num_labels (--num-labels)"
            )
        for count in spec.num_labels:
            self.first_setup(collection, count)
        for variant, label in zip(spec.variants, self.labels, strict=True):
            if variant.name or self.module is not None:  # methods may not suit an own network
                with prefix_errors(variant.name):
                    set_up(
                        collection, self.first_job(label, spec.num_labels[0]), module=self.module
                    ).stage()  # refuses what the network cannot do

    def first_job(self, label: str, count: int) -> Job:
        """The job with this number of labels and the first seed."""
        return dataclasses.replace(self.jobs_asked[label, count], seed=self.spec.seeds[0])

    def first_setup(self, collection: Collection, count: int) -> Prepared:
        """Prepare supervised with this number of labels and the first seed, to find errors before anything is trained.

        Raises:
            DataError: There are too few or too many labels, or no image is left without one.
        """
        setup = set_up(collection, self.first_job(BASELINE, count), module=self.module)
        setup.stage()
        jobs = [self.jobs_asked[label, count] for label in self.labels]
        uses_pool = any(job.method.unlabeled_batch_size(1) or not isinstance(job.recipe, Plain) for job in jobs)
        if uses_pool and not len(setup.splits.unlabeled):
            raise DataError(
                f"with {labels_text(count)} no image is left unlabeled, so the methods have nothing to learn from; "
                "keep fewer labels, or give unlabeled images"
            )
        return setup

    def execution(self, setup: Prepared) -> Execution:
        """How every run of the folder is executed, measured once, so that no method computes faster than another."""
        path = self.root / "execution.json"
        if not read_decisions(path):
            write_json(path, dataclasses.asdict(measure_execution(setup)))
        try:
            return Execution(**read_decisions(path))
        except TypeError:
            raise RunFolderError(f"{path} was changed; compare in a new folder") from None

    def train(self, tasks: list[Task]) -> None:
        """Train what is not there yet; runs are shown in the order in which they end."""
        if not tasks:
            return
        fan_out = self.map or (builtins.map if self.jobs == 1 else in_processes(self.jobs, lost_run))
        results = iter(fan_out(run_task, tasks))
        try:
            for run in results:
                self.runs[run.folder] = run
                self.watch.finished(run)
        finally:
            if isinstance(results, Generator):
                results.close()

    def conclude(self) -> ComparisonResult:
        """The comparison of all runs asked for, saved if there is a folder to keep.

        Raises:
            UserError: Every run failed.
        """
        spec, names = self.spec, tuple(self.slugs)
        grid = [*product(spec.num_labels, spec.seeds, names), *((0, seed, ALL_LABELS) for seed in spec.seeds)]
        order = {place: at for at, place in enumerate(grid)}
        runs = sorted(self.runs.values(), key=lambda run: order[run.num_labels, run.seed, run.method])
        if not any(run.figures for run in runs):
            raise UserError(f"all {len(runs)} runs failed; the first: {runs[0].error}")
        clock: Clock = "cpu_s" if self.on_processor else "wall_s"
        summaries = summarize(runs, names, spec.num_labels, spec.seeds, clock, self.root)
        ranked, test = rank_blocks(runs, names, spec.num_labels, spec.seeds)
        comparison = ComparisonResult(
            methods=names,
            num_labels=spec.num_labels,
            seeds=spec.seeds,
            budget=spec.budget.text,
            cost_clock=clock,
            is_timed=spec.budget.is_timed,
            test_source=self.test_source,
            runs=tuple(runs),
            summaries=summaries,
            chosen=choose(summaries, spec.num_labels, len(spec.seeds)),
            friedman=test,
            ranked=ranked,
            notes=tuple(self.notes),
            folder=self.root if self.keep else None,
            upper_bound=upper_bound(runs, names, spec.num_labels, spec.seeds, clock) if spec.upper_bound else None,
            ablation=measure_steps(self.ablation, self.labels, runs, summaries, self.root),
        )
        comparison = dataclasses.replace(
            comparison, sentences=conclusions(comparison, own_network=self.module is not None)
        )
        if self.keep:
            comparison.save(self.root, self.settings())
        return comparison

    def settings(self) -> dict[str, Any]:
        """The settings as values of JSON: those of all runs, and those of each variant."""
        count = self.spec.num_labels[0]
        return {
            "settings": {name: json_value(value) for name, value in self.spec.shared.items()},
            "method_settings": {name: to_table(self.jobs_asked[name, count].method) for name in self.slugs},
            "variant_settings": self.own,
        }

    def say(self, text: str) -> None:
        """Show a sentence and keep it for the report."""
        self.notes.append(text)
        self.watch.message(text)


def _digest(module: nn.Module) -> str:
    """A digest of the initial weights of an own network."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
