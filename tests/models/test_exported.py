"""Networks saved by `torch.export`: both modes, training, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.contract.tiny import different, same_execution, stage, unchecked_shapes
from understudy.core.errors import UserError
from understudy.engine.fit import fit
from understudy.methods.supervised import Supervised
from understudy.models import as_module, build
from understudy.models.exported import Exported

SHAPE = (1, 8, 8)


def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 3)
    )


def saved(path: Path, network: nn.Module, *, dynamic: bool = True) -> str:
    dimensions = ({0: torch.export.Dim("batch")},) if dynamic else None
    torch.export.save(torch.export.export(network, (torch.rand(2, *SHAPE),), dynamic_shapes=dimensions), path)
    return str(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A classifier exported in evaluation mode."""
    return saved(tmp_path_factory.mktemp("exported") / "network.pt2", classifier().eval())


def test_exported__computes_what_the_network_did(file: str) -> None:
    network, original, x = as_module(file), classifier().eval(), torch.rand(5, *SHAPE)
    assert isinstance(network, Exported)
    assert torch.allclose(network(x), original(x), atol=1e-6)
    assert network(x[:1]).shape == (1, 3)


def test_exported__switches_dropout_and_batch_norm(file: str) -> None:
    network, x = as_module(file), torch.rand(5, *SHAPE)
    means = network.state_dict()["program.1.running_mean"]
    before = means.clone()
    assert torch.equal(network(x), network(x))
    assert torch.equal(means, before)
    assert not torch.equal(network.train()(x), network(x))
    assert not torch.equal(means, before)
    other = copy.deepcopy(network).eval()
    assert torch.equal(other(x), other(x))
    assert network.training


def test_exported__trains(file: str) -> None:
    network = build(file, shape=SHAPE, num_classes=3)
    with same_execution(), unchecked_shapes():
        trained = fit(stage(Supervised(ema_decay=0.5), steps=8, net=network)).model
    moved = different(dict(trained.state_dict()), dict(network.state_dict()))
    assert {"program.0.weight", "program.1.running_mean", "program.5.bias"} <= set(moved)
    x = torch.rand(5, *SHAPE)
    assert torch.equal(trained(x), trained(x))


def test_exported__refuses(tmp_path: Path) -> None:
    for name, network, dynamic, sentence in (
        ("fixed.pt2", classifier().eval(), False, "was exported for batches of 2 alone; export it with a dynamic"),
        ("train.pt2", classifier(), True, "was exported in training mode; call eval() on the network before"),
    ):
        with pytest.raises(UserError) as caught:
            as_module(saved(tmp_path / name, network, dynamic=dynamic))
        assert sentence in str(caught.value)
    (tmp_path / "text.pt2").write_text("no program")
    with pytest.raises(UserError, match="which is no program of torch"):
        as_module(str(tmp_path / "text.pt2"))
    with pytest.raises(UserError, match="and there is no such file; check the path"):
        as_module(str(tmp_path / "missing.pt2"))
