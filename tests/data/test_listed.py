"""Lists of paths and images, data sets inside data sets, labels as people hold them, and one image."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, TensorDataset

from tests.data.conftest import picture
from understudy.core.errors import DataError, UserError
from understudy.data.collection import Part
from understudy.data.load import load

NAMES = ["cat", "dog"] * 4


class Items:
    """A data set of the given function of the position."""

    def __init__(self, item: Any, count: int = 8, **attributes: Any) -> None:
        self.item, self.count = item, count
        self.__dict__.update(attributes)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Any:
        return self.item(position)


def pair(position: int) -> Any:
    return picture(position), position % 2


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("listed")
    found = [str(root / f"{position}.png") for position in range(8)]
    for position, path in enumerate(found):
        picture(position).save(path)
    return found


@pytest.mark.parametrize("kind", ["lists", "paths", "series", "frame", "pairs", "array", "PIL", "bytes", "sizes"])
def test_load__lists_of_images(kind: str, paths: list[str]) -> None:
    images = [picture(position) for position in range(8)]
    source = {
        "lists": lambda: (paths, NAMES),
        "paths": lambda: ([Path(path) for path in paths], NAMES),
        "series": lambda: (pd.Series(paths), pd.Series(NAMES)),
        "frame": lambda: pd.DataFrame({"filename": paths, "class": NAMES}),
        "pairs": lambda: list(zip(paths, NAMES, strict=True)),
        "array": lambda: (np.array(paths), np.array(NAMES)),
        "PIL": lambda: (images, NAMES),
        "bytes": lambda: ([Path(path).read_bytes() for path in paths], NAMES),
        "sizes": lambda: ([image.resize((20 + at, 20)) for at, image in enumerate(images)], NAMES),
    }[kind]()
    found = load(source)
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 1] * 4


def test_load__paths_listed_twice(paths: list[str]) -> None:
    found = load(([*paths, paths[0]], [*NAMES, "cat"]))
    assert len(found) == 8
    assert "1 paths are listed more than once and count once" in found.notes
    with pytest.raises(DataError, match=r"is at rows 0 and 8 with different labels; keep one of them"):
        load(([*paths, paths[0]], [*NAMES, "dog"]))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.eye(2)[[0, 1, 0, 1]], [0, 1, 0, 1]),
        (torch.eye(3)[[2, 1, 0, 1]], [2, 1, 0, 1]),
        (np.array([[0], [1], [0], [-1]]), [0, 1, 0, -1]),
        (np.array([[0, 1], [1, 0], [-1, -1], [1, 0]]), [1, 0, -1, 0]),
        ([0.0, 1.0, np.nan, 1.0], [0, 1, -1, 1]),
        (["a", None, "b", np.nan], [0, -1, 1, -1]),
        (pd.Series(["a", pd.NA, "b", "a"], dtype="string"), [0, -1, 1, 0]),
        (pd.Series([0, 1, None, 1], dtype="Int64"), [0, 1, -1, 1]),
        (pd.Series(["a", "b", None, "a"], dtype="category"), [0, 1, -1, 0]),
        ([b"a", b"b", b"", b"a"], [0, 1, -1, 0]),
        ([0, 255, 0, 255], [0, 1, 0, 1]),
    ],
)
def test_load__labels(labels: Any, expected: list[int]) -> None:
    assert load((np.random.default_rng(0).random((4, 9)), labels)).labels.tolist() == expected


def test_load__one_hot_columns_name_the_classes() -> None:
    found = load((np.random.default_rng(0).random((4, 9)), pd.get_dummies(pd.Series(["dog", "cat", "cat", "dog"]))))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 255], "labels hold 255, which is no usual class number; mark unlabeled rows with -1"),
        ([0, 1, -2, 1], "labels hold -2, which is no usual class number"),
        (np.array([0, 1, 2**64 - 1, 1], np.uint64), "labels hold 18446744073709551615"),
        ([[0.5, 0.5], [1, 0], [0, 1], [1, 0]], r"label 0 is \[0.5, 0.5\], which is not one-hot"),
        ([[1, 1], [1, 0], [0, 1], [1, 0]], r"label 0 is \[1, 1\], which is not one-hot"),
        ([0.0, 1.5, 1.0, 0.0], "labels hold fractions, such as 1.5 at row 1"),
        ([0.0, np.inf, 1.0, 0.0], "labels hold fractions, such as inf at row 1"),
    ],
)
def test_load__labels_refused(labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load((np.random.default_rng(0).random((4, 9)), labels))


@pytest.mark.parametrize("key", ["class", "category", "y", "target"])
def test_load__dictionaries_under_usual_keys(key: str) -> None:
    assert load(Items(lambda at: {"image": picture(at), key: at % 2})).labels.tolist() == [0, 1] * 4


def test_load__dictionaries_without_a_label_name_their_keys() -> None:
    found = load(unlabeled=Items(lambda at: {"image": picture(at), "species": at % 2}))
    assert "no item has a label; not used: species; a label must be under 'label'" in found.notes


@pytest.mark.parametrize(
    "encode",
    [
        float,
        np.float32,
        lambda k: torch.tensor(float(k)),
        lambda k: torch.eye(2)[k],
        lambda k: [float(k == 0), float(k)],
    ],
)
def test_load__data_set_label_kinds(encode: Any) -> None:
    found = load(Items(lambda at: (picture(at), encode(at % 2)), classes=["cat", "dog"]))
    assert found.classes == ("cat", "dog")
    assert found.labels.tolist() == [0, 1] * 4


def test_load__names_through_wrappers_agree_with_plain_numbers() -> None:
    named = Items(pair, classes=["cat", "dog"])
    for source in (Subset(named, range(4)), ConcatDataset([named, named]), Subset(Subset(named, range(6)), range(5))):
        assert load(source).classes == ("cat", "dog")
    rows = torch.stack([torch.from_numpy(np.asarray(picture(at)).copy()).permute(2, 0, 1) for at in range(20, 24)])
    plain = TensorDataset(rows, torch.tensor([1, 0, 1, 0]))
    found = load(named, test=plain)
    assert found.labels[found.parts == Part.TEST].tolist() == [1, 0, 1, 0]
    assert load(plain, test=named).classes == ("0", "1")


def test_load__joined_data_sets_with_other_classes_are_refused() -> None:
    joined = ConcatDataset([Items(pair, classes=["cat", "dog"]), Items(pair, classes=["cat", "fox"])])  # type: ignore[list-item]
    with pytest.raises(DataError, match="joins data sets in which label 1 means 'dog' and 'fox'"):
        load(joined)


def test_load__dictionary_of_data_sets_by_split() -> None:
    found = load({"train": Items(pair), "test": Items(lambda at: (picture(at + 20), at % 2))})
    assert (found.parts == Part.TEST).sum() == 8
    with pytest.raises(UserError, match="the dictionary has the split 'trian'; did you mean 'train'"):
        load({"trian": Items(pair)})


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(())


def _raising(at: int) -> Any:
    if at == 3:
        raise KeyError("broken")
    return pair(at)


def _bomb(at: int) -> Any:
    if at == 3:
        raise Image.DecompressionBombError("too large")
    return pair(at)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: DataLoader(Items(pair)), "a DataLoader gives batches; give the data set inside it, loader.dataset"),  # type: ignore[arg-type]
        (Stream, "data set Stream can only be read in its own order; give a map-style data set"),
        (lambda: Items(_raising), "data set Items failed at index 3 with KeyError: 'broken'"),
        (lambda: Items([pair(at) for at in range(5)].__getitem__), "says it has 8 items and ends before index"),
        (lambda: Items(pair, "x"), "data set Items has no length"),
        (lambda: Items(pair, -1), "data set Items has no length"),
        (lambda: Items(pair, 10**15), "which do not fit into memory"),
        (lambda: Items(lambda at: (picture(at), at, at)), "item 0 of data set Items: it has 3 parts"),
        (lambda: picture(0), "one image came where labeled images are needed"),
        (lambda: (torch.zeros(4, 3, 0, 8), [0, 1, 0, 1]), r"the array of images is empty: its shape is \(4, 3, 0, 8\)"),
        (lambda: (torch.zeros(4, 9, device="meta"), [0, 1, 0, 1]), "is on the meta device and holds no values"),
        (lambda: (np.zeros((4, 9), complex), [0, 1, 0, 1]), "vectors are of type complex128; give numbers"),
    ],
)
def test_load__refused(source: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(source())


def test_load__data_set_that_returns_itself_ends() -> None:
    class Endless(Items):
        def __getitem__(self, position: int) -> Any:
            return self

    with pytest.raises(DataError, match="Endless is not an array of numbers"):
        load(Endless(None))
    endless: list[Any] = []
    endless.extend((endless, endless))
    with pytest.raises(DataError, match="a list contains itself"):
        load((endless, [0, 1]))


def test_load__bomb_in_a_data_set_is_quarantined() -> None:
    found = load(Items(_bomb))
    assert len(found) == 7
    assert found.quarantine == (("3", "cannot be read: too large"),)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_load__sparse_and_quantized_rows() -> None:
    rows = (np.random.default_rng(0).random((4, 9)) > 0.5).astype(np.float32)
    expected = load((rows, [0, 1, 0, 1])).rows
    for given in (
        scipy.sparse.csr_matrix(rows),
        torch.from_numpy(rows).to_sparse(),
        torch.from_numpy(rows).bfloat16(),
        torch.quantize_per_tensor(torch.from_numpy(rows), 1.0, 0, torch.quint8),
    ):
        assert torch.equal(load((given, [0, 1, 0, 1])).rows, expected)


@pytest.mark.parametrize("path", ["a\0b", "a" * 300, "", "/".join(["a" * 200] * 30)])
def test_load__impossible_paths_are_refused(path: str) -> None:
    for source in (path, ([path], ["cat"])):
        with pytest.raises(DataError, match=r"NUL|longer than|is empty"):
            load(source)


def test_load__one_image_to_predict(paths: list[str]) -> None:
    buffer = io.BytesIO()
    picture(0).save(buffer, "PNG")
    for source in (paths[0], Path(paths[0]), picture(0), buffer.getvalue(), [paths[0]], [picture(0)]):
        assert len(load(unlabeled=source)) == 1


def test_load__list_of_places_that_are_not_there(paths: list[str]) -> None:
    for places in (["nope1", "nope2"], [Path("nope1")], ["nope1.csv", "nope2"]):
        with pytest.raises(DataError, match=rf"^'{places[0]}' is not there; name a folder"):
            load((paths, NAMES), unlabeled=places)
    with pytest.raises(DataError, match="none of the 2 image files could be used"):
        load(unlabeled=["nope1.png", "nope2.jpg"])
    found = load(unlabeled=[paths[0], "nope1"])  # a list of images, one of which is missing
    assert (len(found), found.quarantine) == (1, (("nope1", "no such file"),))
