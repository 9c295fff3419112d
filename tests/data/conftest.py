"""Folders of tiny images that tests make for themselves, and a cache of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "cache"))


def picture(seed: int = 0, size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Image.Image:
    """A noise image of the given width, height and mode."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes images under a folder and returns the folder: make("root", "cats/1.png", ...)."""

    def write(root: str, *names: str, size: tuple[int, int] = (16, 16)) -> Path:
        for seed, name in enumerate(names):
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(seed, size).save(path)
        return tmp_path / root

    return write
