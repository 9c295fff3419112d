"""Methods x numbers of labels x seeds at one budget per run, on the same images, splits, draws and initial weights."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import hashlib
import json
import signal
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Protocol

from understudy.core.budget import Budget
from understudy.core.config import Config, to_table
from understudy.core.errors import ConfigError, DataError, Interrupted, UserError
from understudy.data.collection import Collection, Part
from understudy.data.load import load
from understudy.engine.execution import free_cores, pick_device
from understudy.engine.rundir import RunFolder, read_json, write_json
from understudy.methods.base import METHODS, Method
from understudy.models.nets import Execution
from understudy.recipes.comparison import BASELINE, Clock, Comparison, Run, choose, rank_blocks, summarize
from understudy.recipes.grid import Plan, Task, folder_name, lost_run, recorded_run, run_folder, run_task
from understudy.recipes.job import Job, make_job
from understudy.recipes.methods_asked import Asked, method_label, sort_options
from understudy.recipes.one_run import Setup, measure_execution, set_up
from understudy.recipes.processes import Map, in_processes
from understudy.recipes.shared_images import SharedImages, held_out_test
from understudy.recipes.statements import labels_text


class Watcher(Protocol):
    """Whoever shows a person how a comparison goes."""

    def message(self, text: str) -> None:
        """Something worth knowing, in a sentence."""

    def decoding(self, done: int, total: int) -> None:
        """Images decoded so far."""

    def began(self, plan: Plan) -> None:
        """What will be trained; the folders of its runs tell how far they are."""

    def finished(self, run: Run) -> None:
        """A run that ended."""


class Silent:
    """A watcher that shows nothing."""

    def message(self, text: str) -> None:
        """Nothing."""

    def decoding(self, done: int, total: int) -> None:
        """Nothing."""

    def began(self, plan: Plan) -> None:
        """Nothing."""

    def finished(self, run: Run) -> None:
        """Nothing."""


def compare(
    source: Any = None,
    *,
    methods: str | Sequence[str | Method[Any]],
    num_labels: int | Sequence[int] | None = None,
    seeds: int | Sequence[int] = 3,
    budget: str | None = None,
    unlabeled: Any = None,
    test: Any = None,
    folder: str | Path | None = None,
    cache: str | Path | None = None,
    jobs: int | None = None,
    map: Map | None = None,  # noqa: A002 - what functions that fan out call it
    watch: Watcher | None = None,
    config: Mapping[str, Any] | None = None,
    **options: Any,
) -> Comparison:
    """Train every method with every number of labels and seed, and supervised learning with each, and compare them.

    For a number of labels and a seed all methods get the same labels, split, initial weights and draws. Test images
    judge and select nothing: without a test part or `test`, a fifth of the labeled images is set aside first.

    Args:
        source: As `understudy.train` takes it.
        methods: Names or method objects; "all" is every registered one.
        num_labels: Labels to keep; without it those given are used as they are.
        seeds: So many from 0 on, or the seeds themselves; a seed draws labels and initial weights.
        budget: Of each run, such as "60cpu-s", which is the default, "2m" or "500steps".
        folder: Where to keep everything. A folder of the same comparison goes on, also with other methods, numbers of
            labels or seeds, and trains only what it does not hold yet.
        jobs: Runs at a time, each a process with one thread; as many as there are free cores.
        map: What carries the runs out, such as a cluster's: called with a function and the tasks, gives results in any
            order. It must reach `folder`.
        config: A table of options, as read from a TOML file; `options` overrule it.
        options: Any field of `Job`; a method's knob, for every method that has it; or a table of knobs by the name of a
            method, as `fixmatch={"threshold": 0.9}`.

    Raises:
        UserError: Something given cannot be used, or every run failed.
        Interrupted: Ctrl-C or SIGTERM came; the same call with the same folder goes on.
    """
    asked = sort_options(methods, num_labels, seeds, budget, {**(config or {}), **options})
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs is {jobs}; give the number of runs at a time, at least 1")
    sources = {"source": source, "unlabeled": unlabeled, "test": test}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_sigterm_stops())
        if folder is None:
            root, keep = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="understudy-"))), False
        else:
            root, keep = Path(folder), True
        command = _Command(asked, sources, root, keep, cache, jobs, map, watch or Silent())
        try:
            return command.run()
        except KeyboardInterrupt:
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
    ) -> None:
        self.asked, self.sources, self.root, self.keep = asked, sources, root, keep
        self.cache, self.watch, self.map = cache, watch, map_
        self.budget = Budget.parse(asked.budget)
        self.slugs: dict[str, str] = {}
        self.jobs_asked: dict[tuple[str, int], Job] = {}
        self.on_processor = pick_device(str(asked.shared.get("device", "auto"))).type == "cpu"
        self.jobs = jobs or (free_cores() if self.on_processor else 1)
        self.notes: list[str] = list(asked.notes)
        self.runs: dict[str, Run] = {}
        self.judged_by = ""

    def run(self) -> Comparison:
        """Read, plan, train what is not there yet, compare, save."""
        shared = self.asked.shared
        given = {name: shared.get(name) or None for name in ("size", "channels")}
        loading = {**self.sources, **given, "cache": self.cache}
        collection = load(**loading, observe=self.watch.decoding)
        for note in collection.notes:
            self.say(note)
        if collection.quarantine:
            self.say(f"{len(collection.quarantine):,} files could not be used and were skipped.")
        collection, self.judged_by = held_out_test(collection)
        self.resolve(collection)
        folder = RunFolder(self.root)
        with folder.claim():
            folder.recognize(self.identity(collection))
            with SharedImages.of(collection, loading, self.root, in_process=self.in_process) as images:
                self.train(self.plan(collection, images))
            return self.conclude()

    @property
    def in_process(self) -> bool:
        """Whether the runs are trained here, one after another."""
        return self.map is None and self.jobs == 1

    def resolve(self, collection: Collection) -> None:
        """Make the job of every method and number of labels, and so check it, before anything is trained."""
        source = self.sources["source"]
        named = source if isinstance(source, str) else ""
        for count in self.asked.num_labels:
            shared = {**self.asked.shared, "budget": self.asked.budget, "num_labels": count}
            for number, one in enumerate(self.asked.methods):
                job = make_job({**shared, "method": one}, collection, None, named)
                full = job.method.name
                if one != {"name": full}:
                    usual: Method[Any] = type(job.method)()
                    if full in METHODS.names():
                        usual = make_job({**shared, "method": full}, collection, None, named).method
                    full = method_label(job.method, usual)
                label = full if number else BASELINE
                self.slugs.setdefault(label, folder_name(full))
                self.jobs_asked.setdefault((label, count), job)

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
        }

    def plan(self, collection: Collection, images: SharedImages) -> list[Task]:
        """The runs that the folder does not hold yet, one seed after the other."""
        setups = [self.first_setup(collection, count) for count in self.asked.num_labels]
        execution = self.execution(setups[0])
        tasks = []
        for seed, count, label in product(self.asked.seeds, self.asked.num_labels, self.slugs):
            place = run_folder(count, seed, self.slugs[label])
            job = dataclasses.replace(self.jobs_asked[label, count], seed=seed)
            run = recorded_run(self.root, place, label, job)
            if run is not None:
                self.runs[place] = run
            else:
                tasks.append(Task(images, self.root, place, label, job, execution))
        plan = Plan(
            tuple(self.slugs),
            self.asked.num_labels,
            self.asked.seeds,
            self.budget,
            self.jobs,
            tuple(self.runs.values()),
            tuple(tasks),
        )
        self.say(str(plan))
        self.watch.began(plan)
        return tasks

    def first_setup(self, collection: Collection, count: int) -> Setup:
        """Supervised with so many labels and the first seed, which finds what is wrong before anything is trained.

        Raises:
            DataError: There are too few or too many labels, or no image is left without one.
        """
        setup = set_up(collection, dataclasses.replace(self.jobs_asked[BASELINE, count], seed=self.asked.seeds[0]))
        if not len(setup.splits.unlabeled):
            raise DataError(
                f"with {labels_text(count)} no image is left unlabeled, so the methods have nothing to learn from; "
                "keep fewer labels, or give unlabeled images"
            )
        return setup

    def execution(self, setup: Setup) -> Execution:
        """How every run of the folder is executed, measured once, so that no method computes faster than another."""
        path = self.root / "execution.json"
        if not path.exists():
            write_json(path, dataclasses.asdict(measure_execution(setup)))
        return Execution(**read_json(path))

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
        order = {(n, s, m): at for at, (n, s, m) in enumerate(product(asked.num_labels, asked.seeds, names))}
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
            judged_by=self.judged_by,
            runs=tuple(runs),
            summaries=summaries,
            chosen=choose(summaries, asked.num_labels, len(asked.seeds)),
            friedman=test,
            ranked=ranked,
            notes=tuple(self.notes),
            folder=self.root if self.keep else None,
        )
        if self.keep:
            tables = {name: to_table(self.jobs_asked[name, asked.num_labels[0]].method) for name in names}
            found.save(self.root, {"settings": _plain(asked.shared), "method_settings": tables})
        return found

    def say(self, text: str) -> None:
        """Show a sentence and keep it for the report."""
        self.notes.append(text)
        self.watch.message(text)


def _plain(shared: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as values of JSON."""
    return {name: to_table(value) if isinstance(value, Config) else value for name, value in shared.items()}


@contextlib.contextmanager
def _sigterm_stops() -> Iterator[None]:
    """While it lasts, SIGTERM is like Ctrl-C, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
