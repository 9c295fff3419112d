"""Made-up results of runs and comparisons: plausible, of any number of classes, the same at every call."""

from __future__ import annotations

from typing import Any

import numpy as np

HOSTILE = (
    "<script>alert(1)</script>",
    "<b>&\"'</b>",
    "$math$ and $",
    "$\\frac{1$",
    "חתול שחור",
    "قطة",
    "猫はとても可愛い動物なのでここに長い名前を書きます",
    "🐱👩‍👩‍👧‍👦",
    "long " * 40,
    "two\nlines\tand a tab",
    "",
    "\x00\x1b[31mred",
    "\u202eturned",
    "#1c2127 url(#x) id='x'",
    "café",
    "100 % %s {x}",
)
LONG = (
    "Tomato___Spider_mites Two-spotted_spider_mite",
    "Tomato___Tomato_Yellow_Leaf_Curl_Virus",
    "Corn_(maize)___Cercospora_leaf_spot Gray_leaf_spot",
    "Corn_(maize)___healthy",
    "Pepper,_bell___Bacterial_spot",
    "Orange___Haunglongbing_(Citrus_greening)",
    "Apple___Cedar_apple_rust",
    "Grape___Esca_(Black_Measles)",
    "Squash___Powdery_mildew",
    "Strawberry___Leaf_scorch",
)
DIGITS = tuple("0123456789")
TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "motion_blur"),
    *("fog", "brightness", "contrast", "pixelate", "jpeg"),
)
METHODS = (
    *("supervised", "fixmatch", "flexmatch", "freematch", "softmatch", "adamatch", "mean_teacher"),
    *("meta_pseudo_labels", "self_training", "debiased_pseudo_label"),
)
"""More than the palette has colors."""


def names(k: int) -> tuple[str, ...]:
    """Names of k classes."""
    return tuple(f"class number {place}" for place in range(k))


def result(classes: tuple[str, ...] = TEN, n: int = 1000, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A `result.json` with everything in it.

    Args:
        more: Keys to put in the place of the made ones; None takes one away.
    """
    draw = np.random.default_rng(seed)
    k = len(classes)
    support = draw.multinomial(n, draw.dirichlet([20.0] * k))
    runs = {"supervised": 0.68, "fixmatch": 0.78}
    accuracy = {name: _confusion(draw, support, share) for name, share in runs.items()}
    pool = draw.multinomial(20 * n, draw.dirichlet([5.0] * k))
    plain = {
        "format": 1,
        "data": {
            "name": "photos",
            "classes": list(classes),
            "num_labeled": 4 * k,
            "num_unlabeled": 20 * n,
            "num_validation": n // 2,
            "num_test": n,
            "labeled_per_class": [4] * k if k != 10 else [12, 8, 6, 5, 4, 4, 3, 2, 1, 0],
            "test_per_class": support.tolist(),
            "pool_per_class": pool.tolist(),
        },
        "training": {"method": "fixmatch", "seed": seed, "budget": "10min"},
        "verdict": _verdict(accuracy, n),
        "delivered": "fixmatch",
        "metrics": {name: _metrics(found, classes) for name, found in accuracy.items()},
        "calibration": {name: _calibration(draw, share, n) for name, share in runs.items()},
        "robustness": {name: _robustness(draw, share, n) for name, share in runs.items()},
        "runs": {name: _run(draw, share, name) for name, share in runs.items()},
        "pseudo_labels": _pseudo_labels(draw, pool),
        "pool": {name: _pool(draw, share, 20 * n, k) for name, share in runs.items()},
    }
    return {key: value for key, value in (plain | more).items() if value is not None}


def rounds(num: int, k: int, *, validated: bool = True) -> list[dict[str, Any]]:
    """The lines of a recipe in rounds."""
    draw = np.random.default_rng(num)
    lines = []
    for at in range(num):
        line = {
            "name": f"round {at}" if at else "teacher",
            "round": at,
            "validation_accuracy": 0.7 + 0.15 * (1 - 0.5**at) if validated else None,
            "returned": at == num - 1,
        }
        if at:
            line |= {
                "coverage": min(1, 0.5 + 0.12 * at),
                "pseudo_label_accuracy": 0.8 + 0.02 * at,
                "labels_changed": 0.3 / at,
                "pseudo_labels_per_class": draw.multinomial(5000, draw.dirichlet([3.0] * k)).tolist(),
            }
        lines.append(line)
    return lines


def comparison(
    num_labels: tuple[int, ...] = (40, 250, 4000), seeds: int = 3, methods: tuple[str, ...] = METHODS
) -> dict[str, Any]:
    """A `comparison.json` of methods x labels x seeds."""
    draw = np.random.default_rng(len(num_labels) + 10 * seeds)
    runs: list[dict[str, Any]] = []
    summaries: list[dict[str, Any]] = []
    for labels in num_labels:
        base = 0.55 + 0.1 * np.log10((labels or 20_000) / 40)
        for place, method in enumerate(methods):
            gain = 0.0 if not place else 0.12 * np.sin(place) / (1 + np.log10((labels or 20_000) / 40))
            found = np.clip(base + gain + 0.015 * draw.standard_normal(seeds), 0, 1).tolist()
            for seed, value in enumerate(found):
                figures = {"accuracy": value, "num_test": 2000, "num_labeled": labels or 20_000}
                runs.append({"method": method, "num_labels": labels, "seed": seed, "figures": figures, "error": ""})
            mean, wide = float(np.mean(found)), 0.04 / seeds**0.5
            summaries.append(
                {
                    "method": method,
                    "num_labels": labels,
                    "accuracy": mean,
                    "interval": _interval(mean - wide, mean + wide) if seeds > 1 else None,
                    "gain": _gain(mean - summaries[-place]["accuracy"], seeds) if place else None,
                    "cpu_s": 600 + 40.0 * place,
                    "wall_s": 300 + 20.0 * place,
                }
            )
    return {
        "format": 1,
        "methods": list(methods),
        "num_labels": list(num_labels),
        "seeds": list(range(seeds)),
        "cost_clock": "cpu_s",
        "runs": runs,
        "summaries": summaries,
    }


def tried(count: int = 24) -> list[tuple[dict[str, Any], float]]:
    """Settings of a search, and how accurate each was."""
    draw = np.random.default_rng(count)
    return [
        (
            {
                "optimizer.learning_rate": float(10 ** draw.uniform(-4, -1)),
                "method.threshold": float(draw.choice([0.8, 0.9, 0.95])),
                "network": str(draw.choice(["resnet18", "wide_resnet28_2", "mobilenet"])),
                "method.mu": int(draw.integers(1, 8)),
                "seed": 0,
            },
            float(draw.uniform(0.6, 0.9)),
        )
        for _ in range(count)
    ]


STEPS: list[tuple[str, float, Any]] = [
    ("supervised", 0.612, {"low": 0.60, "high": 0.62}),
    ("+ pseudo-labels", 0.701, {"low": 0.69, "high": 0.712}),
    ("+ strong augmentation of the unlabeled images", 0.772, {"low": 0.765, "high": 0.78}),
    ("+ distribution alignment", 0.768, None),
    ("+ weight averaging", 0.803, {"low": 0.79, "high": 0.815}),
]


def _interval(low: float, high: float) -> dict[str, float]:
    return {"low": float(low), "high": float(high), "level": 0.95}


def _confusion(draw: np.random.Generator, support: Any, share: float) -> Any:
    k = len(support)
    rows = []
    for place, count in enumerate(support):
        wrong = draw.dirichlet([0.3] * k)
        wrong[place] = 0
        wrong = wrong / max(wrong.sum(), 1e-9) if k > 1 else wrong
        own = float(np.clip(share + 0.12 * draw.standard_normal(), 0.05, 0.99))
        mixed = (1 - own) * wrong
        mixed[place] = 1 - mixed.sum()
        rows.append(draw.multinomial(count, mixed))
    return np.array(rows)


def _metrics(found: Any, classes: Any) -> dict[str, Any]:
    n, right, support = int(found.sum()), np.diag(found), found.sum(1)
    accuracy = float(right.sum() / n)
    width = 1.96 * (accuracy * (1 - accuracy) / n) ** 0.5
    recall = [float(a / b) if b else float("nan") for a, b in zip(right, support, strict=True)]
    return {
        "n": n,
        "accuracy": accuracy,
        "accuracy_interval": _interval(accuracy - width, accuracy + width),
        "per_class": [
            {"name": name, "support": int(count), "recall": value}
            for name, count, value in zip(classes, support, recall, strict=True)
        ],
        "confusion": found.tolist(),
    }


def _verdict(accuracy: dict[str, Any], n: int) -> dict[str, Any]:
    before, after = (float(np.trace(found) / n) for found in accuracy.values())
    between = _interval(after - before - 0.035, after - before + 0.035)
    return {
        "outcome": "helped",
        "comparison": {"n": n, "difference": after - before, "interval": between, "p_value": 0.001},
        "cost_clock": "cpu_s",
    }


def _calibration(draw: np.random.Generator, share: float, n: int) -> dict[str, Any]:
    counts = draw.multinomial(n, np.arange(15) ** 2 / (np.arange(15) ** 2).sum())
    bins = []
    for at, count in enumerate(counts):
        middle = (at + 0.5) / 15
        bins.append(
            {
                "low": at / 15,
                "high": (at + 1) / 15,
                "n": int(count),
                "confidence": middle if count else None,
                "accuracy": float(np.clip(middle * share / 0.8, 0, 1)) if count else None,
            }
        )
    return {"n": n, "ece": 0.113, "bins": bins, "temperature": 1.73, "num_fitted": 500, "scaled_ece": 0.031}


def _robustness(draw: np.random.Generator, share: float, n: int) -> dict[str, Any]:
    found = {
        name: [max(0.1, share - draw.uniform(0.01, 0.09) * strength) for strength in range(1, 6)]
        for name in CORRUPTIONS
    }
    return {"n": n, "clean": share, "accuracy": found, "mean": float(np.mean(list(found.values())))}


def _run(draw: np.random.Generator, share: float, name: str) -> dict[str, Any]:
    lines = []
    for at in range(1, 21):
        line = {"step": 100 * at, "progress": at / 20, "cpu_s": 30.0 * at, "wall_s": 15.0 * at}
        line |= {"supervised": 2.3 * 0.8**at, "validation_accuracy": share * (1 - 0.8**at) + 0.01 * draw.random()}
        if name != "supervised":
            line |= {"unsupervised": 0.3 + 0.2 * np.sin(at / 4), "mask_ratio": at / 22}
        lines.append(line)
    return {"steps": 2000, "cost": {"cpu_s": 600.0, "wall_s": 300.0}, "history": lines}


def _pseudo_labels(draw: np.random.Generator, pool: Any) -> list[dict[str, Any]]:
    lines = []
    for at in range(1, 21):
        counts = np.floor(pool * (0.4 + 0.025 * at) * draw.uniform(0.5, 1.2, len(pool))).astype(int)
        right = np.floor(counts * draw.uniform(0.7, 1, len(pool))).astype(int)
        coverage, accuracy = 0.3 + 0.03 * at, 0.75 + 0.01 * at
        lines.append(
            {
                "progress": at / 20,
                "coverage": coverage,
                "pseudo_label_accuracy": accuracy,
                "counts": counts.tolist(),
                "right": right.tolist(),
            }
        )
    return lines


def _pool(draw: np.random.Generator, share: float, n: int, k: int) -> dict[str, Any]:
    weights = np.arange(1, 21) ** (8 * share - 3)
    return {
        "n": n,
        "per_class": draw.multinomial(n, draw.dirichlet([4.0] * k)).tolist(),
        "confidence": draw.multinomial(n, weights / weights.sum()).tolist(),
        "accuracy": share,
    }


def _gain(difference: float, seeds: int) -> dict[str, Any]:
    p_value = float(np.exp(-40 * abs(difference))) if seeds > 1 else None
    return {
        "num_seeds": seeds,
        "difference": difference,
        "interval": _interval(difference - 0.03, difference + 0.03) if seeds > 1 else None,
        "test": "paired t" if seeds > 1 else "McNemar",
        "p_value": p_value,
        "p_holm": p_value and min(1.0, 3 * p_value),
    }
