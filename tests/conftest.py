"""Every test runs with shapes checked, one thread, fixed seeds and a cache of its own."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import jaxtyping
import numpy as np
import pytest
import torch
from beartype import beartype
from hypothesis import settings
from PIL import Image


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, refusing arguments and results that are not of the array shapes and types in its signature.

    Other annotations are left to the type checker: what users pass wrongly must meet our own error messages.
    """
    function.__annotations__ = {
        name: hint if _is_array(hint) else Any for name, hint in function.__annotations__.items()
    }
    return beartype(function)


def _is_array(hint: Any) -> bool:
    return (isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray)) or any(map(_is_array, get_args(hint)))


# Checks every call from here on; installed before anything imports the package.
jaxtyping.install_import_hook("understudy", f"{__name__}.check_shapes")

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def _cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache that starts empty and is not the user's, for this process and those it starts."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDERSTUDY_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True)
def _blank_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave figures blank in tests of runs, of which drawing is a third, but where the mark `drawn` asks for them."""
    if request.path.parent.name in _FIGURES_LEFT_BLANK and request.node.get_closest_marker("drawn") is None:
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", _save_blank)


_FIGURES_LEFT_BLANK = ("cli", "recipes", "planning")


def _save_blank(figure: Any, target: Any, *, format: str, **options: Any) -> None:  # noqa: A002
    if format == "svg":
        target.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>')
    else:
        Image.new("RGB", (1, 1)).save(target, format)


def pytest_runtest_setup() -> None:
    """One thread and the same draws, whichever tests ran before in this process."""
    torch.set_num_threads(1)
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow training runs unless `-m` asks for them, and skip tests of a device that is not there."""
    if "convergence" not in config.option.markexpr:
        slow = [item for item in items if item.get_closest_marker("convergence")]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
