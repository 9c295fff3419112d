"""One range for all values of a kind in a data set, measured without outliers and kept with the model."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import understudy as us
from understudy.core.errors import DataError
from understudy.data.value_ranges import OutOfRangeError, choose_range, extent, to_uint8

RAMP = np.tile(np.linspace(0, 1, 32, dtype=np.float32), (32, 1))


def rows_of(folder: Path, **settings: object) -> dict[str, np.ndarray]:
    loaded = us.load(unlabeled=folder, size=32, channels=1, **settings)  # type: ignore[arg-type]
    return {str(name): row[0].numpy().astype(int) for name, row in zip(loaded.names, loaded.rows, strict=True)}


@pytest.mark.parametrize(
    ("kind", "extents", "expected"),
    [
        ("uint16", [(0, 300), (20, 2000)], (0, 2047)),
        ("uint16", [(0, 61000)], (0, 65535)),
        ("uint16", [(0, 3)], (0, 255)),
        ("uint16", [(0, 4000)] * 19 + [(0, 65535)], (0, 4095)),
        ("uint32", [(0, 4e9)], (0, 2**32 - 1)),
        ("int", [(-1000, 3000)], (-1000, 3000)),
        ("float", [(0.1, 0.9)], (0, 1)),
        ("float", [(-0.01, 1.04)], (0, 1)),
        ("float", [(-1, 1)], (-1, 1)),
        ("float", [(0, 255)], (0, 255)),
        ("float", [(270, 300)], (270, 300)),
        ("float", [(0, 0.001)], (0, 0.001)),
        ("float", [(0, 1)] * 4 + [(-1000, 960)], (0, 1)),
        ("float", [(5, 5)], (5, 6)),
        ("float", [(-2.1, 2.6)], (-2.1, 2.6)),
        ("float", [], (0, 1)),
    ],
)
def test_choose_range__by_kind(kind: str, extents: list[tuple[float, float]], expected: tuple[float, float]) -> None:
    assert choose_range(kind, extents) == expected


def test_extent__hot_pixels_and_nan() -> None:
    values = np.tile(np.linspace(0, 1, 64), (64, 1))
    values[0, 0], values[0, 1], values[0, 2] = 1e9, np.nan, np.inf
    assert extent(values) == (0, 1)
    assert extent(np.full((2, 2), np.nan)) is None


def test_to_uint8__clips_few_and_refuses_many() -> None:
    values = np.full(1000, 0.5)
    values[0], values[1], values[2] = 7, np.inf, np.nan
    np.testing.assert_array_equal(to_uint8(values, "float", (0, 1))[:4], [255, 255, 0, 128])
    with pytest.raises(OutOfRangeError, match="its values are from 300 to 300, and those of the data set from 0 to 1"):
        to_uint8(np.full(9, 300.0), "float", (0, 1))


def test_load__12_bits_in_16_bit_files_keep_their_levels(tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray((RAMP * 4095).astype(np.uint16)).save(tmp_path / f"{number}.png")
    rows = rows_of(tmp_path)
    np.testing.assert_allclose(rows["0.png"], RAMP * 255, atol=1)
    assert us.load(unlabeled=tmp_path).ranges == {"uint16": (0, 4095)}


def test_load__float_files_share_a_range_and_another_unit_is_listed(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(RAMP).save(tmp_path / f"{number}.tif")
    hot = RAMP.copy()
    hot[0, 0] = 1000
    Image.fromarray(hot).save(tmp_path / "hot.tif")
    Image.fromarray(RAMP * 2000 - 1000).save(tmp_path / "units.tif")
    loaded = us.load(unlabeled=tmp_path, size=32, channels=1)
    np.testing.assert_array_equal(rows_of(tmp_path)["hot.tif"][1:], rows_of(tmp_path)["0.tif"][1:])
    (name, reason), *others = loaded.quarantine
    assert not others
    assert name == "units.tif"
    assert reason.startswith("its values are from -1000 to 1000, and those of the data set from 0 to 1")


def test_load__a_fixed_range_has_its_own_store(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 1000).astype(np.uint16)).save(tmp_path / "a.png")
    assert rows_of(tmp_path)["a.png"].max() == 249
    assert rows_of(tmp_path, ranges={})["a.png"].max() == 4
    assert rows_of(tmp_path, ranges={"uint16": (0.0, 2000.0)})["a.png"].max() == 128
    assert rows_of(tmp_path)["a.png"].max() == 249
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_load__8_bit_files_have_one_store_whatever_the_range(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 255).astype(np.uint8)).save(tmp_path / "a.png")
    contents = {us.load(unlabeled=tmp_path, size=32, ranges=ranges).content for ranges in (None, {}, {"float": (0, 9)})}
    assert len(contents) == len(list((tmp_path / "cache").iterdir())) == 1


def test_load__a_range_is_part_of_the_content(tmp_path: Path) -> None:
    Image.fromarray((RAMP * 1000).astype(np.uint16)).save(tmp_path / "a.png")
    assert us.load(unlabeled=tmp_path).content != us.load(unlabeled=tmp_path, ranges={}).content


@pytest.mark.parametrize("scale", ["unit", "signed", "bytes", "12 bits"])
def test_load__the_same_picture_in_any_usual_range(scale: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
    given = {
        "unit": pixels / 255,
        "signed": pixels / 127.5 - 1,
        "bytes": pixels.astype(np.float32),
        "12 bits": np.round(pixels * (4095 / 255)).astype(np.uint16),
    }[scale]
    loaded = us.load(unlabeled=given)
    np.testing.assert_array_equal(loaded.rows[:, 0].numpy(), pixels)
    again = us.load(unlabeled=given[:1], ranges=loaded.ranges)
    np.testing.assert_array_equal(again.rows.numpy(), loaded.rows[:1].numpy())


def test_load__a_dark_row_is_dark_alone() -> None:
    images = np.random.default_rng(0).uniform(0, 255, (40, 8, 8))
    loaded = us.load((images, np.arange(40) % 2), unlabeled=np.ones((3, 8, 8)))
    assert (loaded.rows[40:] == 1).all()
    with pytest.raises(DataError, match="values from 300 to 300, and the model was trained on values from 0 to 1"):
        us.load(unlabeled=np.full((3, 8, 8), 300.0), ranges={})


class Items:
    """A data set of the given images."""

    def __init__(self, *images: object) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, position: int) -> object:
        return self.images[position]


def test_load__items_of_a_data_set_share_a_range() -> None:
    loaded = us.load(unlabeled=Items(RAMP * 2 - 1, RAMP * 0, RAMP * 0.5))
    np.testing.assert_allclose(loaded.rows[0, 0].numpy(), RAMP * 255, atol=1)
    assert set(loaded.rows[1].unique().tolist()) == {128}
    assert loaded.ranges == {"float": (-1, 1)}


def test_load__wide_images_of_a_data_set_share_a_range() -> None:
    images = [Image.fromarray((RAMP * top).astype(np.uint16)) for top in (4000, 400)]
    encoded = io.BytesIO()
    images[1].save(encoded, "PNG")
    loaded = us.load(unlabeled=Items(*images, encoded.getvalue()))
    assert [int(row.max()) for row in loaded.rows] == [249, 25, 25]


def test_load__damaged_images_of_a_data_set_are_listed() -> None:
    good = io.BytesIO()
    Image.fromarray((RAMP * 255).astype(np.uint8)).save(good, "PNG")
    noise = io.BytesIO()
    Image.effect_noise((32, 32), 90).save(noise, "PNG")
    lazy = Image.open(io.BytesIO(noise.getvalue()[:500]))
    loaded = us.load(unlabeled=Items(good.getvalue(), b"no image", lazy))
    assert len(loaded) == 1
    assert [name for name, _ in loaded.quarantine] == ["1", "2"]


def test_load__dark_floats_in_memory_stay_dark() -> None:
    values = np.linspace(0, 0.03, 12 * 8 * 8, dtype=np.float32).reshape(12, 1, 8, 8)
    assert int(us.load((values, np.arange(12) % 2)).rows.max()) == 8


@pytest.mark.parametrize(("low", "high"), [(0.0, 331.0), (-2.1, 2.64)])
def test_load__unusual_floats_are_scaled_by_their_own_range(low: float, high: float) -> None:
    values = np.linspace(low, high, 12 * 8 * 8, dtype=np.float32).reshape(12, 1, 8, 8)
    data = us.load((values, np.arange(12) % 2))
    assert data.ranges["float"] == pytest.approx((low, high), abs=0.02 * (high - low))
    assert int(data.rows.min()) == 0
    assert int(data.rows.max()) == 255
    assert any("float values are scaled from" in note for note in data.notes)
