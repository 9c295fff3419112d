"""Map-style data sets, torchvision's and Hugging Face's, and the random ones that are refused."""

from __future__ import annotations

import pickle
import struct
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from tests.data.conftest import picture
from understudy.core.errors import DataError
from understudy.data.collection import Part
from understudy.data.load import load

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import datasets as hugging_face
    from torchvision import datasets, transforms

PIXELS = np.stack([np.asarray(picture(seed)) for seed in range(4)])
ROWS = torch.from_numpy(PIXELS).permute(0, 3, 1, 2)


class Items(Dataset[Any]):
    """A data set of the given items."""

    def __init__(self, *items: Any, **attributes: Any) -> None:
        self.items = items
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> Any:
        item = self.items[position]
        if isinstance(item, Exception):
            raise item
        return item


@pytest.mark.parametrize("kind", ["PIL", "array", "tensor", "dictionary", "numpy label", "tensor label"])
def test_load__item_kinds(kind: str) -> None:
    def item(seed: int) -> Any:
        return {
            "PIL": (picture(seed), seed % 2),
            "array": (PIXELS[seed], seed % 2),
            "tensor": (ROWS[seed].float() / 255, seed % 2),
            "dictionary": {"img": picture(seed), "label": seed % 2},
            "numpy label": (picture(seed), np.int64(seed % 2)),
            "tensor label": (picture(seed), torch.tensor(seed % 2)),
        }[kind]

    calls: list[tuple[int, int]] = []
    data = load(Items(*map(item, range(4))), observe=lambda done, total: calls.append((done, total)))
    assert torch.equal(data.rows, ROWS)
    assert data.labels.tolist() == [0, 1, 0, 1]
    assert calls == [(4, 4)]


def test_load__items_without_label() -> None:
    assert load(unlabeled=Items(picture(0), picture(1))).labels.tolist() == [-1, -1]
    assert load(Items((picture(0), 3), (picture(1), -1), (picture(2), None))).labels.tolist() == [0, -1, -1]


def test_load__vectors_of_a_tensor_dataset() -> None:
    data = load(TensorDataset(torch.arange(6.0).reshape(3, 2), torch.tensor([4, -1, 5])))
    assert data.shape == (2,)
    assert data.values == (4, 5)


def test_load__mixed_sizes_and_subset() -> None:
    data = load(Subset(Items((picture(0, (20, 30)), "a"), (picture(1), "b"), (picture(2), "b")), [0, 1]))
    assert data.rows.shape == (2, 3, 16, 16)
    assert data.classes == ("a", "b")


def test_load__class_names_of_a_dataset() -> None:
    data = load(Items((picture(0), 2), (picture(1), 0), classes=["cat", "cow", "dog"]))
    assert data.classes == ("cat", "dog")
    assert data.values == (0, 2)


def test_load__item_that_cannot_be_read() -> None:
    data = load(Items((picture(0), 0), OSError("image file is truncated"), (picture(1), 1)))
    assert data.quarantine == (("1", "cannot be read: image file is truncated"),)
    assert data.names.tolist() == ["0", "2"]


def test_load__random_dataset_names_the_transform(tmp_path: Path) -> None:
    transform = transforms.Compose(
        [transforms.Resize(16), transforms.RandomHorizontalFlip(), transforms.ColorJitter(0.5)]
    )
    dataset = datasets.FakeData(size=30, image_size=(3, 16, 16), transform=transform)
    message = "data set FakeData gives two different results for index .*; remove the transform ColorJitter, RandomHor"
    with pytest.raises(DataError, match=message):
        load(dataset)
    with pytest.raises(DataError, match="data set Subset gives two different results"):
        load(Subset(dataset, range(20)))


def test_load__random_dataset_without_a_known_transform() -> None:
    class Noise(Items):
        def __getitem__(self, position: int) -> Any:
            return torch.rand(3, 8, 8), 0

    with pytest.raises(DataError, match=r"data set Noise gives two different .*; remove its random transform"):
        load(Noise(0))


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (Items(), "data set Items is empty; give at least one item"),
        (Items((1, 2, 3)), r"item 0 of data set Items: it has 3 parts; give \(image, label\), or the image alone"),
        (Items({"scan": 1}), "it has the keys scan; the image must be under 'image' or 'img'"),
        (Items((np.zeros((2, 2, 2, 3)), 0)), r"an item's image is ndarray of shape \(2, 2, 2, 3\); give"),
    ],
)
def test_load__dataset_refused(dataset: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(dataset)


def test_load__dataset_without_length() -> None:
    class Endless:
        def __getitem__(self, position: int) -> Any:
            return picture(), 0

    with pytest.raises(DataError, match="data set Endless has no length; give a map-style data set"):
        load(Endless())


def test_load__hugging_face(tmp_path: Path) -> None:
    features = hugging_face.Features(
        {"image": hugging_face.Image(), "label": hugging_face.ClassLabel(names=["cat", "dog"])}
    )
    part = hugging_face.Dataset.from_dict({"image": [picture(0), picture(1)], "label": [1, 0]}, features=features)
    data = load(part)
    assert torch.equal(data.rows, ROWS[:2])
    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [1, 0]
    hugging_face.DatasetDict({"train": part, "test": part}).save_to_disk(tmp_path / "saved")
    data = load(f"hf:{tmp_path / 'saved'}")
    assert data.names.tolist() == ["train/0", "train/1", "test/0", "test/1"]
    assert data.parts.tolist() == [Part.TRAIN] * 2 + [Part.TEST] * 2


def test_load__hugging_face_missing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"hf:.*empty cannot be loaded"):
        load(f"hf:{tmp_path / 'empty'}")


def fake_mnist(folder: Path) -> None:
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 6), ("t10k", 3)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 3
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, count, 28, 28) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, count) + labels.tobytes())


def test_load__torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mnist(tmp_path)
    data = load(f"torchvision:MNIST@{tmp_path}")
    assert data.shape == (1, 28, 28)
    assert data.classes == ("0 - zero", "1 - one", "2 - two")
    assert data.parts.tolist() == [Part.TRAIN] * 6 + [Part.TEST] * 3
    assert data.labels.tolist() == [0, 1, 2] * 3
    monkeypatch.setenv("UNDERSTUDY_DATA", str(tmp_path))
    assert load("torchvision:MNIST").content == data.content


def test_load__torchvision_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *_: True)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    names = ["airplane", "automobile"]
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    data = load(f"torchvision:CIFAR10@{tmp_path}")
    assert (len(data), data.classes) == (12, tuple(names))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:CIFAR11", "torchvision has no data set 'CIFAR11'; did you mean 'CIFAR10'"),
        ("torchvision:MNIST@nowhere", "torchvision:MNIST cannot be read from nowhere: .*; download it there yourself"),
    ],
)
def test_load__torchvision_refused(name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(name)


def test_load__digits() -> None:
    data = load("digits")
    assert data.rows.shape == (1797, 1, 8, 8)
    assert int(data.rows.max()) == 255
    assert (data.parts == Part.TEST).sum() == 500
    assert data.classes == tuple("0123456789")


def test_load__alpha_in_a_dataset_becomes_white() -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (load(Items((clear, 0), (clear, 1))).rows == 255).all()
