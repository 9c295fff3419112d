"""Train an image classifier from a few labeled and many unlabeled images, and prove whether those helped."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.api.audit import audit
    from understudy.api.compare import Comparison, ablate, compare
    from understudy.api.estimator import SemiSupervisedClassifier
    from understudy.api.evaluate import evaluate
    from understudy.api.result import Result
    from understudy.api.split import split
    from understudy.api.suggest import suggest
    from understudy.api.train import plan, train
    from understudy.core.budget import Budget
    from understudy.core.errors import Interrupted, UserError
    from understudy.data.load import load
    from understudy.engine.finalize import Trained
    from understudy.engine.fit import fit
    from understudy.engine.stage import Settings, Stage
    from understudy.experiment.job import Job
    from understudy.serving.predictor import Predictions, Predictor

_HOME = {
    "Budget": "core.budget",
    "Comparison": "api.compare",
    "Interrupted": "core.errors",
    "Job": "experiment.job",
    "Predictions": "serving.predictor",
    "Predictor": "serving.predictor",
    "Result": "api.result",
    "SemiSupervisedClassifier": "api.estimator",
    "Settings": "engine.stage",
    "Stage": "engine.stage",
    "Trained": "engine.finalize",
    "UserError": "core.errors",
    "ablate": "api.compare",
    "audit": "api.audit",
    "compare": "api.compare",
    "evaluate": "api.evaluate",
    "fit": "engine.fit",
    "load": "data.load",
    "plan": "api.train",
    "split": "api.split",
    "suggest": "api.suggest",
    "train": "api.train",
}

__all__ = [
    "Budget",
    "Comparison",
    "Interrupted",
    "Job",
    "Predictions",
    "Predictor",
    "Result",
    "SemiSupervisedClassifier",
    "Settings",
    "Stage",
    "Trained",
    "UserError",
    "ablate",
    "audit",
    "compare",
    "evaluate",
    "fit",
    "load",
    "plan",
    "split",
    "suggest",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that importing the package costs no import of torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'understudy' has no attribute {name!r}")
    return getattr(importlib.import_module(f"understudy.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
