"""Train an image classifier from a few labeled images and a pile of unlabeled ones, and prove whether they helped."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from understudy.api import Result, evaluate, plan, train
    from understudy.auditing import audit
    from understudy.comparing import ablate, compare
    from understudy.core.budget import Budget
    from understudy.core.errors import Interrupted, UserError
    from understudy.data.load import load
    from understudy.engine.fit import Trained, fit
    from understudy.engine.stage import Settings, Stage
    from understudy.estimator import SemiSupervisedClassifier
    from understudy.recipes.comparison import Comparison
    from understudy.recipes.job import Job
    from understudy.serving.predictor import Predictions, Predictor
    from understudy.suggesting import suggest

_HOME = {
    "Budget": "core.budget",
    "Comparison": "recipes.comparison",
    "Interrupted": "core.errors",
    "Job": "recipes.job",
    "Predictions": "serving.predictor",
    "Predictor": "serving.predictor",
    "Result": "api",
    "SemiSupervisedClassifier": "estimator",
    "Settings": "engine.stage",
    "Stage": "engine.stage",
    "Trained": "engine.fit",
    "UserError": "core.errors",
    "ablate": "comparing",
    "audit": "auditing",
    "compare": "comparing",
    "evaluate": "api",
    "fit": "engine.fit",
    "load": "data.load",
    "plan": "api",
    "suggest": "suggesting",
    "train": "api",
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


class _Package(ModuleType):
    """This package, in which `audit` stays the function when the folder of that name is imported too."""

    @property
    def audit(self) -> Any:
        """The function that audits images."""
        return __getattr__("audit")

    @audit.setter
    def audit(self, folder: ModuleType) -> None:
        """Nothing: the folder is found by its full name."""


sys.modules[__name__].__class__ = _Package
