"""Whether a file or folder can be written is said before the work, and nothing is left behind by asking."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from understudy.core.errors import UserError
from understudy.core.outputs import check_folder, check_output

NOT_UTF8 = os.fsdecode(b"caf\xe9.csv")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.txt", r"a table is a \.csv or \.parquet file, and 'a\.txt' was given; name one that ends in \.csv or"),
        ("folder.csv", r"folder\.csv is a folder, and a table is a file; give another name with --out"),
        ("file/a.csv", r"file/a\.csv cannot be written \(.+\); give another name with --out"),
        ("/proc/nowhere/a.csv", r"/proc/nowhere/a\.csv cannot be written"),
        (NOT_UTF8, "is not valid UTF-8; give another name with --out"),
        (f"{NOT_UTF8}/a.csv", "is not valid UTF-8; give another name with --out"),
        ("x" * 250 + ".csv", "is longer than a file system allows"),
        ("a\0.csv", "holds a NUL character; give another name with --out"),
        ("pipe.csv", "is a device or a pipe, and a table is a file"),
    ],
)
def test_check_output__refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, sentence: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder.csv").mkdir()
    Path("file").write_text("", "utf-8")
    os.mkfifo("pipe.csv")
    with pytest.raises(UserError, match=sentence):
        check_output(Path(name), "a table", (".csv", ".parquet"), option="--out")
    assert sorted(os.listdir(".")) == ["file", "folder.csv", "pipe.csv"]


def test_check_output__folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("understudy.core.outputs.tempfile.TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"a\.csv cannot be written \(Permission denied\); give another name"):
        check_output(tmp_path / "a.csv", "a table", (".csv",))
    with pytest.raises(UserError, match=r"run cannot be written \(Permission denied\); give another folder with --out"):
        check_folder(tmp_path / "run", option="--out")


def test_check_output__what_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "there.CSV").write_text("a", "utf-8")
    check_output(tmp_path / "there.CSV", "a table", (".csv",))
    check_output(tmp_path / "new" / "é.csv", "a table", (".csv",))
    assert (tmp_path / "there.CSV").read_text("utf-8") == "a"
    assert os.listdir(tmp_path / "new") == []


def test_check_folder__refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    for name in ("file", "file/run"):
        with pytest.raises(UserError, match=f"{name} cannot be written"):
            check_folder(tmp_path / name, option="--out")
    with pytest.raises(UserError, match="is not valid UTF-8; give another folder with --out"):
        check_folder(tmp_path / NOT_UTF8, option="--out")


def test_check_output__what_is_read_is_not_replaced(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("path\n1.png\n", "utf-8")
    with pytest.raises(UserError, match=r"list\.csv is read, and a table would replace it; give another name"):
        check_output(table, "a table", option="--out", reads=["digits", str(tmp_path / "." / "list.csv")])
    assert table.read_text("utf-8") == "path\n1.png\n"
