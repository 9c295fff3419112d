"""The cache of features: right, computed once, gone on with after a kill, and refused in time."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn

from tests.contract.tiny import tiny
from understudy.core.budget import Budget
from understudy.core.errors import UserError
from understudy.core.files import write_json
from understudy.data.training_data import TrainingData
from understudy.engine import predict as predict_module
from understudy.models import build, logits_and_features
from understudy.recipes.parts import features as module
from understudy.recipes.parts.features import frozen_features


def some() -> tuple[nn.Module, TrainingData]:
    data = tiny(labeled=6, unlabeled=30).data
    torch.manual_seed(0)
    return build("cnn", shape=data.row_shape, num_classes=3).eval(), data


def no_forward() -> Any:
    """A patch that makes any use of the network an error."""
    return mock.patch.object(module, "features", side_effect=AssertionError("a network was run"))


def test_frozen_features__are_what_enters_the_head(tmp_path: Path) -> None:
    network, data = some()
    ids = np.array([5, 1, 30, 7])
    x = data.render(ids, "plain", device=torch.device("cpu"))
    with torch.no_grad():
        expected = logits_and_features(network, x)[1]
    for folder in (None, tmp_path):
        found = frozen_features(network, data, ids, folder=folder)
        assert found.rows.shape == (len(data.rows), 128)
        assert torch.allclose(found.rows[torch.from_numpy(ids)], expected, atol=1e-6)
        assert found.num_computed == 4


def test_frozen_features__second_call_runs_no_network(tmp_path: Path) -> None:
    network, data = some()
    first = frozen_features(network, data, data.pool, folder=tmp_path)
    with no_forward():
        again = frozen_features(network, data, data.labeled, folder=tmp_path)
    assert (again.num_computed, again.key) == (0, first.key)
    assert torch.equal(again.rows, first.rows)
    assert 0 < again.cost_before.cpu_s < frozen_features(network, data, data.pool, folder=tmp_path).cost_before.cpu_s


def test_frozen_features__other_labels_and_heads_find_the_same(tmp_path: Path) -> None:
    network, data = some()
    frozen_features(network, data, data.pool, folder=tmp_path)
    network.head = nn.Linear(128, 7)
    other = dataclasses.replace(data, targets=data.targets.flip(0), content="other labels")
    with no_forward():
        frozen_features(network, other, data.pool, folder=tmp_path)


@pytest.mark.parametrize("change", ["weights", "rows", "layers", "dtype"])
def test_frozen_features__anything_else_is_computed_anew(tmp_path: Path, change: str) -> None:
    network, data = some()
    before = frozen_features(network, data, data.labeled, folder=tmp_path)
    execution = None
    if change == "weights":
        with torch.no_grad():
            next(network.parameters()).mul_(1.001)
    elif change == "rows":
        rows = data.rows.clone()
        rows[-1, 0, 0, 0] ^= 1
        data = dataclasses.replace(data, rows=rows)
    elif change == "layers":
        network.features[2] = nn.AvgPool2d(2)  # type: ignore[index, operator]
    else:
        execution = module.Execution(dtype="bfloat16")
    after = frozen_features(network, data, data.labeled, folder=tmp_path, execution=execution)
    assert after.num_computed == len(data.labeled)
    assert after.key != before.key


def test_frozen_features__only_new_rows_are_computed(tmp_path: Path) -> None:
    network, data = some()
    frozen_features(network, data, data.labeled, folder=tmp_path)
    seen: list[int] = []
    real = predict_module.features

    def counted(network: Any, data: Any, ids: Any, **options: Any) -> Any:
        seen.extend(ids)
        return real(network, data, ids, **options)

    with mock.patch.object(module, "features", counted):
        found = frozen_features(network, data, data.pool, folder=tmp_path)
    assert sorted(seen) == sorted(data.unlabeled)
    whole = frozen_features(network, data, data.pool)
    assert torch.allclose(found.rows, whole.rows, atol=1e-6)


_VICTIM = """
import os, sys
from pathlib import Path
from tests.recipes.test_features import some
from understudy.recipes.parts import features as module
network, data = some()
module._ROWS_AT_ONCE, module._SAVE_S = 4, 0.0
real, calls = module.features, []
def dying(*arguments, **options):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), 9)
    return real(*arguments, **options)
module.features = dying
module.frozen_features(network, data, data.pool, folder=Path(sys.argv[1]))
"""


def test_frozen_features__killed_goes_on(tmp_path: Path) -> None:
    code = subprocess.run([sys.executable, "-c", _VICTIM, str(tmp_path)], check=False).returncode
    assert code == -9
    network, data = some()
    found = frozen_features(network, data, data.pool, folder=tmp_path)
    assert found.num_computed == len(data.pool) - 12
    assert torch.allclose(found.rows, frozen_features(network, data, data.pool).rows, atol=1e-6)


@pytest.mark.parametrize("name", ["features.npy", "done.npy", "cost.json"])
def test_frozen_features__damaged_file_is_made_anew(tmp_path: Path, name: str) -> None:
    network, data = some()
    first = frozen_features(network, data, data.pool, folder=tmp_path)
    path = tmp_path / first.key / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    found = frozen_features(network, data, data.pool, folder=tmp_path)
    assert found.num_computed == len(data.pool)
    assert torch.allclose(found.rows, frozen_features(network, data, data.pool).rows, atol=1e-6)


def test_frozen_features__two_at_once_compute_once(tmp_path: Path) -> None:
    network, data = some()
    counts: list[int] = []

    def run() -> None:
        counts.append(frozen_features(network, data, data.pool, folder=tmp_path).num_computed)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == [0, len(data.pool)]


def test_frozen_features__budget_too_short(tmp_path: Path) -> None:
    network, data = some()
    with pytest.raises(UserError, match=r"features of 36 rows take about .* of time and the budget leaves 0\.0 s"):
        frozen_features(network, data, data.pool, folder=tmp_path, budget=Budget(wall_s=1e-6))
    with pytest.raises(UserError, match=r"of processor time and the budget leaves .* longer budget, a smaller network"):
        frozen_features(network, data, data.pool, folder=tmp_path, budget=Budget(cpu_s=1e-6))


def test_frozen_features__what_was_found_is_paid(tmp_path: Path) -> None:
    network, data = some()
    key = frozen_features(network, data, data.pool, folder=tmp_path).key
    write_json(tmp_path / key / "cost.json", {"wall_s": 36.0, "cpu_s": 72.0})
    found = frozen_features(network, data, data.labeled, folder=tmp_path)
    assert (found.cost_before.wall_s, found.cost_before.cpu_s) == pytest.approx((6.0, 12.0))
    with pytest.raises(UserError, match=r"take about 6\.0 s of time and the budget leaves 5\.0 s"):
        frozen_features(network, data, data.labeled, folder=tmp_path, budget=Budget(wall_s=5.0))


def test_frozen_features__no_head() -> None:
    _, data = some()
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UserError, match=r"Sequential has no nn\.Linear whose input could be its features"):
        frozen_features(network, data, data.labeled)


def test_frozen_features__full_disk(tmp_path: Path) -> None:
    network, data = some()
    error = OSError(28, "No space left on device")
    with mock.patch.object(module.os, "posix_fallocate", side_effect=error), pytest.raises(UserError, match="is full"):
        frozen_features(network, data, data.pool, folder=tmp_path)
