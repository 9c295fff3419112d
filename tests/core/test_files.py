from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from understudy.core.files import load_arrays


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
