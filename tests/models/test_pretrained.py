"""Networks of timm and torchvision, and weights from files the tests write."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from understudy.core.errors import UserError
from understudy.models import build, check_network, find_head, fit_input, weights_note

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

SMALL = {"timm": "resnet10t", "torchvision": "mobilenet_v3_small"}


def written(network: nn.Module, file: Path) -> Path:
    if file.suffix == ".safetensors":
        save_file(network.state_dict(), file)
    else:
        torch.save(network.state_dict(), file)
    return file


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("library", SMALL)
def test_build__replaces_head_and_channels(library: str, channels: int) -> None:
    shape = (channels, 32, 32)
    network = build(f"{library}:{SMALL[library]}", shape=shape, num_classes=7)
    check_network(network, shape, 7)
    assert find_head(network)[1].out_features == 7
    fit_input(network, torch.full((2, *shape), 0.25))
    assert network.normalize.mean.tolist() == [0.25] * channels


def test_build__vision_transformer_is_made_for_the_size() -> None:
    check_network(build("timm:vit_tiny_patch16_224", shape=(3, 64, 64), num_classes=3), (3, 64, 64), 3)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("channels", [1, 3])
def test_build__timm_loads_a_file(tmp_path: Path, suffix: str, channels: int) -> None:
    source = timm.create_model("resnet10t")
    file = written(source, tmp_path / f"weights.{suffix}")
    network = build("timm:resnet10t", shape=(channels, 32, 32), num_classes=7, weights_file=file)
    torch.testing.assert_close(network.network.layer1[0].conv1.weight, source.layer1[0].conv1.weight)
    torch.testing.assert_close(network.normalize.mean.mean(), torch.tensor([0.485, 0.456, 0.406]).mean())
    assert network.normalize.fitted


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_build__torchvision_loads_a_file(tmp_path: Path, suffix: str) -> None:
    source = torchvision.models.get_model("mobilenet_v3_small", weights=None)
    file = written(source, tmp_path / f"weights.{suffix}")
    network = build("torchvision:mobilenet_v3_small", shape=(3, 32, 32), num_classes=7, weights_file=file).eval()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(network.network.features(x), source.eval().features(x))
    gray = build("torchvision:mobilenet_v3_small", shape=(1, 32, 32), num_classes=7, weights_file=file).eval()
    x = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(gray.network.features(x), source.features(x.expand(-1, 3, -1, -1)))


def test_build__own_network_loads_a_file_and_keeps_its_input_fit(tmp_path: Path) -> None:
    source = build("resnet_small", shape=(3, 32, 32), num_classes=10)
    fit_input(source, torch.rand(20, 3, 32, 32))
    file = written(source, tmp_path / "weights.pth")
    same = build("resnet_small", shape=(3, 32, 32), num_classes=10, weights_file=file)
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(same.eval()(x), source.eval()(x))
    other = build("resnet_small", shape=(3, 32, 32), num_classes=3, weights_file=file)
    assert find_head(other)[1].out_features == 3
    assert torch.equal(other.normalize.mean, source.normalize.mean)


def test_build__weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = written(build("cnn", shape=(3, 32, 32), num_classes=10), tmp_path / "weights.pth")
    for name in ("timm:resnet10t", "torchvision:mobilenet_v3_small", "resnet_small"):
        with pytest.raises(UserError, match=r"weights.pth does not fit .*; give weights saved from the same network"):
            build(name, shape=(3, 32, 32), num_classes=10, weights_file=file)


def test_build__weights_of_another_shape_are_named(tmp_path: Path) -> None:
    file = written(build("cnn", shape=(3, 28, 28), num_classes=10), tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"features.7.weight is \(128, 3136\) and not \(128, 4096\); give"):
        build("cnn", shape=(3, 32, 32), num_classes=10, weights_file=file)


def test_build__weights_of_another_shape_are_named_for_timm(tmp_path: Path) -> None:
    file = written(timm.create_model("resnet14t"), tmp_path / "weights.pth")
    with pytest.raises(
        UserError, match=r"does not fit timm:resnet10t: Error\(s\) in loading state_dict .{,120} \.\.\.; give"
    ):
        build("timm:resnet10t", shape=(3, 32, 32), num_classes=10, weights_file=file)


class Payload:
    """Would run a command when unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("ran",))


def test_build__a_file_that_runs_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": Payload()}, tmp_path / "evil.pth")
    for name in ("cnn", "timm:resnet10t"):
        with pytest.raises(UserError, match=r"evil\.pth"):
            build(name, shape=(3, 32, 32), num_classes=10, weights_file=tmp_path / "evil.pth")
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no weights", "cannot be read as weights"),
        (b"hello, here are no weights", r"cannot be read as weights \(KeyError\); give a .safetensors file"),
        (None, "there is no weights file .*weights.pth; give a .safetensors"),
    ],
)
def test_build__unreadable_file_is_refused(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    file = tmp_path / "weights.pth"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        build("cnn", shape=(3, 32, 32), num_classes=10, weights_file=file)


def test_build__file_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "weights.pth")
    with pytest.raises(UserError, match=r"holds no state_dict; give the file that torch.save"):
        build("cnn", shape=(3, 32, 32), num_classes=10, weights_file=tmp_path / "weights.pth")


def test_build__weights_inside_a_checkpoint_are_found(tmp_path: Path) -> None:
    source = build("cnn", shape=(3, 32, 32), num_classes=10)
    torch.save({"epoch": 3, "state_dict": source.state_dict()}, tmp_path / "checkpoint.pth")
    build("cnn", shape=(3, 32, 32), num_classes=10, weights_file=tmp_path / "checkpoint.pth")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("timm:resnet18x", r"timm has no network 'resnet18x'; did you mean 'resnet18\w*'\?$"),
        ("timm:resnet10t.zzz", r"no network 'resnet10t.zzz'; .*allowed: resnet10t, resnet10t.c3_in1k"),
        ("torchvision:resnet81", r"torchvision has no classifier 'resnet81'; did you mean 'resnet18'\?$"),
        ("torchvision:zzzzzz", "see its list_models"),
        ("torchvision:squeezenet1_0", "has no nn.Linear"),
    ],
)
def test_build__unknown_library_name_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        build(name, shape=(3, 64, 64), num_classes=10)


def test_build__size_a_transformer_cannot_take_is_refused() -> None:
    with pytest.raises(UserError, match=r"does not take images|cannot be made for these images"):
        build("timm:vit_tiny_patch16_224", shape=(3, 12, 12), num_classes=10)


def test_weights_note__tells_the_licence() -> None:
    note = weights_note("timm:resnet18.a1_in1k")
    assert (
        note == "The pretrained weights of timm:resnet18.a1_in1k are under the licence apache-2.0; see its model card."
    )
    assert "non-commercial" in str(weights_note("torchvision:resnet18"))
    assert weights_note("resnet_small") is None
