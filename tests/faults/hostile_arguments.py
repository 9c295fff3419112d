"""Public functions called with what nobody should give them, from a table of functions, arguments and values."""

from __future__ import annotations

import functools
import os
import random
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import understudy as us
from tests.faults.hostile_objects import (
    DATA,
    ROWS,
    Attributeless,
    Everything,
    Unprintable,
    Unusable,
    WrongPath,
    arrays,
    datasets,
    labels,
    networks,
)
from understudy.planning.plan import Plan

_MAX_SENTENCE = 1500  # characters; more is read by nobody
_SMALL: dict[str, Any] = {"source": DATA, "unlabeled": ROWS[::-1] / 2, "budget": "1steps", "quiet": True}
_COMPARED = {**_SMALL, "seeds": 1, "jobs": 1}
_COMMON = ("source", "unlabeled", "test", "cache")
_JOB = ("config", "budget", "epochs", "optimizer", "method", "recipe", "seed", "size", "channels", "device", "freeze")
_COMPARING = ("seeds", "folder", "jobs", "map", "num_labels", "watch")
_TRAINING = ("folder", "tensorboard", "watch", "repeats", "folds", "plan", "network", "num_labels", "domain", "preset")


@functools.cache
def values() -> Mapping[str, tuple[Any, ...]]:
    """Hostile values for each argument."""
    objects = (
        3.5,
        -1,
        float("nan"),
        object(),
        Unprintable(),
        Unusable(),
        Attributeless(),
        Everything(),
        [],
        {},
        b"x",
        str,
    )
    paths = (
        "a\0b",
        "",
        "a" * 300,
        "/".join(["a" * 200] * 30),
        "\ud800",
        "\n",
        "fifo",
        "/dev/null/x",
        WrongPath(),
        *objects,
    )
    texts = (
        5,
        -1,
        1.5,
        [],
        object(),
        Unprintable(),
        Unusable(),
        Attributeless(),
        b"10m",
        "",
        "a\0b",
        "nonsense",
        "\ud800",
    )
    numbers = (
        "3",
        -1,
        1.5,
        float("nan"),
        float("inf"),
        10**30,
        10**400,
        [],
        object(),
        Unprintable(),
        Unusable(),
        b"3",
        True,
    )
    tables = (5, "x", [1], {5: 1}, {"seed": "x"}, {"nonsense": 1}, Unprintable(), Unusable(), Attributeless(), {"": 1})
    pairs = (
        (ROWS, ROWS, ROWS),
        (ROWS,),
        (),
        (ROWS, object()),
        (Unusable(), DATA[1]),
        *((ROWS, label) for label in labels()),
    )
    sources = (*paths, *pairs, *datasets(), *arrays(), *((rows, DATA[1]) for rows in arrays()))
    sources = (
        *sources,
        {"train": 5},
        {"train": Unusable()},
        {5: DATA},
        {"image": ROWS},
        iter(ROWS),
        np.datetime64("2020"),
    )
    nested: Any = []
    nested.append(nested)
    return {
        **dict.fromkeys(("source", "unlabeled", "test", "labeled", "X"), (*sources, nested)),
        "y": labels(),
        **dict.fromkeys(("folder", "cache", "tensorboard", "run", "path"), paths),
        **dict.fromkeys(("config", "options"), (*tables, {"method": nested}, {"optimizer": {"lr": 1e300}})),
        "watch": (5, "x", object(), str, Unprintable(), Unusable(), Attributeless()),
        "plan": (5, 1.5, [], *texts[4:], *paths[:8]),
        "budget": (*texts, "0s", "nans", "1e400s", "9" * 5000 + "s", "9" * 5000 + "steps", "-1s", us.Budget),
        "epochs": ("x", -1, 0, float("nan"), float("inf"), 10**400, [], object(), Unprintable(), Unusable()),
        "optimizer": (
            *texts, torch.nn.Linear, torch.optim.LBFGS, torch.optim.SGD([torch.zeros(1)]), {"name": 5}, {"lr": "x"},
            {"nonsense": 1}, {"name": "sgd", "lr": 1e300}, {"name": Unprintable()}, {5: 1}, nested,
        ),
        "method": (
            *texts, {"name": 5}, {"name": "fixmatch", "threshold": "x"}, {"nonsense": 1}, {"name": "fixmatch", 5: 1},
            {"name": Unusable()}, {"name": "fixmatch", "mu": 10**30}, {"name": "fixmatch", "threshold": Unusable()},
            nested,
        ),
        "recipe": (*texts, {"name": 5}, {"name": "rounds", "num_rounds": Unprintable()}, nested),
        "methods": (
            5, object(), [5], [None], "nonsense", [Unprintable()], Unusable(), Attributeless(), nested, {"a": 1},
        ),
        "variants": (
            5, "x", {"a": 5}, {5: {}}, {"a": {"seed": 1}}, {"a\0": {}}, {Unprintable(): {}}, {"a": {"": 1}}, Unusable(),
        ),
        "preset": (*texts, nested),
        "domain": texts,
        "device": (*texts, "cuda:99999", "meta", "cpu:5", torch.device("meta")),
        "freeze": texts,
        "seed": (*numbers[:-1], 2**63),
        "seeds": (
            "x", -1, 0, 1.5, [], ["x"], [-1], [2**70], object(), Unprintable(), Unusable(), [Unprintable()], nested,
        ),
        "num_labels": ("x", -1, 1.5, 10**400, object(), [1.5], Unprintable(), Unusable(), [Unusable()]),
        "size": ("x", -1, 1.5, 3, 10**30, [], object(), Unprintable(), Unusable(), True),
        "channels": ("x", -1, 1.5, 2, [], object(), Unprintable(), Unusable(), True),
        **dict.fromkeys(("count", "jobs", "num_steps", "batch_size"), (*numbers, 0)),
        **dict.fromkeys(("repeats", "folds"), (*numbers[:5], *numbers[7:])),
        **dict.fromkeys(("map", "decoding", "observe"), (5, "x", str, Unprintable(), Attributeless())),
        **dict.fromkeys(
            ("near", "features", "upper_bound", "test_time_averaging"), (5, "x", [], Unprintable(), Unusable()),
        ),
        "drop": (5, "x", ["x"], [5], [Unprintable()], Unusable()),
        "random_state": ("x", -1, 1.5, 10**30, [], object(), Unprintable(), Unusable()),
        "network": networks(),
    }  # fmt: skip


def _estimated(X: Any = ROWS, y: Any = DATA[1], *, again: Any = ROWS, **arguments: Any) -> None:  # noqa: N803
    us.SemiSupervisedClassifier(**{"num_steps": 1, **arguments}).fit(X, y).predict(again)


def _predicted(run: Any, source: Any, path: Any = "x.csv", **options: Any) -> None:
    us.Predictor.load(run).predict(source, **options).save(path)


def _suggested(path: Any, what: str = "save") -> None:
    getattr(us.suggest("photos", count=2, quiet=True), what)(path)


def _audited(path: Any, what: str, **options: Any) -> None:
    getattr(us.audit("photos", near=False, features=False, quiet=True), what)(path, **options)


def _planned(path: Any) -> None:
    us.plan(**_SMALL).save(path)


Function = tuple[Callable[..., Any], dict[str, Any], tuple[str, ...]]
FUNCTIONS: dict[str, Function] = {
    "load": (us.load, {"source": DATA}, (*_COMMON, "size", "channels", "observe")),
    "train": (us.train, {**_SMALL, "plan": False}, (*_COMMON, *_JOB, *_TRAINING)),
    "plan": (us.plan, _SMALL, (*_COMMON, *_JOB, "watch", "network", "preset")),
    "compare": (
        us.compare, {**_COMPARED, "methods": "fixmatch"},
        (*_COMMON, *_COMPARING, "config", "budget", "optimizer", "recipe", "methods", "variants", "network",
         "upper_bound"),
    ),
    "ablate": (us.ablate, _COMPARED, (*_COMMON, *_COMPARING, "config", "budget", "method", "recipe", "network")),
    "audit": (
        us.audit, {"source": DATA, "quiet": True},
        (*_COMMON, "run", "near", "features", "size", "channels", "decoding", "observe", "network"),
    ),
    "audit report": (functools.partial(_audited, what="report"), {}, ("path",)),
    "audit save": (functools.partial(_audited, what="save"), {}, ("path",)),
    "audit manifest": (functools.partial(_audited, what="write_manifest"), {"path": "x.csv"}, ("path", "drop")),
    "suggest": (
        us.suggest, {"unlabeled": ROWS, "count": 3, "quiet": True},
        ("count", "run", "seed", "cache", "decoding", "observe", "labeled", "network"),
    ),
    "suggest save": (_suggested, {}, ("path",)),
    "suggest sheet": (functools.partial(_suggested, what="sheet"), {}, ("path",)),
    "evaluate": (
        us.evaluate, {"folder": "run", "source": DATA, "quiet": True},
        ("cache", "watch", "folder", "source", "network"),
    ),
    "predict": (
        _predicted, {"run": "run", "source": ROWS},
        ("run", "source", "cache", "observe", "path", "test_time_averaging"),
    ),
    "plan load": (Plan.load, {}, ("path",)),
    "plan save": (_planned, {}, ("path",)),
    "budget": (lambda budget: us.Budget.parse(budget), {}, ("budget",)),
    "job": (
        us.Job, {},
        ("method", "optimizer", "recipe", "seed", "size", "batch_size", "budget", "domain", "device", "num_labels"),
    ),
    "settings": (us.Settings, {}, ("method", "optimizer", "seed", "batch_size", "freeze")),
    "estimator": (
        _estimated, {}, ("X", "y", "method", "num_steps", "batch_size", "network", "random_state", "options"),
    ),
    "estimator predict": (lambda X: _estimated(again=X), {}, ("X",)),  # noqa: N803
}  # fmt: skip


def calls() -> Iterator[tuple[str, str, int]]:
    """Every function with the number of every value of every argument."""
    for function, (_, _, arguments) in FUNCTIONS.items():
        for argument in arguments:
            for number in range(len(values()[argument])):
                yield function, argument, number


def call_function(place: Path, run: Path, seed: int) -> str:
    """Carry out a random call, now and then with a second hostile value; the text says what went wrong.

    Args:
        place: A folder of photographs and odd files to work in.
        run: A finished run on the plain rows.
        seed: Below the number of calls each is made once in a shuffled order.
    """
    draw = random.Random(f"call {seed}")
    table = list(calls())
    random.Random("calls").shuffle(table)
    function, argument, number = table[seed % len(table)]
    given = {argument: number}
    if seed >= len(table):
        other = draw.choice(FUNCTIONS[function][2])
        given[other] = draw.randrange(len(values()[other]))
    (place / "run").symlink_to(run)
    os.chdir(place)
    return carry_out(function, given)


def carry_out(function: str, given: Mapping[str, int]) -> str:
    """Call a function with the values of these numbers; the text says what went wrong."""
    work, usual, _ = FUNCTIONS[function]
    arguments = {**usual, **{argument: values()[argument][number] for argument, number in given.items()}}
    if "epochs" in given:
        arguments.pop("budget", None)
    try:
        work(**arguments)
    except us.UserError as error:
        if not 10 < len(str(error)) < _MAX_SENTENCE:
            return f"{function} {given}: a sentence of {len(str(error))} characters: {str(error)[:200]}"
    except Exception as error:
        if function.startswith("estimator") and _is_of_scikit_learn(error):
            return ""
        return f"{function} {given}: {''.join(traceback.format_exception(error))[-2500:]}"
    return ""


def _is_of_scikit_learn(error: Exception) -> bool:
    """Whether the innermost of our and scikit-learn's functions is one of scikit-learn's."""
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    ours = [name.partition(".")[0] for name in names if name.startswith(("understudy.", "sklearn."))]
    return bool(ours) and ours[-1] == "sklearn"
