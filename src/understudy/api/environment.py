"""The environment of a run: command, system and versions, and the check that it is a single process."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

from understudy.core.errors import UserError


def refuse_torchrun() -> None:
    """Refuse to train as one of several processes.

    Raises:
        UserError: torchrun started this process as one of several.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(
            "train runs in one process and was started in several; call it without torchrun, or use understudy.fit"
        )


def environment() -> dict[str, Any]:
    """Command, Python, system and package versions, for `result.json`."""
    packages = ("understudy", "torch", "numpy", "scikit-learn")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: version(name) for name in packages},
    }
