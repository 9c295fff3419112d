"""Comparisons of methods on the user's own network, given as an object."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.recipes.small import OPTIONS, Watch, images, small
from understudy.comparison.ablation import ablate
from understudy.core.errors import ConfigError, RunFolderError, UserError


class Viewed(nn.Module):
    """A small network."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4 * 6 * 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
        out: Tensor = self.fc(x.view(len(x), -1))
        return out


class Templates(nn.Module):
    """A network without features."""

    def __init__(self) -> None:
        super().__init__()
        self.templates = nn.Parameter(torch.zeros(144, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x.flatten(1) @ self.templates
        return out


def test_compare__own_module(tmp_path: Path) -> None:
    module, watch = Viewed().double(), Watch()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = small(tmp_path, network=module, methods=["pseudo_label"], seeds=1, jobs=None, watch=watch)
    assert [run.method.partition("(")[0] for run in found.runs] == ["supervised", "pseudo_label"]
    assert all(run.figures is not None and not run.error for run in found.runs)
    assert any("Viewed is trained in float32" in message for message in watch.messages)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    again = Watch()
    small(tmp_path, network=Viewed(), methods=["pseudo_label"], seeds=1, jobs=None, watch=again)
    assert again.trained == []
    with torch.no_grad():
        module.fc.bias.add_(1)
    with pytest.raises(RunFolderError, match="holds a run that differs in network"):
        small(tmp_path, network=module, methods=["pseudo_label"], seeds=1, jobs=None)


def test_compare__own_module_is_checked_before_training() -> None:
    for jobs, network, error, sentence in (
        (2, Viewed, ConfigError, "jobs was given, and an own network that is given as an object is trained in this"),
        (1, Templates, UserError, "method comatch needs features, and Templates has no layer"),
        (1, 5, UserError, "network is 5; give a name"),
    ):
        watch = Watch()
        with pytest.raises(error, match=sentence):
            small(network=network, methods=["comatch"], jobs=jobs, watch=watch)
        assert watch.trained == []


def test_ablate__own_module() -> None:
    shared = {name: OPTIONS[name] for name in ("num_labels", "budget", "batch_size", "warmup")}
    with pytest.raises(UserError, match="method comatch needs features, and Templates"):
        ablate(images(), test=images(60, 1000), network=Templates, method="comatch", seeds=1, **shared)
