"""Folders: classes, splits, pools, and the odd things found in them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import Make, picture
from understudy.core.errors import DataError
from understudy.data.collection import Part
from understudy.data.load import load


def by_name(collection: object, field: str) -> dict[str, object]:
    return dict(zip(collection.names.tolist(), getattr(collection, field).tolist(), strict=True))  # type: ignore[attr-defined]


def test_load__folder_per_class(make: Make) -> None:
    root = make("photos", "dogs/b.png", "cats/a.png", "cats/deep/er/c.png")
    data = load(root)
    assert data.classes == data.values == ("cats", "dogs")
    assert by_name(data, "labels") == {"cats/a.png": 0, "cats/deep/er/c.png": 0, "dogs/b.png": 1}
    assert data.rows.shape == (3, 3, 16, 16)
    assert data.shape == (3, 16, 16)
    assert (data.parts == Part.FREE).all()
    np.testing.assert_array_equal(data.rows[2], np.asarray(picture(0)).transpose(2, 0, 1))


def test_load__numbered_classes_in_numeric_order(make: Make) -> None:
    assert load(make("photos", "10/a.png", "9/b.png")).classes == ("9", "10")


def test_load__split_folders(make: Make) -> None:
    root = make("set", "train/a/1.png", "train/b/1.png", "val/a/1.png", "Test/b/1.png", "unlabeled/x/1.png")
    data = load(root)
    assert by_name(data, "labels") == {
        "train/a/1.png": 0,
        "train/b/1.png": 1,
        "val/a/1.png": 0,
        "Test/b/1.png": 1,
        "unlabeled/x/1.png": -1,
    }
    assert by_name(data, "parts") == {
        "train/a/1.png": Part.TRAIN,
        "train/b/1.png": Part.TRAIN,
        "val/a/1.png": Part.VALIDATION,
        "Test/b/1.png": Part.TEST,
        "unlabeled/x/1.png": Part.FREE,
    }
    assert "folder Test/ is taken as the test images" in data.notes
    assert "folder unlabeled/ is taken as unlabeled images" in data.notes
    assert "the test images hold none of 1 classes: a" in data.notes


def test_load__test_folder_beside_classes(make: Make) -> None:
    data = load(make("set", "a/1.png", "b/1.png", "test/a/1.png"))
    assert data.classes == ("a", "b")
    assert by_name(data, "parts")["test/a/1.png"] == Part.TEST


def test_load__flat_test_folder_is_not_used(make: Make) -> None:
    data = load(make("set", "train/a/1.png", "train/b/1.png", "test/1.png"))
    assert len(data) == 2
    assert "folder test/ has no class folders, so its images are not used" in data.notes


def test_load__folder_beside_train_is_not_used(make: Make) -> None:
    data = load(make("set", "train/a/1.png", "train/b/1.png", "plots/1.png"))
    assert data.classes == ("a", "b")
    assert any("not plots" in note for note in data.notes)


def test_load__three_folders(make: Make) -> None:
    data = load(
        make("photos", "a/1.png", "b/2.png"), unlabeled=make("unlabeled", "1.png", "x/2.png"), test=make("t", "a/1.png")
    )
    assert data.names.tolist() == ["a/1.png", "b/2.png", "test:a/1.png", "unlabeled:1.png", "unlabeled:x/2.png"]
    assert data.labels.tolist() == [0, 1, 0, -1, -1]
    assert data.parts.tolist() == [Part.FREE, Part.FREE, Part.TEST, Part.TRAIN, Part.TRAIN]


def test_load__labels_of_the_unlabeled_are_not_used(make: Make) -> None:
    data = load(make("photos", "a/1.png", "b/2.png"), unlabeled="digits", channels=3)
    assert (data.labels[2:] == -1).all()
    assert data.classes == ("a", "b")
    assert "1,797 labels in the unlabeled images are not used" in data.notes


def test_load__unlabeled_alone(make: Make) -> None:
    data = load(unlabeled=make("unlabeled", "1.png"))
    assert data.names.tolist() == ["1.png"]
    assert data.classes == ()


def test_load__files_of_the_unlabeled_that_are_also_labeled_count_once(make: Make, tmp_path: Path) -> None:
    make("", "photos/a/1.png", "photos/b/1.png", "more.png")
    data = load(tmp_path / "photos", unlabeled=tmp_path, cache=tmp_path / "elsewhere")
    assert data.names.tolist() == ["a/1.png", "b/1.png", "unlabeled:more.png"]
    assert any(note.startswith("2 unlabeled files are also given as labeled") for note in data.notes)


def test_load__test_files_that_train(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png")
    with pytest.raises(DataError, match=r"2 files are both training and test images, such as 'a/1.png'; keep each"):
        load(root, test=root)


def test_load__two_test_sets(make: Make) -> None:
    with pytest.raises(DataError, match="the training source holds test images of its own; leave out test="):
        load(make("set", "train/a/1.png", "train/b/1.png", "test/a/1.png"), test=make("t", "a/1.png"))


def test_load__label_names_differ_between_train_and_test(make: Make) -> None:
    message = r"test or validation images have labels that no training image has: 'cat'; training has: 'cats', 'dogs'"
    with pytest.raises(DataError, match=message):
        load(make("photos", "cats/1.png", "dogs/1.png"), test=make("t", "cat/1.png", "dogs/1.png"))
    with pytest.raises(DataError, match=message):
        load(make("set", "train/cats/1.png", "train/dogs/1.png", "test/cat/1.png"))


def test_load__class_with_one_image(make: Make) -> None:
    assert load(make("photos", "a/1.png", "b/1.png", "b/2.png")).labels.tolist() == [0, 1, 1]


def test_load__empty_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"folder .*empty holds no image; images end in \.apng, \.avif, "):
        load(tmp_path / "empty")
    with pytest.raises(DataError, match=r"folder .*empty holds no image"):
        load(unlabeled=tmp_path / "empty")


def test_load__empty_class_folder(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png")
    (root / "c").mkdir()
    data = load(root)
    assert data.classes == ("a", "b")
    assert "class folder c/ holds no image" in data.notes


def test_load__flat_folder_as_labeled(make: Make) -> None:
    with pytest.raises(DataError, match=r"holds 2 images but no class folders; .* or pass the folder as unlabeled"):
        load(make("unlabeled", "1.png", "2.png"))


def test_load__missing_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'.*nowhere' is not there; name a folder of images, a .csv or .parquet"):
        load(tmp_path / "nowhere")


def test_load__a_file_that_is_no_manifest(make: Make) -> None:
    with pytest.raises(DataError, match="is neither a folder nor a manifest"):
        load(make("unlabeled", "1.png") / "1.png")


def test_load__junk_is_passed_over(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png", "loose.png", ".hidden/1.png", "a/._1.png")
    for name in ("a/.DS_Store", "a/Thumbs.db", "a/notes.txt", "b/model.pt"):
        (root / name).write_bytes(b"x")
    data = load(root)
    assert data.names.tolist() == ["a/1.png", "b/1.png"]
    assert "2 files that are not images were passed over" in data.notes
    assert any(note.startswith("1 image that lies beside the class folders") for note in data.notes)
    assert not data.quarantine


def test_load__quarantine_names_file_and_reason(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png", "b/2.png")
    (root / "b/2.png").write_bytes(b"")
    (root / "a/broken.jpg").symlink_to(root / "nowhere")
    data = load(root)
    assert data.quarantine == (("a/broken.jpg", "no such file"), ("b/2.png", "the file is empty"))
    assert by_name(data, "labels") == {"a/1.png": 0, "b/1.png": 1}


def test_load__links_in_a_loop(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png")
    (root / "a/up").symlink_to(root)
    (root / "b/self").symlink_to(root / "b/self")
    data = load(root)
    assert data.names.tolist() == ["a/1.png", "a/up/b/1.png", "b/1.png"]


def test_load__one_file_under_two_paths_is_two_rows(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png")
    (root / "a/2.png").symlink_to(root / "a/1.png")
    assert load(root).names.tolist() == ["a/1.png", "a/2.png", "b/1.png"]


def test_load__name_that_is_not_utf8(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png")
    picture().save(os.fsencode(root) + b"/a/\xe9.png")
    data = load(root)
    assert len(data) == 2
    assert data.quarantine == (("a/\ufffd.png", "its name is not valid UTF-8"),)


def test_load__size_and_channels_by_request(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png", size=(200, 160))
    assert load(root).shape == (3, 128, 128)
    assert load(root).rows.shape == (2, 3, 146, 146)
    data = load(root, size=28, channels=1)
    assert data.rows.shape == (2, 1, 28, 28)


@pytest.mark.parametrize(
    ("size", "channels", "message"), [(0, None, "size is 0; give"), (None, 4, "channels is 4; give")]
)
def test_load__impossible_request(size: int | None, channels: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load("digits", size=size, channels=channels)


def test_load__nothing() -> None:
    with pytest.raises(DataError, match="no images were given; name a folder"):
        load()


def test_load__content_follows_labels(make: Make) -> None:
    one = make("one", "a/1.png", "b/1.png")
    content = load(one).content
    assert load(one).content == content
    (one / "b").rename(one / "c")
    assert load(one).content != content


@pytest.mark.parametrize("name", ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"])
def test_load__folders_of_the_system_are_no_classes(make: Make, name: str) -> None:
    root = make("photos", "a/1.png", "b/1.png", f"{name}/1.png", f"a/{name}/1.png")
    data = load(root)
    assert data.names.tolist() == ["a/1.png", "b/1.png"]
    assert f"folders of the system are not images of the task, and left out: {name}" in data.notes
    assert len(load(unlabeled=root)) == 2


def test_load__own_runs_are_left_out_whatever_their_name(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png", "results/x/plots/1.png", "identity/1.png")
    (root / "results/x/identity.json").write_text('{"format": 1}')
    (root / "identity/identity.json").write_text('{"holder": "none of ours"}')
    data = load(root)
    assert data.classes == ("a", "b", "identity")
    assert "results of this program are not images of the task, and left out: results/x/" in data.notes


@pytest.mark.parametrize("names", [("a/1.png", "b/1.png"), ("train/a/1.png", "train/b/1.png")])
def test_load__one_level_too_high(make: Make, names: tuple[str, ...]) -> None:
    root = make("unpacked", *(f"dataset/{name}" for name in names))
    data = load(root)
    assert data.classes == ("a", "b")
    assert data.names.tolist() == [f"dataset/{name}" for name in names]
    assert f"the folder dataset/ is used, since {root} holds no other" in data.notes


def test_load__nested_folders_are_noted(make: Make) -> None:
    data = load(make("photos", "animals/cat/1.png", "animals/dog/1.png", "cars/1.png"))
    assert data.classes == ("animals", "cars")
    assert "class folder animals/ holds 2 folders such as cat/, whose images count as animals" in data.notes


def test_load__two_unicode_forms_are_one_class(make: Make) -> None:
    data = load(make("photos", "caf\u00e9/1.png", "cafe\u0301/2.png", "dog/1.png"))
    assert data.classes == ("caf\u00e9", "dog")
    assert data.labels.tolist() == [0, 0, 1]
    assert any("two Unicode forms" in note for note in data.notes)


def test_load__classes_that_differ_in_case_only_are_noted(make: Make) -> None:
    data = load(make("photos", "Cat/1.png", "cat/2.png", "dog/1.png"))
    assert data.classes == ("Cat", "cat", "dog")
    assert any("'Cat' and 'cat' differ in case only" in note for note in data.notes)


@pytest.mark.parametrize("name", ["unlabeled_images", "unlabeled-data", "Unlabelled photos", "unsup", "no_label"])
def test_load__unlabeled_by_another_name(make: Make, name: str) -> None:
    data = load(make("photos", "a/1.png", "b/1.png", f"{name}/1.png"))
    assert data.classes == ("a", "b")
    assert f"folder {name}/ is taken as unlabeled images" in data.notes


def test_load__doubtful_class_name_is_noted(make: Make) -> None:
    data = load(make("photos", "a/1.png", "b/1.png", "pool/1.png"))
    assert data.classes == ("a", "b", "pool")
    assert any(note.startswith("folder pool/ counts as a class; rename it to unlabeled/") for note in data.notes)


def test_load__folder_that_cannot_be_listed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root, scandir = make("photos", "a/1.png", "b/1.png", "a/locked/1.png"), os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == locked:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    locked = "locked"
    assert load(root).quarantine == (("a/locked", "folder cannot be read: Permission denied"),)
    locked = "photos"
    with pytest.raises(DataError, match="photos cannot be read: Permission denied; check its permissions"):
        load(root)


def test_load__folders_whose_names_are_not_utf8(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png")
    os.mkdir(os.fsencode(root) + b"/\xe9")
    assert load(root).quarantine == (("\ufffd", "its name is not valid UTF-8"),)
    with pytest.raises(DataError, match="its name is not valid UTF-8; rename it"):
        load(os.fsdecode(os.fsencode(root) + b"/\xe9"))


def test_load__folder_nested_a_thousand_deep(make: Make) -> None:
    root = make("photos", "a/1.png", "b/1.png")
    here = os.open(root / "a", os.O_RDONLY)
    for _ in range(1000):
        os.mkdir("deep", dir_fd=here)
        below = os.open("deep", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    try:
        data = load(root)
    finally:
        _remove_nested(root / "a" / "deep")
    assert len(data) == 2
    assert [reason for _, reason in data.quarantine] == ["folder cannot be read: File name too long"]


def _remove_nested(folder: Path) -> None:
    """Remove folders inside one another; shutil.rmtree recurses too deep, and pytest removes old folders with it."""
    below, next_below = folder / folder.name, folder.with_name("next")
    while below.exists():
        below.rename(next_below)
        folder.rmdir()
        next_below.rename(folder)
    folder.rmdir()
