"""Numerical proof for a refactor: the same small runs at a commit and in the working tree, compared bit by bit.

    python benchmarks/golden.py --against COMMIT [--only NAME ...] [--cache FOLDER] [--prepare]

Every run is driven through the command line on the embedded digits, on one thread, and budgeted in steps, so that no
clock decides. Compared are every tensor that was trained or delivered, every array of predictions, and every number in
the JSON, CSV and TOML files of a run but those that tell time; texts and the names of files, keys and tensors may
change. "reordered" means that the same numbers stand in another order. Plans by trials are left out: a measured speed
decides how many trials there are; of `plan` only the choices under a budget of steps are compared.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from common import COMMIT_AT_START, write

ROOT = Path(__file__).resolve().parents[1]
MAX_RUN_S = 180  # the longest run takes about 15 s alone; a shared machine may be several times slower
USER_ERROR = 2  # exit code of the command line for an option that it does not know, among others
RENAMED = {"--labels": "--num-labels"}  # tried where a command is refused as it stands
SIDES = ("before", "after")
MAX_SHOWN = 3  # differences named per run: the first ones lead to the cause

_TIME_KEY = re.compile(
    r"(_s|seconds|minutes|speed|per_s)$|^(spent|environment|cost_ratio|checksum|format|version|pid)$"
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class Run:
    """Commands in their order, as COMMIT spells them or the working tree.

    Args:
        files: Files written before the first command, by name.
        kill: Signal name and the backward pass at which the first command gets it.
        twin: Run whose weights this one must have too.
    """

    name: str
    commands: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    kill: tuple[str, int] | None = None
    twin: str = ""


# After a few steps ten classes have a confidence of about 0.12: these thresholds, measured at e53e328, let some
# unlabeled rows in and leave others out, so that the selection of rows and the loss of those selected are both seen.
_METHODS = {
    "abc": "threshold = 0.0\nbase = { name = 'fixmatch', threshold = 0.12 }\nema_decay = 0.5",
    "adamatch": "",
    "comatch": "threshold = 0.11\nqueue_size = 64",
    "crmatch": "threshold = 0.12",
    "dash": "gamma = 1.02\nnum_reductions = 3",
    "debiased_pseudo_label": "threshold = 0.115",
    "fixmatch": "threshold = 0.12",
    "flexmatch": "threshold = 0.12",
    "freematch": "",
    "mean_teacher": "",
    "meta_pseudo_labels": "threshold = 0.12",
    "mixmatch": "",
    "pi_model": "",
    "pseudo_label": "threshold = 0.12",
    "remixmatch": "",
    "sgan": "",
    "shrinkmatch": "threshold = 0.11",
    "simmatch": "threshold = 0.11",
    "softmatch": "",
    "uda": "threshold = 0.115",
    "vat": "",
}
_NO_TEACHER = "abc mean_teacher meta_pseudo_labels mixmatch pi_model pseudo_label remixmatch sgan vat"
_MATCH = tuple(name for name in _METHODS if name not in _NO_TEACHER.split())
_CONFIDENT = ("crmatch", "debiased_pseudo_label", "fixmatch", "uda")  # above 0.14 in part when all rows share a forward
_PRETEXTS = ("barlow_twins", "masked_image", "rotation", "simclr")
_ROUNDS = "--set recipe.threshold=0.12 --set recipe.gate=1"  # else no student follows so short a teacher
_SMALL = "--set batch_size=16 --set warmup=0.2"
_TRAIN = f"train digits --labels 100 --no-plan {_SMALL} --out run"


def _variants(teachers: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Tables of a comparison's file: each method with each teacher, or with its default for an empty one."""
    tables = []
    for teacher in teachers:
        for name in names:
            knobs = tomllib.loads(_METHODS[name])
            if teacher:
                knobs["teacher"] = teacher
            if teacher == "concat" and "threshold" in knobs:
                knobs["threshold"] = 0.14 if name in _CONFIDENT else 0.12
            if name in _MATCH and teacher != "concat":
                knobs["ema_decay"] = 0.5  # an average over two steps is nearer to the model after a dozen
            lines = [
                f"{key} = {json.dumps(value, separators=(', ', ' = '))}"
                for key, value in {"name": name, **knobs}.items()
            ]
            title = f"{name} {teacher}".strip()
            tables.append("\n".join([f'[variants."{title}".method]', *lines]))
    return "\n".join(tables) + "\n"


_COMPARE = f"compare digits --labels 100 --jobs 1 {_SMALL} --out run"
RUNS = (
    Run("plain", (f"{_TRAIN} --budget 30steps", "predict run digits --out p.csv", "evaluate run digits")),
    Run("killed", (f"{_TRAIN} --budget 30steps", "train --resume run"), kill=("SIGKILL", 45), twin="plain"),
    Run("stopped", (f"{_TRAIN} --budget 30steps", "train --resume run"), kill=("SIGTERM", 45), twin="plain"),
    Run(
        "methods",
        (f"{_COMPARE} --config v.toml --seeds 1 --budget 14steps",),
        {"v.toml": _variants(("",), tuple(_METHODS))},
    ),
    Run(
        "teachers",
        (f"{_COMPARE} --config v.toml --seeds 1 --budget 14steps",),
        {"v.toml": _variants(("model", "concat"), _MATCH)},
    ),
    *(
        Run(
            f"pretrain_{pretext}",
            (f"{_TRAIN} --budget 20steps --recipe pretrain --set recipe.pretext.name={pretext}",),
        )
        for pretext in _PRETEXTS
    ),
    Run("pretrain_rounds", (f"{_TRAIN} --budget 40steps --recipe pretrain --downstream noisy_student",)),
    Run("self_training", (f"{_TRAIN} --budget 60steps --recipe self_training {_ROUNDS}",)),
    Run("noisy_student", (f"{_TRAIN} --budget 60steps --recipe noisy_student {_ROUNDS}",)),
    Run("ensemble", (f"{_TRAIN} --budget 40steps --recipe ensemble --set recipe.num_members=2",)),
    Run("compare", (f"{_COMPARE} --methods flexmatch,mixmatch --seeds 2 --budget 14steps",)),
    Run("ablate", (f"ablate digits --labels 100 --jobs 1 {_SMALL} --seeds 2 --budget 14steps --out run",)),
    Run("plan", ("plan digits --labels 100 --budget 60steps --out plan.toml",)),
    Run("repeats", (f"{_TRAIN} --budget 14steps --repeats 2",)),
    Run("folds", (f"{_TRAIN} --budget 14steps --folds 2",)),
    Run("validation", (f"train digits --no-plan {_SMALL} --out run --budget 20steps --filter-pool",)),
)

# Runs in the side's interpreter: loads the slow libraries once, then forks a process for each command. Names of this
# project stand in the last two lines only, so that no refactor of it can break the driver.
_DRIVER = """
import importlib, json, os, resource, signal, sys, time
import torch
for name in ("numpy", "scipy.stats", "sklearn.datasets", "sklearn.model_selection", "sklearn.linear_model",
             "matplotlib.figure", "matplotlib.pyplot", "pydantic", "jinja2", "typer", "safetensors.torch"):
    importlib.import_module(name)
torch.set_num_threads(1)

def run(words, folder, kill):
    output = os.open(os.path.join(folder, "output.txt"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1), os.dup2(output, 2)
    os.chdir(folder)
    if kill:
        plain, count = torch.autograd.backward, 0
        def backward(*arguments, **options):
            nonlocal count
            count += 1
            if count == kill[1]:
                os.kill(os.getpid(), getattr(signal, kill[0]))
            return plain(*arguments, **options)
        torch.autograd.backward = backward
    sys.argv = ["understudy", *words]
    from understudy.cli.main import main
    main()

for line in sys.stdin:
    words, folder, kill, limit = json.loads(line)
    start, pid = time.monotonic(), os.fork()
    if pid == 0:
        os.setsid()
        code = 1
        try:
            run(words, folder, kill)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
    ended = 0
    while not ended:
        ended, status, usage = os.wait4(pid, os.WNOHANG)
        time.sleep(0.02)
        if time.monotonic() - start > limit:
            os.killpg(pid, signal.SIGKILL)
    print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime]), flush=True)
"""


class Side:
    """One source tree and the process that runs commands with it."""

    def __init__(self, source: Path, folder: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": str(source),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "MKL_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "UNDERSTUDY_CACHE": str(folder / "cache"),
            "MPLBACKEND": "agg",
        }
        self.folder = folder
        self._driver = subprocess.Popen(
            [sys.executable, "-c", _DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def figures(self, run: Run) -> dict[str, Any]:
        """What the run wrote, as `read` gives it, its CPU-seconds, and the reason if a command failed."""
        folder = self.folder / run.name
        folder.mkdir(parents=True)
        for name, text in run.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        seconds, failed = 0.0, ""
        for number, words in enumerate(run.commands):
            kill = run.kill if number == 0 else None
            code, spent = self._run(shlex.split(words), folder, kill)
            if code == USER_ERROR:
                code, more = self._run([RENAMED.get(word, word) for word in shlex.split(words)], folder, kill)
                spent += more
            seconds += spent
            if code and not kill:
                failed = f"{words}: exit code {code}: {(folder / 'output.txt').read_text(encoding='utf-8')[-600:]}"
                break
            if kill and not code:
                failed = f"{words}: was over before it was killed"
        found = read(folder) | {"cpu_s": round(seconds, 2), "failed": failed}
        shutil.rmtree(folder)
        return found

    def _run(self, words: list[str], folder: Path, kill: tuple[str, int] | None) -> tuple[int, float]:
        assert self._driver.stdin
        assert self._driver.stdout
        self._driver.stdin.write(json.dumps([words, str(folder), kill, MAX_RUN_S]) + "\n")
        self._driver.stdin.flush()
        code, seconds = json.loads(self._driver.stdout.readline())
        return int(code), float(seconds)

    def close(self) -> None:
        """End the process."""
        assert self._driver.stdin
        self._driver.stdin.close()
        self._driver.wait()


def read(folder: Path) -> dict[str, Any]:
    """Digests of tensors and arrays with where each was found, and the numbers of the other files in their order."""
    tensors: list[tuple[str, str]] = []
    arrays: list[tuple[str, str]] = []
    numbers: dict[str, list[tuple[str, str]]] = {}
    readers: dict[str, Callable[[Path], Iterator[tuple[str, Any]]]] = {
        ".json": lambda path: _leaves(json.loads(path.read_text(encoding="utf-8"))),
        ".jsonl": lambda path: _leaves([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]),
        ".toml": lambda path: _leaves(tomllib.loads(path.read_text(encoding="utf-8"))),
        ".csv": _cells,
    }
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors":
            tensors += [(_digest(value), f"{name}:{key}") for key, value in load_file(path).items()]
        elif path.suffix == ".npz":
            with np.load(path) as stored:
                kept = {key: stored[key] for key in stored.files if stored[key].dtype.kind in "biuf"}
            arrays += [(_digest(value), f"{name}:{key}") for key, value in kept.items()]
        elif path.suffix in readers:
            numbers[name] = [(repr(value), key) for key, value in readers[path.suffix](path)]
    return {"tensors": tensors, "arrays": arrays, "numbers": numbers}


def compared(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Whether two answers of `Side.figures` are equal, reordered or different, and the first differences."""
    sides = (old, new)
    differences = [f"{name} failed: {run['failed']}" for name, run in zip(SIDES, sides, strict=True) if run["failed"]]
    numbers = [[(x, f"{name}:{y}") for name, rows in run["numbers"].items() for x, y in rows] for run in sides]
    differences += _difference("tensors", old["tensors"], new["tensors"])
    differences += _difference("arrays", old["arrays"], new["arrays"])
    differences += _difference("numbers", *numbers)
    ordered = [sorted([value for value, _ in values] for values in run["numbers"].values()) for run in sides]
    state = "different" if differences else "equal" if ordered[0] == ordered[1] else "reordered"
    counts = {"tensors": len(old["tensors"]), "arrays": len(old["arrays"]), "numbers": len(numbers[0])}
    return {"state": state, **counts, "differences": differences[:MAX_SHOWN]}


def _difference(what: str, old: list[tuple[str, str]], new: list[tuple[str, str]]) -> list[str]:
    """Values that one side has more often than the other, named by where the first of them stands."""
    first, second = (Counter(value for value, _ in side) for side in (old, new))
    sentences = []
    for name, values, surplus in ((SIDES[0], old, first - second), (SIDES[1], new, second - first)):
        if surplus:
            value, place = next((value, place) for value, place in values if surplus[value])
            sentences.append(f"{surplus.total()} of {len(values)} {what} only {name}, first {place} = {value[:40]}")
    return ["; ".join(sentences)] if sentences else []


def _digest(value: Any) -> str:
    return hashlib.sha256(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes()).hexdigest()


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers, truth values and texts that are numbers in a tree of tables and lists, without what tells time."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not _TIME_KEY.search(str(key)):
                yield from _leaves(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{place}[{number}]")
    elif isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        yield place, value


def _cells(path: Path) -> Iterator[tuple[str, str]]:
    """Cells of a table that are numbers, without the columns that tell time."""
    rows = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
    for number, row in enumerate(rows[1:]):
        for title, cell in zip(rows[0], row, strict=False):
            if _NUMBER.fullmatch(cell) and not _TIME_KEY.search(title):
                yield f"{title}[{number}]", cell


def _identity(run: Run) -> str:
    return hashlib.sha256((_DRIVER + json.dumps(asdict(run))).encode()).hexdigest()


def side_figures(source: Path, runs: list[Run], cache: Path | None) -> dict[str, Any]:
    """Figures of each run, from the cache where it has them; new ones are added to it."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        side: Side | None = None
        for run in runs:
            stored = cache / f"{run.name}.json" if cache else None
            if stored and stored.exists():
                record = json.loads(stored.read_text(encoding="utf-8"))
                if record["identity"] == _identity(run):
                    found[run.name] = record
                    continue
            side = side or Side(source, Path(scratch))
            found[run.name] = side.figures(run) | {"identity": _identity(run)}
            print(f"  {run.name:22}{found[run.name]['cpu_s']:7.1f} CPU-s  {found[run.name]['failed']}", flush=True)
            if stored and not found[run.name]["failed"]:
                stored.parent.mkdir(parents=True, exist_ok=True)
                stored.write_text(json.dumps(found[run.name]), encoding="utf-8")
        if side:
            side.close()
    return found


def idle(figures: Mapping[str, Any]) -> list[str]:
    """Folders of semi-supervised trainings in which no unlabeled row counted, which prove nothing about its loss."""
    ratios: dict[str, list[float]] = {}
    for name, rows in figures["numbers"].items():
        for value, place in rows:
            if place.endswith(".mask_ratio"):
                ratios.setdefault(Path(name).parent.name, []).append(float(value))
    return [folder for folder, values in ratios.items() if not any(values) and folder != "supervised"]


def _same_as_twin(found: Mapping[str, Any], run: Run) -> bool | None:
    """Whether the run has the weights of its twin; None without one."""
    if run.twin not in found:
        return None
    sets = [{digest for digest, _ in found[name]["tensors"]} for name in (run.name, run.twin)]
    return sets[0] == sets[1]


def main() -> int:
    """Compare, print a line per run, and write the record if all runs were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, metavar="COMMIT", help="the commit before the refactor")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[run.name for run in RUNS], help="only these runs")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where the figures of COMMIT are kept")
    parser.add_argument("--prepare", action="store_true", help="fill the cache and compare nothing")
    options = parser.parse_args()
    runs = [run for run in RUNS if not options.only or run.name in options.only]
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.check_output([*git, "rev-parse", "--short=12", options.against], text=True).strip()
    cache = options.cache / commit if options.cache else None
    with tempfile.TemporaryDirectory(prefix="golden-source-") as folder:
        packed = subprocess.check_output([*git, "archive", commit, "src"])
        subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
        print(f"before: {commit}")
        before = side_figures(Path(folder) / "src", runs, cache)
    if options.prepare:
        return 0
    print(f"after: {COMMIT_AT_START}")
    after = side_figures(ROOT / "src", runs, None)
    result = {}
    for run in runs:
        result[run.name] = compared(before[run.name], after[run.name]) | {
            "idle": idle(before[run.name]),
            "equals_twin": [_same_as_twin(found, run) for found in (before, after)] if run.twin in before else None,
            "cpu_s": [before[run.name]["cpu_s"], after[run.name]["cpu_s"]],
        }
        print(f"{run.name:22}{result[run.name]['state']:11}{'; '.join(result[run.name]['differences'])}")
        if result[run.name]["idle"]:
            print(f"{'':22}no unlabeled row counted in {', '.join(result[run.name]['idle'])}")
    if not options.only:
        seconds = {"cpu_s": round(sum(after[run.name]["cpu_s"] for run in runs), 1)}
        write("golden", {"against": commit, "runs": result}, seeds=[0, 1], n=1797, seconds=seconds)
    return int(any(run["state"] == "different" for run in result.values()))


if __name__ == "__main__":
    sys.exit(main())
