"""What every benchmark shares: the record it writes beside itself, and the data it is run on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_HERE = Path(__file__).resolve().parent
_PACKAGES = ("understudy", "torch", "torchvision", "timm", "scikit-learn", "numpy")
_LOAD_AT_START = os.getloadavg()

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Arrays:
    """Training and test images with their classes; `train_labels` is -1 where a label is hidden.

    Args:
        train_hidden: The true class of every training row, for diagnostics alone.
    """

    train: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    train_hidden: NDArray[np.int64]
    test: NDArray[np.uint8]
    test_labels: NDArray[np.int64]


def write(name: str, result: Any, *, seeds: Sequence[int], n: int | dict[str, int], seconds: dict[str, float]) -> Path:
    """The path of the record `<name>.json`, which states the result and all that is needed to repeat it.

    Args:
        n: Images the result was measured on.
        seconds: What one run cost, for example `{"cpu_s": 1.2, "wall_s": 3.4}`.
    """
    record = {
        "name": name,
        "command": _command(),
        "commit": COMMIT_AT_START,
        "versions": {"python": platform.python_version()} | _versions(),
        "machine": _machine(),
        "seeds": list(seeds),
        "n": n,
        "seconds": seconds,
        "result": result,
    }
    path = _HERE / f"{name}.json"
    path.write_text(json.dumps(record, indent=2, default=_plain) + "\n", encoding="utf-8")
    return path


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation, 95 % interval (Student's t) and worst of one figure over seeds or splits."""
    from scipy import stats

    array = np.asarray(values, dtype=float)
    deviation = float(array.std(ddof=1)) if len(array) > 1 else 0.0
    half = float(stats.t.ppf(0.975, len(array) - 1)) * deviation / len(array) ** 0.5 if len(array) > 1 else float("nan")
    return {
        "mean": round(float(array.mean()), 5),
        "std": round(deviation, 5),
        "interval": None
        if np.isnan(half)
        else [round(float(array.mean()) - half, 5), round(float(array.mean()) + half, 5)],
        "worst": round(float(array.min()), 5),
        "values": [round(float(value), 5) for value in array],
    }


def digits_split(num_labels: int, seed: int, *, num_test: int = 500) -> Arrays:
    """Scikit-learn's digits with `num_labels` stratified labels, the rest hidden, and stratified test images.

    Images are uint8 rows [n 1 8 8], the sixteen gray levels spread over 0 to 255.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, classes = load_digits(return_X_y=True)
    images = np.round(pixels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    classes = classes.astype(np.int64)
    train, test = train_test_split(np.arange(len(classes)), test_size=num_test, stratify=classes, random_state=seed)
    labels = hide(classes[train], num_labels, seed)
    return Arrays(images[train], labels, classes[train], images[test], classes[test])


def cifar10_split(folder: Path, num_labels: int, seed: int, *, num_unlabeled: int | None = None) -> Arrays:
    """CIFAR-10 with `num_labels` stratified labels; `num_unlabeled` more rows stay, or all of them."""
    train, classes, test, test_classes = cifar10(folder)
    labels = hide(classes, num_labels, seed)
    if num_unlabeled is not None:
        unlabeled = np.random.default_rng(seed).permutation(np.flatnonzero(labels < 0))[:num_unlabeled]
        rows = np.sort(np.concatenate([np.flatnonzero(labels >= 0), unlabeled]))
        train, classes, labels = train[rows], classes[rows], labels[rows]
    return Arrays(train, labels, classes, test, test_classes)


def cifar10_article_split(folder: Path, *, num_labels: int = 5_000, num_unlabeled: int = 20_000) -> Arrays:
    """CIFAR-10 as the articles split it: the first rows of `default_rng(0)`'s shuffle are labeled, then unlabeled."""
    train, classes, test, test_classes = cifar10(folder)
    order = np.arange(len(classes))
    np.random.default_rng(0).shuffle(order)
    rows = order[: num_labels + num_unlabeled]
    labels = np.where(np.arange(len(rows)) < num_labels, classes[rows], -1)
    return Arrays(train[rows], labels, classes[rows], test, test_classes)


def cifar10(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]:
    """CIFAR-10's training images [n 3 32 32] and classes, test images and classes, decoded once and then cached.

    Args:
        folder: Holds `train/<class>/*` and `test/<class>/*`, images of any common file type.
    """
    cache = Path(os.environ.get("UNDERSTUDY_CACHE", Path.home() / ".cache" / "understudy")) / "benchmarks"
    cache.mkdir(parents=True, exist_ok=True)
    stored = cache / f"cifar10-{folder.resolve().as_posix().replace('/', '_')}.npz"
    if not stored.exists():
        train, train_classes = _decode(folder / "train")
        test, test_classes = _decode(folder / "test")
        partial = stored.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, train=train, train_classes=train_classes, test=test, test_classes=test_classes)
        partial.replace(stored)
    with np.load(stored) as arrays:
        return arrays["train"], arrays["train_classes"], arrays["test"], arrays["test_classes"]


def hide(classes: NDArray[np.int64], num_labels: int, seed: int) -> NDArray[np.int64]:
    """The classes with all but `num_labels` of them replaced by -1, an equal number kept of every class."""
    num_classes = int(classes.max()) + 1
    if num_labels % num_classes:
        raise ValueError(f"{num_labels} labels cannot be spread equally over {num_classes} classes")
    order = np.random.default_rng(seed).permutation(len(classes))
    kept = [order[classes[order] == label][: num_labels // num_classes] for label in range(num_classes)]
    labels = np.full_like(classes, -1)
    rows = np.concatenate(kept)
    labels[rows] = classes[rows]
    return labels


def _decode(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from PIL import Image

    files = [(path, label) for label, name in enumerate(CIFAR10_CLASSES) for path in sorted((folder / name).iterdir())]
    images = np.empty((len(files), 3, 32, 32), dtype=np.uint8)
    for row, (path, _) in enumerate(files):
        with Image.open(path) as image:
            images[row] = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    return images, np.array([label for _, label in files], dtype=np.int64)


def _command() -> str:
    """The command line as another person would type it, with folders of this machine left out."""
    words = [f"benchmarks/{Path(sys.argv[0]).name}"]
    for word in sys.argv[1:]:
        option, equals, value = word.rpartition("=")
        words.append(f"{option}{equals}PATH" if Path(value).is_absolute() else word)
    return " ".join(["python", *words])


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(_HERE), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    changed = (
        " with local changes" if git("status", "--porcelain", "--untracked-files=no", "--", "../src", "*.py") else ""
    )
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + changed


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _machine() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "accelerator": _accelerator(),
        "load_before": round(_LOAD_AT_START[0], 2),
        "load_after": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _accelerator() -> str | None:
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


COMMIT_AT_START = _commit()  # what was imported, whatever is committed while a long script runs
