"""Command lines that nobody should type, from a table of commands, options and values."""

from __future__ import annotations

import functools
import os
import random
from pathlib import Path
from typing import Any

import typer.main
from typer.testing import CliRunner

from understudy.cli.main import app, sentence_of

_GROUP: Any = typer.main.get_command(app)
_LONG = "a" * 300
_SMALL = ("--no-plan", "--budget", "2steps", "--num-labels", "40", "--network", "cnn")
_PATHS = (
    "fifo", "fifo.toml", "fifo.csv", "photos", "empty", "nope", _LONG, "a" * 5000, "d/" * 3000, "x\0y", "", "/dev/null",
    "/dev/zero", "/dev/null/x", "loop", "fifo/x", "text.csv", "text.toml", "secret", "/proc/self/mem", "~nobody/x", "-",
)  # fmt: skip
_NAMES = (
    "torchvision:", "torchvision:nope", "torchvision:VisionDataset", "torchvision:ImageFolder", "torchvision:PCAM",
    "torchvision:CocoDetection", "torchvision:SBDataset", "torchvision:FakeData", "torchvision:GTSRB",
    "torchvision:DatasetFolder", "torchvision:make_dataset", "torchvision:__name__", "torchvision:folder", "hf:",
    "hf:photos", "hf:empty", "hf:x\0y", "hf:a/..", "timm:", "timm:nope", "nope:x", "digits/", "DIGITS", "\u202edigits",
)  # fmt: skip
_SETTINGS = (
    "method.name.x=1", "optimizer.lr=1e300", "optimizer.lr=inf", "optimizer.lr=nan", "optimizer.lr=-1", "optimizer=[1]",
    "seed=" + "9" * 30, "seed=" + "9" * 5000, "seed=-1", "seed=true", "method=1", "method=[]", "method={}",
    "method.mu=1e9",
    "method.mu=999999999999", "method.threshold='a'", "method.ema_decay=2", "a" * 10_000 + "=1", "x\0=1", "=1", "=", "",
    ".=1", "..=1", "a." * 3000 + "b=1", "network='a\0b'", "network=''", "network='timm:'", "network=3", "batch_size=0",
    "batch_size=99999999999999", "batch_size=1.5", "size=1", "size=100000000", "size=-3", "budget='1e400s'",
    "budget=''",
    "budget='1e300steps'", "budget='0s'", "budget='nan s'", "num_evaluations=0", "num_evaluations=1000000000",
    "corrupted=-1", "method.name=" + "[" * 3000, "recipe.name=plain.x", "optimizer.name={a=1}", "augmentation.x=1",
    "augmentation=2", "augmentation=[[]]", "domain=3", "domain='x'", "num_labels=999999999999999999999",
    "num_labels=-1",
    "device='cuda:99999'", "device='cpu:x'", "device=''", "channels=2", "channels='a'", "freeze='x'", "lr_warmup=2",
    "warmup=5", "dtype='int8'", "compile=1", "repeats=0", "folds=1", "folds=99999", "repeats=1", "imbalance=0",
    "optimizer.name=nope", "recipe=nope", "method=nope", "method.criterion=1", "method.criterion.name=x",
    "optimizer.momentum=5", "optimizer.weight_decay=1e308", "lr_final=9", "patience=-1", "filter_pool=3",
)  # fmt: skip
_OTHERS = tuple(sorted(set(_GROUP.commands) - {"demo", "train"}))


def _prepared(place: Path) -> None:
    """Fill a folder with pipes, loops, texts, an empty folder, and one of images and a pipe."""
    from PIL import Image

    os.chdir(place)
    for name in ("fifo", "fifo.toml", "fifo.csv"):
        os.mkfifo(name)
    Path("loop").symlink_to("loop")
    Path("text.csv").write_text("path,label\nfifo,a\nnope.png,b\n")
    Path("text.toml").write_text("[method]\n1 = 2\n")
    Path("secret").write_text("x")
    Path("empty").mkdir()
    for label in ("a", "b"):
        (Path("photos") / label).mkdir(parents=True)
        os.mkfifo(f"photos/{label}/pipe.png")
        for number in range(4):
            Image.new("RGB", (8, 8), (40 * number, 0, 200 if label == "a" else 0)).save(f"photos/{label}/{number}.png")


def drawn(seed: int) -> list[str]:
    """The arguments of a random command line."""
    draw = random.Random(f"command {seed}")
    anything = (*_PATHS, *_NAMES)
    name = draw.choice(("train",) * 6 + _OTHERS)
    if name == "train":
        source = "digits" if draw.random() < 0.6 else draw.choice(anything)
        found = ["train", source, *_SMALL]
        options = {option: alone for option, alone in _options(name).items() if option not in _SMALL}
        for option in draw.sample(sorted(options), draw.randint(0, 2)):
            value = draw.choice(_SETTINGS if option == "--set" else anything)
            found += [option] if options[option] else [option, value]
        if draw.random() < 0.5:
            found += ["--set", draw.choice(_SETTINGS)]
        return found
    found = [name, *(draw.choice(anything) for _ in range(draw.randint(0, 2)))]
    found += [] if name not in ("compare", "ablate") else ["--budget", "2steps", "--seeds", "1", "--jobs", "1"]
    options = _options(name)
    for option in draw.sample(sorted(options), min(len(options), draw.randint(0, 3))):
        found += [option] if options[option] else [option, draw.choice((*anything, *_SETTINGS))]
    return found


@functools.cache
def _options(command: str) -> dict[str, bool]:
    """The options of a command, whichever it has today, and whether each stands alone; and one that no command has."""
    options = [option for option in _GROUP.commands[command].params if option.param_type_name == "option"]
    return {max(option.opts, key=len): bool(option.is_flag) for option in options} | {"--nope": False}


def call_command(place: Path, seed: int) -> str:
    """Run a random command line in a folder of odd files; the text says what went wrong."""
    _prepared(place)
    arguments = drawn(seed)
    result = CliRunner().invoke(app, arguments)
    error = result.exception
    if error is not None and not isinstance(error, SystemExit) and not sentence_of(error):
        import traceback

        text = "".join(traceback.format_exception(error))
        return f"{[argument[:60] for argument in arguments]}: {text[-1500:]}"
    if result.exit_code not in (0, 2) or "Traceback" in result.output:
        return f"{[argument[:60] for argument in arguments]}: code {result.exit_code}: {result.output[-300:]}"
    return ""
