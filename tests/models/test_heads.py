"""Heads and features of our networks and of the user's, and the sentences a wrong network earns."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from understudy.core.errors import UserError
from understudy.models import build, check_network, feature_width, find_head, logits_and_features, names
from understudy.models.heads import layers_named


class Custom(nn.Module):
    """A module of the user's with its own names, a BatchNorm, a Dropout, and any ending."""

    def __init__(self, width: int = 5, ending: Callable[[Tensor], object] = lambda logits: logits) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.norm = nn.BatchNorm2d(6)
        self.drop = nn.Dropout(0.5)
        self.out = nn.Linear(6, width)
        self.ending = ending

    def forward(self, x: Tensor) -> object:
        return self.ending(self.out(self.drop(self.norm(self.conv(x)).mean((2, 3)))))


@pytest.mark.parametrize("name", names())
def test_logits_and_features__are_the_heads_output_and_input(name: str) -> None:
    shape = (2,) if name == "mlp" else (3, 32, 32)
    network, x = build(name, shape=shape, num_classes=4).eval(), torch.rand(3, *shape)
    logits, features = logits_and_features(network, x)
    assert torch.equal(logits, network(x))
    assert features.shape == (3, feature_width(network))
    assert logits.grad_fn is not None
    assert features.grad_fn is not None
    assert find_head(network)[1].out_features == 4


def test_logits_and_features__of_a_users_module_leaves_no_hook() -> None:
    network, x = Custom().eval(), torch.rand(2, 3, 8, 8)
    logits, features = logits_and_features(network, x)
    assert torch.equal(network.out(features), logits)
    assert find_head(network) == ("out", network.out)
    assert not network.out._forward_pre_hooks


def test_logits_and_features__leaves_no_hook_when_the_forward_fails() -> None:
    network = Custom()
    with pytest.raises(RuntimeError):
        logits_and_features(network, torch.rand(2, 1, 8, 8))
    assert not network.out._forward_pre_hooks


def test_find_head__asks_for_features_when_there_is_no_linear_layer() -> None:
    with pytest.raises(UserError, match=r"Sequential has no nn.Linear .* let its logits come from an nn.Linear on one"):
        find_head(nn.Sequential(nn.Conv2d(3, 4, 3)))


def test_logits_and_features__asks_for_features_when_the_head_is_not_called() -> None:
    network = Custom()
    network.unused = nn.Linear(3, 3)
    with pytest.raises(UserError, match=r"'unused', is not called for a batch of 2, .* defined after all other"):
        logits_and_features(network, torch.rand(2, 3, 8, 8))


def test_logits_and_features__asks_for_features_when_the_head_gets_no_vectors() -> None:
    network = nn.Sequential(nn.Flatten(2), nn.Linear(64, 4))
    with pytest.raises(UserError, match=r"'1', gets \(2, 3, 64\) for a batch of 2"):
        logits_and_features(network, torch.rand(2, 3, 8, 8))


def test_check_network__leaves_the_network_as_it_was() -> None:
    network = Custom()
    network.norm.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    check_network(network, (3, 8, 8), 5)
    assert [network.training, network.norm.training, network.drop.training] == [True, False, True]
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


class Restless(nn.Module):
    """Draws noise and counts its calls even in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return torch.randn(len(x), 5)


def test_check_network__puts_back_buffers_and_generator() -> None:
    network, random_state = Restless(), torch.get_rng_state()
    check_network(network, (3,), 5)
    assert network.calls.item() == 0
    assert torch.equal(torch.get_rng_state(), random_state)


def test_check_network__restores_modes_after_a_failure() -> None:
    network = Custom()
    with pytest.raises(UserError):
        check_network(network, (1, 8, 8), 5)
    assert all(module.training for module in network.modules())


def test_check_network__materializes_lazy_layers() -> None:
    network = nn.Sequential(nn.Flatten(), nn.LazyLinear(5))
    check_network(network, (3, 8, 8), 5)
    assert feature_width(network) == 192


@pytest.mark.parametrize(
    ("network", "shape", "sentence"),
    [
        (Custom(), (1, 8, 8), r"does not take images of 1 channel and 8x8 px \(its first convolution takes 3\): "),
        (Custom(), (3, 2, 2), "does not take images of 3 channels and 2x2 px: .*; change the network, or the size"),
        (
            build("cnn", shape=(3, 32, 32), num_classes=5),
            (3, 64, 64),
            "CNN does not take images of 3 channels and 64x64",
        ),
        (Custom(), (7,), r"Custom does not take rows of shape \(7,\)"),
        (Custom(4), (3, 8, 8), "gives 4 logits and the data has 5 classes; make its last layer 5 wide"),
        (Custom(5, lambda y: (y, y)), (3, 8, 8), "returns a tuple; it must return one tensor of logits"),
        (Custom(5, lambda y: y[0]), (3, 8, 8), r"returns a tensor of shape \(5,\) for 2 rows; it must be \(2, 5\)"),
        (Custom(5, lambda y: y.softmax(1)), (3, 8, 8), "returns probabilities; .* remove its last softmax"),
        (Custom(5, lambda y: y / 0), (3, 8, 8), "gives logits that are not finite"),
    ],
)
def test_check_network__refuses_in_a_sentence(network: nn.Module, shape: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        check_network(network, shape, 5)


def test_check_network__takes_logits_that_are_all_zero() -> None:
    network = Custom()
    nn.init.zeros_(network.out.weight)
    nn.init.zeros_(network.out.bias)
    check_network(network, (3, 8, 8), 5)


def test_layers_named__parts_and_backbone() -> None:
    net = build("cnn", shape=(1, 16, 16), num_classes=3)
    head = find_head(net)[1]
    kept = {id(p) for module in layers_named(net, "backbone") for p in module.parameters()}
    assert {id(p) for p in net.parameters()} - kept == {id(p) for p in head.parameters()}
    first = next(name for name, module in net.named_modules() if isinstance(module, nn.Conv2d))
    assert layers_named(net, f" {first} ,") == [net.get_submodule(first)]
    assert layers_named(net, "") == []


def test_layers_named__unknown_and_everything() -> None:
    net = build("cnn", shape=(1, 16, 16), num_classes=3)
    with pytest.raises(UserError, match="CNN has no layer 'backbon'; did you mean 'backbone'"):
        layers_named(net, "backbon")
    with pytest.raises(UserError, match="leaves nothing of CNN to train; keep at least the head"):
        layers_named(net, f"backbone,{find_head(net)[0]}")


class Prototypes(nn.Module):
    """Logits without any layer: products with rows of a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) @ self.rows.T


def squeeze() -> nn.Sequential:
    """A network that ends in a convolution and a pooling, as SqueezeNet does."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), pool)


def test_logits_and_features__of_a_convolutional_head_are_means_over_positions() -> None:
    network, x = squeeze(), torch.rand(3, 3, 8, 8)
    logits, features = logits_and_features(network, x)
    assert torch.equal(logits, network(x))
    assert feature_width(network) == 6
    torch.testing.assert_close(features, network[:2](x).mean((2, 3)))


def test_logits_and_features__of_a_network_without_layers_are_refused() -> None:
    assert feature_width(Prototypes()) == 0
    with pytest.raises(UserError, match="Prototypes has no layer whose input could be its features"):
        logits_and_features(Prototypes(), torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize("network", [squeeze(), Prototypes()], ids=["convolutional head", "no layer"])
def test_train__of_a_network_without_a_linear_layer(network: nn.Module) -> None:
    import numpy as np

    import understudy as us

    labels = np.arange(40) % 4
    images = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    result = us.train(
        (images, np.where(np.arange(40) < 28, labels, -1)),
        network=network,
        method="fixmatch",
        budget="2steps",
        plan=False,
        quiet=True,
    )
    assert result.predict(images[:2]).probabilities.shape == (2, 4)


def test_average_weights__moves_a_shared_tensor_once() -> None:
    from understudy.engine.state import _pairs
    from understudy.models.nets import Networks

    tied = nn.Linear(4, 4)
    averages, values, _ = _pairs(Networks(model=nn.Sequential(tied, nn.ReLU(), tied)))
    assert len(averages) == len(values) == 2
    assert averages[0] is not averages[1]


def test_check_network__complex_logits() -> None:
    class Complex(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :2].to(torch.complex64)

    with pytest.raises(UserError, match=r"returns a tensor of type torch\.complex64; it must return logits as floats"):
        check_network(Complex(), (1, 4, 4), 2)
