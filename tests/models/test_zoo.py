"""Every named network is what it says it is, takes what it says it takes, and refuses the rest in a sentence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from understudy.core.errors import UserError
from understudy.models import build, check_network, names

IMAGE_NAMES = [name for name in names() if name != "mlp"]


def num_parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "expected"),
    [("wrn_28_2", 1_467_610), ("cnn", 545_098), ("resnet18", 11_173_962), ("mobilenet_v1", 3_217_226)],
)
def test_build__has_the_size_of_the_reference(name: str, expected: int) -> None:
    assert num_parameters(build(name, shape=(3, 32, 32), num_classes=10)) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 36), (3, 224, 224)])
@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_build__takes_every_image_size(name: str, shape: tuple[int, ...]) -> None:
    network = build(name, shape=shape, num_classes=3)
    check_network(network, shape, 3)


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_build__trains_every_parameter(name: str) -> None:
    torch.manual_seed(0)
    network = build(name, shape=(3, 32, 32), num_classes=4)
    for _ in range(3):  # residual branches start at zero, so their first gradients need a step
        network(torch.rand(8, 3, 32, 32)).square().sum().backward()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter -= 1e-3 * parameter.grad.sign()
    still = [key for key, parameter in network.named_parameters() if not parameter.grad.any()]
    assert still == []


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_build__gives_the_same_logits_channels_last(name: str) -> None:
    network = build(name, shape=(3, 32, 32), num_classes=4).eval()
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(x)
        given = network.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-5)


def test_build__mlp_takes_vectors() -> None:
    network = build("mlp", shape=(2,), num_classes=2)
    check_network(network, (2,), 2)


def test_build__resnet18_large_image_is_downsampled_before_the_first_block() -> None:
    small, large = (build("resnet18", shape=(3, px, px), num_classes=2) for px in (64, 65))
    x = torch.rand(1, 3, 64, 64)
    assert small.stem(x).shape[2:] == (64, 64)
    assert large.stem(x).shape[2:] == (16, 16)


def test_build__resnet_small_cost_stays_bounded_for_large_images() -> None:
    assert _multiplications((3, 224, 224)) < 6 * _multiplications((3, 32, 32))
    assert _multiplications((1, 8, 8)) < _multiplications((3, 32, 32)) / 3


def test_build__mobilenet_v1_has_stride_32() -> None:
    assert build("mobilenet_v1", shape=(3, 64, 64), num_classes=2).body(torch.rand(2, 3, 64, 64)).shape == (
        2,
        1024,
        2,
        2,
    )


def test_build__mobilenet_v1_depthwise_stays_float32_under_autocast() -> None:
    network = build("mobilenet_v1", shape=(3, 32, 32), num_classes=2)
    types: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def note(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        types[module.groups > 1].add(output.dtype)

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(note)
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.rand(2, 3, 32, 32))
    assert types == {True: {torch.float32}, False: {torch.bfloat16}}


@pytest.mark.parametrize(
    ("name", "settings", "sentence"),
    [
        ("resnet_smal", {}, r"there is no network 'resnet_smal'; did you mean 'resnet_small'\? allowed: cnn, mlp, mob"),
        ("keras:vgg", {}, "there is no network 'keras:vgg'; .*timm:NAME"),
        ("resnet_small", {"num_classes": 1}, "needs at least 2 classes, and there is 1"),
        (
            "resnet_small",
            {"shape": (2,)},
            r"takes images, and the rows are vectors of shape \(2,\); for vectors take mlp",
        ),
        ("mlp", {}, r"mlp takes vectors, and the rows have shape \(3, 32, 32\); for images take resnet_small"),
        ("cnn", {"shape": (3, 32)}, r"rows of shape \(3, 32\) fit no network"),
        ("cnn", {"shape": (0, 32, 32)}, r"rows of shape \(0, 32, 32\) fit no network"),
        ("wrn_28_2", {"shape": (3, 7, 32)}, "at least 8 px a side, and these have 7x32"),
        ("cnn", {"pretrained": True}, "cnn has no pretrained weights; give weights_file="),
        ("cnn", {"pretrained": True, "weights_file": "w.pth"}, "pretrained and weights_file were both given"),
    ],
)
def test_build__refuses_in_a_sentence(name: str, settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(name, **{"shape": (3, 32, 32), "num_classes": 10, **settings})


def _multiplications(shape: tuple[int, int, int]) -> int:
    """Multiplications of one forward in all convolutions."""
    network, total = build("resnet_small", shape=shape, num_classes=10).eval(), 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += module.weight.numel() * output.shape[2] * output.shape[3]

    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    network(torch.rand(1, *shape))
    return total
