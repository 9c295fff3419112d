"""Predictions of listed files: a row for each path, in the order of the list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from understudy.core.errors import UnderstudyWarning
from understudy.serving.predictor import Predictor


class Brightness(nn.Module):
    """Class 1 for a bright image."""

    def forward(self, images: Tensor) -> Tensor:
        bright = images.mean((1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], 1)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor(Brightness().eval(), "module:Brightness", ("dark", "bright"), (1, 8, 8), "digits")


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A dark and a bright image."""
    found = str(tmp_path / "0.png"), str(tmp_path / "1.png")
    for path, value in zip(found, (0, 255), strict=True):
        Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)
    return found


def test_predict__path_listed_twice_has_two_rows(predictor: Predictor, files: tuple[str, str]) -> None:
    dark, bright = files
    listed = [bright, dark, dark, bright]
    for source in (listed, [Path(path) for path in listed], pd.Series(listed), pd.DataFrame({"path": listed})):
        found = predictor.predict(source)
        assert found.labels == ("bright", "dark", "dark", "bright")
        assert found.names == tuple(listed)
        assert len(found) == 4
    table = pd.DataFrame({"path": [dark, dark], "label": ["cat", "dog"]})  # labels are not used, so may differ
    assert predictor.predict(table).labels == ("dark", "dark")


def test_predict__missing_file_is_warned_of(predictor: Predictor, files: tuple[str, str]) -> None:
    sentence = r"1 of 3 images could not be used and has no row; see `quarantine`: /nope.jpg \(no such file\)$"
    with pytest.warns(UnderstudyWarning, match=sentence):
        found = predictor.predict([files[1], "/nope.jpg", files[0]])
    assert found.labels == ("bright", "dark")
    assert found.quarantine == (("/nope.jpg", "no such file"),)
    with pytest.warns(UnderstudyWarning, match=r"7 of 8 images could not .* and have no row; .* and 2 more$"):
        assert len(predictor.predict([files[0], *(f"/nope{number}.jpg" for number in range(7))])) == 1
