"""Made-up records with all that a page shows, built around the made-up figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.reports import made
from understudy.reports.record import ComparisonRecord, RunRecord

ENVIRONMENT = {
    "command": ["understudy"],
    "python": "3.11.7",
    "system": "Linux",
    "versions": {"understudy": "0.1.0", "torch": "2.11"},
}


def run_record(
    classes: list[str] | tuple[str, ...] = made.TEN, n: int = 1000, name: str = "photos-1", seed: int = 0, **more: Any
) -> RunRecord:
    """A finished run; `more` replaces keys of its result."""
    draw = np.random.default_rng(seed)
    result = made.result(classes, n, seed)
    k, images = len(classes), iter(range(10_000))
    result["data"] |= {
        "domain": "natural",
        "shape": [3, 32, 32],
        "test_source": "test",
        "content": "a",
        "test_content": "b",
    }
    result["training"] |= {"recipe": "plain", "network": "resnet_small", "optimizer": "muon"}
    for metrics in result["metrics"].values():
        metrics |= {"balanced_accuracy": 0.7, "macro_precision": 0.7, "macro_f1": 0.69, "auroc": 0.93}
        metrics |= {"top_k": {"3": 0.9}}
        for one in metrics["per_class"]:
            one |= {"precision": 0.7, "f1": 0.7, "recall": None if np.isnan(one["recall"]) else one["recall"]}
    for found in result["calibration"].values():
        found |= {"brier": 0.3, "nll": 0.8}
    for trained in result["runs"].values():
        trained |= {"stopped": "", "rounds": [], "best_step": 2000, "execution": {}}
    verdict = result["verdict"]
    shares = {run: result["metrics"][run]["accuracy"] for run in ("supervised", "fixmatch")}
    verdict |= {
        "baseline": {"name": "supervised", "accuracy": shares["supervised"]},
        "method": {"name": "fixmatch", "accuracy": shares["fixmatch"]},
        "sentences": ["The unlabeled images helped: so and so.", "The verdict applies to these two models only."],
        "smallest_gain": 0.02,
        "delivered": "method",
        "reason": "Delivered: the model trained with the unlabeled images.",
    }
    result |= {
        "mistakes": [
            {
                "name": f"test/{classes[at % k]}/{at}.jpg",
                "true": at % k,
                "predicted": (at + 1) % k,
                "confidence": 0.9,
                "picture": next(images),
                "neighbors": [{"name": "x", "label": at % k, "similarity": 0.8, "picture": 0}],
            }
            for at in range(24)
        ],
        "label_errors": [
            {
                "name": f"test/{at}.jpg",
                "given": at % k,
                "suggested": (at + 1) % k,
                "confidence": 0.97,
                "given_confidence": 0.01,
                "picture": next(images),
            }
            for at in range(3)
        ],
        "samples": {
            "labeled": [{"name": "a", "label": 0, "picture": next(images)}],
            "pool": [{"name": "b", "predicted": 1, "confidence": 0.8, "picture": next(images), "true": 0}],
        },
        "notes": ["100 of 1,000 labels were kept, and the others hidden."],
        "environment": ENVIRONMENT,
    }
    pictures = draw.integers(0, 256, (next(images), 64, 64, 3), dtype=np.uint8)
    labels = draw.integers(0, k, n)
    held_out: dict[str, Any] = {"names": np.arange(n).astype(str), "labels": labels}
    for run, share in shares.items():
        probabilities = draw.dirichlet([1.0] * k, n)
        right = draw.random(n) < share
        probabilities[right, labels[right]] += 2
        held_out[run] = probabilities
    return RunRecord(name, {**result, **more}, pictures, held_out)


def comparison_record(**options: Any) -> ComparisonRecord:
    """A finished comparison."""
    found = made.comparison(**options)
    for one in found["summaries"]:
        one |= {"seeds": found["seeds"], "worst": one["accuracy"] - 0.01, "steps": 100.0, "failed": []}
    found |= {
        "budget": "60cpu-s",
        "test_source": "The 2,000 test images measure accuracy and select nothing.",
        "chosen": {str(count): "fixmatch" for count in found["num_labels"]},
        "sentences": ["With 40 labels fixmatch gains."],
        "notes": ["Read."],
        "method_settings": {},
    }
    return ComparisonRecord("compare-1", found)
