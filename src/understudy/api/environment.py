"""The environment of a run: what it was made with, and whether it may start here."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

from understudy.core.errors import UserError


def refuse_torchrun() -> None:
    """Make sure that this process is the only one of its call.

    Raises:
        UserError: It was started as one of several.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError(
            "train runs in one process and was started in several; call it without torchrun, or use understudy.fit"
        )


def environment() -> dict[str, Any]:
    """The command, the system and the versions, as `result.json` keeps them."""
    packages = ("understudy", "torch", "numpy", "scikit-learn")
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "system": platform.platform(),
        "versions": {name: version(name) for name in packages},
    }
