"""The audit: what it finds of planted faults and what it makes up, and what a million images cost.

    python benchmarks/audit.py --data CIFAR10 --more CATS_DOGS [--count 1000000]

The folders are laid out as `train/<class>/*` and `test/<class>/*`. Faults are planted into images of the training set;
whatever else is found among them counts as made up, although photographs hold copies and bad images of their own.
"""

from __future__ import annotations

import argparse
import io
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from common import CIFAR10_CLASSES, cifar10, write
from understudy.data.collection import Collection, Part
from understudy.data.copies import exact_copies
from understudy.data.load import load
from understudy.data.split import split
from understudy.data.table import to_names
from understudy.inspection.audit import audit
from understudy.inspection.feature_checks import FeatureChecks
from understudy.inspection.result import Audit

Pixels = NDArray[np.uint8]
PLANTED = 100


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def _cropped(image: Image.Image, share: float) -> Image.Image:
    margin = share * image.width / 2
    box = (margin, margin, image.width - margin, image.height - margin)
    return image.resize(image.size, Image.Resampling.BICUBIC, box=box)


def _halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC).resize(
        image.size, Image.Resampling.BICUBIC
    )


NEAR: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 60": lambda image: _jpeg(image, 60),
    "JPEG of quality 30": lambda image: _jpeg(image, 30),
    "half the size": _halved,
    "15 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "20 % more contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.2),
    "3 % cropped": lambda image: _cropped(image, 0.03),
    "5 % cropped": lambda image: _cropped(image, 0.05),
    "10 % cropped": lambda image: _cropped(image, 0.10),
}
FLAWS: dict[str, dict[str, Callable[[Image.Image], Image.Image]]] = {
    "blank": {"plain color": lambda image: _jpeg(Image.new("RGB", image.size, (90, 120, 60)), 60)},
    "dark": {
        "a tenth of the light": lambda image: ImageEnhance.Brightness(image).enhance(0.1),
        "a fifth of the light": lambda image: ImageEnhance.Brightness(image).enhance(0.2),
    },
    "overexposed": {"88 % white": lambda image: Image.blend(image, Image.new("RGB", image.size, "white"), 0.88)},
    "blurry": {
        f"blur of {blur} px": lambda image, blur=blur: image.filter(ImageFilter.GaussianBlur(blur))  # type: ignore[misc]
        for blur in (1.5, 2.0, 3.0)
    },
    "gray": {"without color": lambda image: image.convert("L").convert("RGB")},
}


def changed(rows: Pixels, change: Callable[[Image.Image], Image.Image]) -> Pixels:
    """The images [n 3 h w] after the change."""
    images = [np.asarray(change(Image.fromarray(row))) for row in rows.transpose(0, 2, 3, 1)]
    return np.stack(images).transpose(0, 3, 1, 2)


def collection(rows: Pixels, labels: NDArray[np.int64], parts: NDArray[np.uint8], size: int) -> Collection:
    """A collection of rows that are in memory or mapped, of which copies are not known yet."""
    classes = tuple(str(number) for number in range(int(labels.max()) + 1))
    return Collection(
        rows=torch.from_numpy(rows),
        names=to_names(np.arange(len(rows)).astype(object).astype(str)),
        labels=labels,
        classes=classes,
        values=classes,
        parts=parts,
        groups=None,
        weights=np.ones(len(rows), np.float32),
        size=size,
    )


def looked_at(data: Collection, **more: Any) -> Audit:
    """The audit of a collection, copies included."""
    return audit(replace(data, copies=exact_copies(data.rows)), **more)


def planted_copies(rows: Pixels, labels: NDArray[np.int64], size: int) -> dict[str, Any]:
    """Recall of each kind of copy, planted once in the pool and once into the test part, and what else was found."""
    count, random = len(rows), np.random.default_rng(0)
    clean = looked_at(collection(rows, labels, np.full(count, Part.TRAIN, np.uint8), size))
    natural = {kind: clean[kind].count for kind in ("copies", "near_copies")}
    alone = np.flatnonzero(clean.groups < 0)
    chosen = random.permutation(alone)[: PLANTED * (1 + len(NEAR))].reshape(1 + len(NEAR), PLANTED)
    kinds = {"exact": lambda image: image, **NEAR}
    found: dict[str, Any] = {"natural": natural, "planted": {}}
    for role in ("pool", "test"):
        copies = [changed(rows[ids], change) for ids, change in zip(chosen, kinds.values(), strict=True)]
        every = np.concatenate([rows, *copies])
        original = chosen.ravel()
        codes = np.concatenate([labels, labels[original] if role == "test" else np.full(len(original), -1)])
        parts = np.full(len(every), Part.TRAIN, np.uint8)
        parts[count:] = Part.TEST if role == "test" else Part.TRAIN
        result = looked_at(collection(every, codes, parts, size))
        same = result.groups[count:] == result.groups[original]
        same &= result.groups[count:] >= 0
        recall = {kind: float(part.mean()) for kind, part in zip(kinds, same.reshape(-1, PLANTED), strict=True)}
        if role == "test":
            leaks = np.concatenate([result["exact_leaks"].rows, result["near_leaks"].rows])
            partners = np.concatenate([one.partners for kind in ("exact_leaks", "near_leaks")
                                       if (one := result[kind]).partners is not None])  # fmt: skip
            right = original[partners - count] == leaks
            in_clean = clean.groups[leaks] >= 0
            found["leaks"] = {
                "found": len(leaks),
                "of_planted": float(np.isin(original, leaks).mean()),
                "neither_planted_nor_natural": int((~right & ~in_clean).sum()),
            }
        else:
            found["planted"] = recall
            of_rows = np.flatnonzero(result.groups[:count] >= 0)
            expected = np.isin(of_rows, original) | (clean.groups[of_rows] >= 0)
            found["rows_made_up"] = int((~expected).sum())
    return found


def planted_flaws(rows: Pixels, labels: NDArray[np.int64], size: int) -> dict[str, Any]:
    """Recall of each planted flaw, and how many untouched images are said to have it."""
    random = np.random.default_rng(1)
    found: dict[str, Any] = {}
    for kind, changes in FLAWS.items():
        for name, change in changes.items():
            ids = random.permutation(len(rows))[:PLANTED]
            every = rows.copy()
            every[ids] = changed(rows[ids], change)
            parts = np.full(len(every), Part.TRAIN, np.uint8)
            flagged = looked_at(collection(every, labels, parts, size), near=False)[kind].rows
            found[f"{kind}: {name}"] = {
                "recall": float(np.isin(ids, flagged).mean()),
                "untouched_flagged": int((~np.isin(flagged, ids)).sum()),
                "untouched": len(rows) - PLANTED,
            }
    return found


def planted_by_features(
    rows: Pixels, labels: NDArray[np.int64], foreign: Pixels, size: int, wrong_share: float = 0.05
) -> dict[str, Any]:
    """Foreign images in the pool and wrong labels: what is found of them, and of what is found how much is that."""
    random = np.random.default_rng(2)
    order = random.permutation(len(rows))
    half = len(rows) // 2
    every = np.concatenate([rows[order], foreign])
    codes = np.concatenate([labels[order], np.full(len(foreign), -1)])
    codes[half : len(rows)] = -1
    wrong = np.sort(random.permutation(half)[: round(wrong_share * half)])
    num_classes = int(labels.max()) + 1
    codes[wrong] = (codes[wrong] + random.integers(1, num_classes, len(wrong))) % num_classes
    data = collection(every, codes, np.full(len(every), Part.TRAIN, np.uint8), size)
    start = time.process_time()
    result = looked_at(data, near=False, features=FeatureChecks())
    cpu_s = time.process_time() - start
    outliers, doubted = result["outliers"].rows, result["label_errors"].rows
    first = doubted[: len(wrong)]
    return {
        "cpu_s": round(cpu_s, 1),
        "pool": len(every) - half,
        "outliers": {
            "planted": len(foreign),
            "found": len(outliers),
            "recall": float(np.isin(np.arange(len(rows), len(every)), outliers).mean()),
            "precision": float((outliers >= len(rows)).mean()) if len(outliers) else None,
        },
        "label_errors": {
            "labels": half,
            "planted": len(wrong),
            "doubted": len(doubted),
            "recall": float(np.isin(wrong, doubted).mean()),
            "precision": float(np.isin(doubted, wrong).mean()) if len(doubted) else None,
            "precision_of_the_first_as_many_as_planted": float(np.isin(first, wrong).mean()) if len(first) else None,
        },
        "not_checked": list(result.not_checked),
    }


class PeakMemory:
    """The most memory the process had, not counting pages of mapped files, looked at fifty times a second."""

    def __init__(self) -> None:
        self.most_mb, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            text = Path("/proc/self/status").read_text(encoding="utf-8")
            anonymous = next(line for line in text.splitlines() if line.startswith("RssAnon"))
            self.most_mb = max(self.most_mb, int(anonymous.split()[1]) / 1024)


def a_million(source: Pixels, count: int, folder: Path) -> tuple[Pixels, dict[str, NDArray[np.int64]]]:
    """A mapped file of so many different images, crops of the source turned and mirrored, with faults planted."""
    path = folder / "rows.u8"
    rows = np.memmap(path, np.uint8, "w+", shape=(count, *source.shape[1:]))
    random = np.random.default_rng(0)
    for start in range(0, count, 4096):
        stop = min(count, start + 4096)
        images = torch.from_numpy(source[random.integers(0, len(source), stop - start)]).float()
        angle, scale = random.uniform(-0.6, 0.6, stop - start), random.uniform(0.45, 0.8, (2, stop - start))
        shift = random.uniform(-1, 1, (2, stop - start)) * (1 - scale)
        flip = random.choice([-1, 1], stop - start)
        theta = np.stack(
            [
                np.stack([scale[0] * np.cos(angle) * flip, -scale[1] * np.sin(angle), shift[0]], -1),
                np.stack([scale[0] * np.sin(angle) * flip, scale[1] * np.cos(angle), shift[1]], -1),
            ],
            1,
        )
        grid = torch.nn.functional.affine_grid(torch.from_numpy(theta).float(), list(images.shape), align_corners=False)
        made = torch.nn.functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
        made += torch.from_numpy(random.normal(0, 3, made.shape).astype(np.float32))
        rows[start:stop] = made.clamp(0, 255).byte().numpy()
    ids = random.permutation(count)
    part = count // 100
    exact, near, blank, first, second = (ids[at * part : (at + 1) * part] for at in range(5))
    rows[exact] = rows[first]
    bright = rows[second].astype(np.float32) * 1.05 + random.normal(0, 3, rows[second].shape)
    rows[near] = bright.clip(0, 255).astype(np.uint8)
    rows[blank] = random.integers(0, 256, (part, 1, 1, 1), dtype=np.uint8)
    rows.flush()
    planted = {"exact": exact, "first": first, "near": near, "second": second, "blank": blank}
    return np.memmap(path, np.uint8, "c", shape=rows.shape), planted


def cost(rows: Pixels, planted: dict[str, NDArray[np.int64]], size: int, *, features: bool) -> dict[str, Any]:
    """Processor seconds of each part of an audit, the most memory it took, and what it found of the planted faults."""
    labels = np.full(len(rows), -1)
    labels[:: len(rows) // 10_000 or 1] = np.arange(len(labels[:: len(rows) // 10_000 or 1])) % 10
    data = collection(rows, labels, np.full(len(rows), Part.TRAIN, np.uint8), size)
    seconds: dict[str, float] = {}
    with PeakMemory() as memory:
        before, start = time.process_time(), time.perf_counter()
        data = replace(data, copies=exact_copies(data.rows))
        seconds["exact copies"] = time.process_time() - before
        marks: dict[str, float] = {}

        def observe(what: str, *_: int) -> None:
            marks.setdefault(f"{what} begins", time.process_time())
            marks[f"{what} ends"] = time.process_time()

        before = time.process_time()
        result = audit(data, features=FeatureChecks() if features else None, observe=observe)
        seconds["audit"] = time.process_time() - before
        for what in ("looking at images", "comparing images", "finding features"):
            if f"{what} ends" in marks:
                seconds[what] = marks[f"{what} ends"] - marks[f"{what} begins"]
        before = time.process_time()
        split(data)
        seconds["split"] = time.process_time() - before
        wall_s = time.perf_counter() - start
    groups = result.groups
    found = {}
    for name, of in (("exact", "first"), ("near", "second")):
        one, other = groups[planted[name]], groups[planted[of]]
        found[f"recall of {name}"] = float(((one >= 0) & (one == other)).mean())
    found["recall of blank"] = float(np.isin(planted["blank"], result["blank"].rows).mean())
    return {
        "images": len(rows),
        "cpu_s": {name: round(value, 1) for name, value in seconds.items()},
        "wall_s": round(wall_s, 1),
        "images_per_cpu_s": round(len(rows) / (seconds["exact copies"] + seconds["audit"])),
        "most_memory_mb_without_mapped_file": round(memory.most_mb),
        "most_memory_mb_with_mapped_file": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "found": found,
        "counts": {one.kind: one.count for one in result.findings},
        "not_checked": list(result.not_checked),
    }


def main() -> None:
    """Measure everything and write `audit.json`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10 as image files")
    parser.add_argument("--more", type=Path, help="a folder of larger images, such as cats and dogs")
    parser.add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    begun, before = time.perf_counter(), time.process_time()
    train, classes, test, test_classes = cifar10(options.data)
    result: dict[str, Any] = {"at_size": {}}
    with tempfile.TemporaryDirectory() as folder:
        rows, planted = a_million(train, options.count, Path(folder))
        for features in (False, True):
            name = "with features" if features else "without features"
            result["at_size"][name] = cost(rows, planted, 32, features=features)
            print(name, result["at_size"][name], flush=True)
        del rows
    both = np.concatenate([train, test])
    parts = np.repeat(np.array([Part.TRAIN, Part.TEST], np.uint8), [len(train), len(test)])
    whole = looked_at(collection(both, np.concatenate([classes, test_classes]), parts, 32))
    result["cifar10_itself"] = {
        "images": len(both),
        "test_images_with_a_near_copy_in_training": len(np.unique(whole["near_leaks"].partners)),  # type: ignore[type-var]
        "test_images": len(test),
        "findings": {one.kind: one.count for one in whole.findings},
    }
    some = np.random.default_rng(0).permutation(len(train))[:20_000]
    sets = {"cifar10": (train[some], classes[some], 32)}
    foreign = {"cifar10": _digits(60, 32)}
    if options.more is not None:
        more = load(options.more)
        kept = np.flatnonzero(more.labels >= 0)
        sets["cats and dogs"] = (more.rows.numpy()[kept], more.labels[kept], more.size or 0)
        foreign["cats and dogs"] = _digits(60, more.rows.shape[-1])
    for name, (rows, labels, size) in sets.items():
        result[name] = {
            "images": len(rows),
            "copies": planted_copies(rows, labels, size),
            "flaws": planted_flaws(rows, labels, size),
            "features": planted_by_features(rows, labels, foreign[name], size),
        }
        print(name, result[name], flush=True)
    two = np.isin(classes, [CIFAR10_CLASSES.index("frog"), CIFAR10_CLASSES.index("ship")])
    pair = np.flatnonzero(two)[::3]
    codes = (classes[pair] == CIFAR10_CLASSES.index("ship")).astype(np.int64)
    result["frogs and ships"] = planted_by_features(train[pair], codes, _digits(20, 32), 32)
    print("frogs and ships", result["frogs and ships"], flush=True)
    seconds = {"cpu_s": round(time.process_time() - before, 1), "wall_s": round(time.perf_counter() - begun, 1)}
    write("audit", result, seeds=[0], n={"images": options.count, "cifar10": len(both)}, seconds=seconds)


def _digits(count: int, side: int) -> Pixels:
    """Handwritten digits as foreign images."""
    from sklearn.datasets import load_digits

    images = np.round(load_digits().images[:count] * (255 / 16)).astype(np.uint8)
    large = [np.asarray(Image.fromarray(image).convert("RGB").resize((side, side))) for image in images]
    return np.stack(large).transpose(0, 3, 1, 2)


if __name__ == "__main__":
    main()
