from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from understudy.core.errors import UserError
from understudy.core.files import atomic, load_arrays


def test_load_arrays__whole(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", ids=np.arange(3))
    assert load_arrays(tmp_path / "a.npz")["ids"].tolist() == [0, 1, 2]  # type: ignore[index]


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "missing", "another"])
def test_load_arrays__damaged(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, ids=np.arange(3000))
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 4
    changed = {"empty": b"", "cut": content[:90], "flipped": content, "text": b"text"}
    if damage == "another":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    assert load_arrays(path) is None


def test_atomic__replaces_the_file_and_keeps_the_one_before(tmp_path: Path) -> None:
    path, before = tmp_path / "new" / "a.txt", tmp_path / "new" / "b.txt"
    for text in ("first", "second"):
        with atomic(path, parents=True, replaced=before) as temporary:
            temporary.write_text(text)
            assert path.exists() is (text == "second")
    assert (path.read_text(), before.read_text()) == ("second", "first")
    assert sorted(found.name for found in path.parent.iterdir()) == ["a.txt", "b.txt"]


def test_atomic__an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("first")
    with pytest.raises(UnicodeEncodeError), atomic(path) as temporary, temporary.open("w", encoding="ascii") as file:
        file.writelines(["half", "ä"])
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic__explains_a_full_disk_and_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the disk that holds .* is full \(\d+ MB free\)"), atomic(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(UserError, match=r"cannot write to .*absent"), atomic(tmp_path / "absent" / "a") as temporary:
        temporary.write_text("text")
