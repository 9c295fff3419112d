"""Own networks: what runs in plain PyTorch trains here, and what cannot be trained is refused before training."""

from __future__ import annotations

import copy
import threading
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from understudy.core.errors import UserError
from understudy.models import as_module, build, load_state, prepared
from understudy.models.nets import Execution, Networks, running

SHAPE = (3, 32, 32)


class SimpleCNN(nn.Module):
    """The network of a widely read article on semi-supervised learning, with its `view`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(64 * 8 * 8, 128), nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.conv2(self.pool(F.relu(self.conv1(x))))))
        out: Tensor = self.fc2(F.relu(self.fc1(x.view(-1, 64 * 8 * 8))))
        return out


def small(*middle: nn.Module, head: nn.Module | None = None) -> nn.Sequential:
    last = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)) if head is None else (head,)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), *middle, *last)


class Wrapped(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.body, self.kind = small(), kind

    def forward(self, x: Tensor) -> object:
        y = self.body(x)
        if self.kind == "train only":
            return (y, y + 1) if self.training else y
        if self.kind == "dict":
            return {"aux": y + 1, "logits": y}
        return y.detach() if self.kind == "detached" else y.softmax(1)


def trained_step(network: nn.Module) -> None:
    """One training step as a run makes it: channels last, with an average beside."""
    nets = Networks(model=network.train())
    nets.execution = Execution(channels_last=True)
    (logits,) = nets.logits(torch.rand(4, *SHAPE))
    assert logits.shape == (4, 10)
    F.cross_entropy(logits, torch.zeros(4, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    assert any(parameter.grad is not None for parameter in network.parameters())
    assert nets.predict(torch.rand(4, *SHAPE)).shape == (4, 10)


def test_prepared__view_runs_channels_last() -> None:
    module = SimpleCNN()
    assert sum(parameter.numel() for parameter in module.parameters()) == 545_098
    x = torch.rand(4, *SHAPE)
    with pytest.raises(RuntimeError, match="view"), running(Execution(channels_last=True), x) as laid_out:
        module(laid_out)
    network, notes = prepared(module, SHAPE, 10)
    assert len(notes) == 1
    assert "channels-last" in notes[0]
    trained_step(network)
    assert not module._forward_pre_hooks
    assert list(network.state_dict()) == list(module.state_dict())


@pytest.mark.parametrize(
    "make",
    [
        lambda: small(nn.ReLU(inplace=True), nn.Dropout(0.5)),
        lambda: small(nn.GroupNorm(2, 8), nn.LeakyReLU(0.2)),
        lambda: small(nn.LayerNorm([8, 15, 15])),
        lambda: small(head=nn.Sequential(nn.Conv2d(8, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())),
        lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)),
        lambda: torch.compile(small(), backend="eager"),
        lambda: nn.DataParallel(small()),
        lambda: small().double(),
        lambda: small().half(),
        lambda: small(nn.BatchNorm2d(8)).bfloat16(),
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3)), small()[1], small()[2:]),
        lambda: nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 3)), small()[1], small()[2:]),
        lambda: Wrapped("train only"),
        lambda: Wrapped("dict"),
    ],
    ids=["dropout", "group norm", "layer norm", "conv head", "lazy", "compiled", "parallel", "double", "half",
         "bfloat16", "weight norm", "spectral norm", "auxiliary", "dict"],
)  # fmt: skip
def test_prepared__trains_what_plain_pytorch_trains(make: object) -> None:
    assert callable(make)
    network, _ = prepared(make(), SHAPE, 10)
    assert not any("_orig_mod" in name for name in network.state_dict())
    trained_step(network)


def test_prepared__takes_the_main_output() -> None:
    module = Wrapped("dict").eval()
    x = torch.rand(2, *SHAPE)
    network, _ = prepared(module, SHAPE, 10)
    with torch.no_grad():
        assert torch.equal(network.eval()(x), module.body(x))


def test_prepared__leaves_a_network_that_needs_nothing_as_it_is() -> None:
    module = small(nn.BatchNorm2d(8))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network, notes = prepared(module, SHAPE, 10)
    assert not notes
    assert not network._forward_pre_hooks
    for state in (module.state_dict(), network.state_dict()):
        assert all(torch.equal(value, before[name]) for name, value in state.items())


def test_prepared__refuses_what_cannot_be_trained() -> None:
    locked = small()
    locked.lock = threading.Lock()
    frozen = small().requires_grad_(False)
    cases = [
        (locked, "cannot be copied"),
        (frozen, "frozen"),
        (small().to("meta"), "meta"),
        (Wrapped("detached"), "no gradient"),
        (Wrapped("softmax"), "probabilities"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 10)), "does not take"),
    ]
    for module, words in cases:
        with pytest.raises(UserError, match=words):
            prepared(module, SHAPE, 10)


def test_prepared__gives_the_network_the_range_of_the_data_set() -> None:
    module = small()
    x = torch.rand(4, *SHAPE)
    network, notes = prepared(module, SHAPE, 10, {"float": (-1.0, 1.0)})
    assert notes == ("Sequential gets pixels from -1 to 1, as the data set gives them.",)
    assert torch.allclose(copy.deepcopy(network)(x), module(2 * x - 1), atol=1e-6)
    for ranges in (None, {}, {"float": (0.0, 1.0)}, {"uint16": (0.0, 4095.0)}):
        network, notes = prepared(module, SHAPE, 10, ranges)
        assert not notes
        assert torch.equal(network(x), module(x))


def test_as_module__uses_or_refuses() -> None:
    assert isinstance(as_module(SimpleCNN), SimpleCNN)
    assert isinstance(as_module(lambda: small()), nn.Sequential)
    for given in (3, None, [small()], Wrapped, lambda: 3, "nowhere_at_all:make"):
        with pytest.raises(UserError, match="network"):
            as_module(given)


def test_build__code_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "nets.py"
    file.write_text("from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n")
    network = build(f"{file}:make", shape=SHAPE, num_classes=10)
    assert network(torch.rand(2, *SHAPE)).shape == (2, 10)
    with pytest.raises(UserError, match="has no 'mak'"):
        build(f"{file}:mak", shape=SHAPE, num_classes=10)


def test_load_state__keeps_the_types_of_the_module() -> None:
    module = small().half()
    network, _ = prepared(module, SHAPE, 10)
    with torch.no_grad():
        network[0].bias.fill_(0.5)  # type: ignore[index, union-attr, operator]
    load_state(torch.compile(module, backend="eager"), network.state_dict())  # type: ignore[arg-type]
    assert module[0].bias.dtype == torch.float16
    assert (module[0].bias == 0.5).all()
