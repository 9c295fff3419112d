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

from understudy.comparison.ablation_steps import Ingredient, climb
from understudy.comparison.conclusions import labels_text
from understudy.comparison.result import ALL_LABELS, BASELINE, Clock, Comparison, Run
from understudy.comparison.runs import Plan, Task, lost_run, recorded_run, run_folder, run_task
from understudy.comparison.shared_images import SharedImages, held_out_test
from understudy.comparison.single_run import Setup, measure_execution, set_up
from understudy.comparison.spec import Asked, sort_options
from understudy.comparison.summaries import choose, rank_blocks, summarize, upper_bound
from understudy.comparison.variants import plain, said_of
from understudy.comparison.watchers import Silent, Watcher
from understudy.core.arguments import check
from understudy.core.budget import Budget
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
    watch: Watcher | None = None,
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
        folder: Where to keep everything. A folder of the same comparison goes on, also with other variants, numbers of
            labels or seeds, and trains only what it does not hold yet.
        jobs: Runs at a time, each a process with one thread; as many as there are free cores.
        map: What carries the runs out, such as a cluster's: called with a function and the tasks, gives results in any
            order. It must reach `folder`.
        config: A table of options, as read from a TOML file; `options` overrule it.
        options: Any field of `Job`, of which `network` may be an own module; a method's knob, for every method that
            has it; or a table of knobs by the name of a method, as `fixmatch={"threshold": 0.9}`.

    Raises:
        UserError: Something given cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM came; the same call with the same folder goes on.
    """
    check(config=config, methods=methods, num_labels=num_labels, seeds=seeds, upper_bound=upper_bound)
    check(variants=variants)
    table = {**(config or {}), **options}
    asked = sort_options(methods, num_labels, seeds, budget, table, variants=variants, upper_bound=upper_bound)
    sources = {"source": source, "unlabeled": unlabeled, "test": test, "validation": validation}
    return carry_out(asked, sources, folder=folder, cache=cache, jobs=jobs, map_=map, watch=watch)


def carry_out(
    asked: Asked,
    sources: Mapping[str, Any],
    *,
    folder: str | Path | None,
    cache: str | Path | None,
    jobs: int | None,
    map_: Map | None,
    watch: Watcher | None,
    ladder: Sequence[Ingredient] = (),
) -> Comparison:
    """The comparison that was asked for, as `compare` says.

    Args:
        ladder: Ingredients of an ablation, each with the number of the variant that has it.
    """
    check(folder=folder, cache=cache, jobs=jobs, map=map_, watch=watch)
    with contextlib.ExitStack() as stack:
        stack.enter_context(signals_interrupt())
        if folder is None:
            root, keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-"))), False
        else:
            root, keep = Path(folder), True
        command = _Command(asked, sources, root, keep, cache, jobs, map_, watch or Silent(), ladder)
        try:
            return command.run()
        except (KeyboardInterrupt, Interrupted):
            raise Interrupted(f"stopped; everything is saved in {root}" if keep else "stopped") from None


class _Command:
    """One call of `compare`, from sources to comparison."""

    def __init__(
        self,
        asked: Asked,
        sources: Mapping[str, Any],
        root: Path,
        keep: bool,
        cache: str | Path | None,
        jobs: int | None,
        map_: Map | None,
        watch: Watcher,
        ladder: Sequence[Ingredient],
    ) -> None:
        self.asked, self.sources, self.root, self.keep = asked, sources, root, keep
        self.cache, self.watch, self.map, self.ladder = cache, watch, map_, ladder
        self.budget = Budget.parse(asked.budget)
        self.labels: list[str] = []
        self.slugs: dict[str, str] = {}
        self.jobs_asked: dict[tuple[str, int], Job] = {}
        self.own: dict[str, dict[str, Any]] = {}
        self.on_processor = pick_device(str(asked.shared.get("device", "auto"))).type == "cpu"
        self.jobs = jobs or (free_cores() if self.on_processor else 1)
        self.module = asked.module
        if self.module is not None:
            self.keep_in_process(jobs)
        self.notes: list[str] = []
        self.runs: dict[str, Run] = {}
        self.test_source = ""

    def run(self) -> Comparison:
        """Read, plan, train what is not there yet, compare, save."""
        for note in self.asked.notes:
            self.say(note)
        shared = self.asked.shared
        given = {name: shared.get(name) or None for name in ("size", "channels")}
        loading = {**self.sources, **given, "cache": self.cache}
        collection = load(**loading, observe=self.watch.decoding)
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
            with SharedImages.of(collection, loading, self.root, in_process=self.in_process) as images:
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
        source, asked = self.sources["source"], self.asked
        named = source if isinstance(source, str) else ""
        for count in asked.num_labels:
            shared = {**asked.shared, "budget": asked.budget, "num_labels": count}
            jobs = [variant.job(shared, collection, named) for variant in asked.variants]
            if count == asked.num_labels[0]:
                full = [
                    one.label(job, shared, collection, named) for one, job in zip(asked.variants, jobs, strict=True)
                ]
                self.labels = [BASELINE, *full[1:]]
                self.name_folders(full)
            for variant, label, job in zip(asked.variants, self.labels, jobs, strict=True):
                self.jobs_asked.setdefault((label, count), job)
                self.own.setdefault(label, variant.own(job))

    def name_folders(self, full: Sequence[str]) -> None:
        """Give every variant its folder.

        Raises:
            ConfigError: A variant is named as a method is called.
        """
        for variant, label, text in zip(self.asked.variants, self.labels, full, strict=True):
            if variant.name and label in self.slugs:
                raise ConfigError(f"variant {label!r} is called as a method that is compared too; choose another name")
            self.slugs.setdefault(label, variant.folder(text))

    def identity(self, collection: Collection) -> dict[str, str]:
        """What all runs of a folder have in common: images, which of them judge, budget and settings."""
        tests = hashlib.blake2b((collection.parts == Part.TEST).tobytes(), digest_size=16).hexdigest()
        settings = {name: value for name, value in self.asked.shared.items() if name != "device"}
        return {
            "kind": "comparison",
            "images": collection.content,
            "test images": tests,
            "budget": self.asked.budget,
            "settings": json.dumps(settings, sort_keys=True, default=repr),
            **({} if self.module is None else {"network": _digest(self.module)}),
        }

    def plan(self, collection: Collection, images: SharedImages) -> list[Task]:
        """The runs that the folder does not hold yet, one seed after the other."""
        self.check_setups(collection)
        asked = self.asked
        execution = self.execution(self.first_setup(collection, asked.num_labels[0]))
        tasks = []
        for seed in asked.seeds:
            for count, label in product(asked.num_labels, self.slugs):
                job = dataclasses.replace(self.jobs_asked[label, count], seed=seed)
                place = run_folder(count, seed, self.slugs[label])
                tasks.append(Task(images, self.root, place, label, job, execution, self.own[label], module=self.module))
            if asked.upper_bound:
                tasks.append(self.bound(images, seed, execution))
        left = []
        for task in tasks:
            run = recorded_run(task)
            if run is None:
                left.append(task)
            else:
                self.runs[task.folder] = run
        plan = Plan(
            tuple(self.slugs),
            asked.num_labels,
            asked.seeds,
            self.budget,
            self.jobs,
            tuple(self.runs.values()),
            tuple(left),
            asked.upper_bound,
            "variants" if any(one.name for one in asked.variants) else "methods",
        )
        self.say(str(plan))
        self.watch.began(plan)
        return left

    def bound(self, images: SharedImages, seed: int, execution: Execution) -> Task:
        """Supervised with all labels that the largest number of labels hides, and the settings of that number."""
        count = self.asked.num_labels[-1]
        job = dataclasses.replace(self.jobs_asked[BASELINE, count], seed=seed)
        place = run_folder(count, seed, ALL_LABELS.replace(" ", "-"))
        return Task(images, self.root, place, ALL_LABELS, job, execution, reveal=True, module=self.module)

    def check_setups(self, collection: Collection) -> None:
        """Nothing, when every number of labels and every named variant can begin.

        Raises:
            UserError: One cannot, or there are no hidden labels to learn an upper bound from.
        """
        asked = self.asked
        if asked.upper_bound and not asked.num_labels[0]:
            raise DataError(
                "the upper bound is what the hidden labels would give, and none are hidden; "
                "say how many labels to keep with num_labels (--labels)"
            )
        for count in asked.num_labels:
            self.first_setup(collection, count)
        for variant, label in zip(asked.variants, self.labels, strict=True):
            if variant.name or self.module is not None:  # methods may not suit an own network
                with said_of(variant.name):
                    set_up(collection, self.first_job(label, asked.num_labels[0]), module=self.module)

    def first_job(self, label: str, count: int) -> Job:
        """The job with so many labels and the first seed."""
        return dataclasses.replace(self.jobs_asked[label, count], seed=self.asked.seeds[0])

    def first_setup(self, collection: Collection, count: int) -> Setup:
        """Supervised with so many labels and the first seed, which finds what is wrong before anything is trained.

        Raises:
            DataError: There are too few or too many labels, or no image is left without one.
        """
        setup = set_up(collection, self.first_job(BASELINE, count), module=self.module)
        jobs = [self.jobs_asked[label, count] for label in self.labels]
        uses_pool = any(job.method.unlabeled_batch_size(1) or not isinstance(job.recipe, Plain) for job in jobs)
        if uses_pool and not len(setup.splits.unlabeled):
            raise DataError(
                f"with {labels_text(count)} no image is left unlabeled, so the methods have nothing to learn from; "
                "keep fewer labels, or give unlabeled images"
            )
        return setup

    def execution(self, setup: Setup) -> Execution:
        """How every run of the folder is executed, measured once, so that no method computes faster than another."""
        path = self.root / "execution.json"
        if not read_decisions(path):
            write_json(path, dataclasses.asdict(measure_execution(setup)))
        try:
            return Execution(**read_decisions(path))
        except TypeError:
            raise RunFolderError(f"{path} holds something else than it did; compare in a new folder") from None

    def train(self, tasks: list[Task]) -> None:
        """Train what is not there yet; the first run to end is the first to be told of."""
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

    def conclude(self) -> Comparison:
        """The comparison of all runs asked for, saved if there is a folder to keep.

        Raises:
            UserError: Every run failed.
        """
        asked, names = self.asked, tuple(self.slugs)
        grid = [*product(asked.num_labels, asked.seeds, names), *((0, seed, ALL_LABELS) for seed in asked.seeds)]
        order = {place: at for at, place in enumerate(grid)}
        runs = sorted(self.runs.values(), key=lambda run: order[run.num_labels, run.seed, run.method])
        if not any(run.figures for run in runs):
            raise UserError(f"all {len(runs)} runs failed; the first: {runs[0].error}")
        clock: Clock = "cpu_s" if self.on_processor else "wall_s"
        summaries = summarize(runs, names, asked.num_labels, asked.seeds, clock, self.root)
        ranked, test = rank_blocks(runs, names, asked.num_labels, asked.seeds)
        found = Comparison(
            methods=names,
            num_labels=asked.num_labels,
            seeds=asked.seeds,
            budget=asked.budget,
            cost_clock=clock,
            is_timed=self.budget.is_timed,
            test_source=self.test_source,
            runs=tuple(runs),
            summaries=summaries,
            chosen=choose(summaries, asked.num_labels, len(asked.seeds)),
            friedman=test,
            ranked=ranked,
            notes=tuple(self.notes),
            folder=self.root if self.keep else None,
            upper_bound=upper_bound(runs, names, asked.num_labels, asked.seeds, clock) if asked.upper_bound else None,
            ablation=climb(self.ladder, self.labels, runs, summaries, self.root),
        )
        if self.keep:
            found.save(self.root, self.settings())
        return found

    def settings(self) -> dict[str, Any]:
        """What was asked for, as values of JSON: for all runs, and for each variant."""
        count = self.asked.num_labels[0]
        return {
            "settings": {name: plain(value) for name, value in self.asked.shared.items()},
            "method_settings": {name: to_table(self.jobs_asked[name, count].method) for name in self.slugs},
            "variant_settings": self.own,
        }

    def say(self, text: str) -> None:
        """Show a sentence and keep it for the report."""
        self.notes.append(text)
        self.watch.message(text)


def _digest(module: nn.Module) -> str:
    """What tells the initial weights of an own network from others."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
