"""The examples of the page about own networks run as they stand, with a shorter budget."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "own-network.md"


def test_own_network__examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labels = np.arange(60) % 10
    images = (np.random.default_rng(0).integers(0, 60, (60, 8, 8)) + 15 * labels[:, None, None]).astype(np.uint8)
    names: dict[str, Any] = {"X": images, "y": np.where(np.arange(60) < 40, labels, -1)}
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert 'budget="60s"' in example
        short = example.replace('budget="60s"', 'budget="4steps", batch_size=8, plan=False, quiet=True')
        exec(compile(short, str(PAGE), "exec"), names)
    assert type(names["result"].model).__name__ == "Exported"
    assert names["result"].predict(images[:1]).probabilities.shape == (1, 10)
