"""The store is found again, survives bad files, crashes and full disks, and never shows half of itself."""

from __future__ import annotations

import errno
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.conftest import Make, picture
from understudy.core.errors import DataError, UserError
from understudy.data import decode, workers
from understudy.data import store as store_module
from understudy.data.copies import hash_rows
from understudy.data.sizing import Form
from understudy.data.store import Stored, _remove_abandoned, cache_folder, store
from understudy.data.table import to_names

FORM = Form(16, 16, 3)
MANY = tuple(f"{number:03}.png" for number in range(150))


def decoded(root: Path, names: tuple[str, ...], **settings: object) -> Stored:
    return store(to_names(names), to_names([str(root / name) for name in names]), FORM, **settings)  # type: ignore[arg-type]


def expected(*seeds: int) -> torch.Tensor:
    return torch.stack([torch.tensor(np.asarray(picture(seed))).permute(2, 0, 1) for seed in seeds])


def test_store__rows_in_order_and_reused(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", *MANY)
    calls: list[tuple[int, int]] = []
    first = decoded(root, MANY, observe=lambda done, total: calls.append((done, total)))
    assert torch.equal(first.rows, expected(*range(150)))
    assert calls[-1] == (150, 150)
    assert not first.quarantine
    calls.clear()
    again = decoded(root, MANY, observe=lambda done, total: calls.append((done, total)))
    assert torch.equal(again.rows, first.rows)
    assert again.content == first.content
    assert not calls
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("count", [4, 150], ids=["in this process", "in worker processes"])
def test_store__sizes_and_hashes_of_the_readable_files(make: Make, count: int) -> None:
    names = MANY[:count]
    root = make("unlabeled", *names)
    picture(0, (40, 20)).save(root / names[1])
    picture(3).save(root / names[2])
    (root / names[0]).write_bytes(b"")
    for _ in range(2):
        result = decoded(root, names)
        assert result.sizes.tolist() == [[40, 20], *[[16, 16]] * (count - 2)]
        assert result.hashes.tolist() == hash_rows(result.rows).tolist()
        assert result.hashes[1] == result.hashes[2] != result.hashes[0]


def test_store__content_follows_bytes_and_form(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", "a.png", "b.png")
    names = ("a.png", "b.png")
    before = decoded(root, names)
    picture(9).save(root / "b.png")
    after = decoded(root, names)
    assert after.content != before.content
    assert torch.equal(after.rows, expected(0, 9))
    paths = to_names([str(root / name) for name in names])
    assert store(to_names(names), paths, Form(8, 8, 3)).content != after.content


def test_store__a_write_to_the_rows_does_not_reach_the_file(make: Make) -> None:
    root = make("unlabeled", "a.png")
    decoded(root, ("a.png",)).rows.zero_()
    assert torch.equal(decoded(root, ("a.png",)).rows, expected(0))


@pytest.mark.parametrize("count", [4, 150], ids=["in this process", "in worker processes"])
def test_store__bad_files_are_named_and_left_out(make: Make, count: int) -> None:
    names = MANY[:count]
    root = make("unlabeled", *names)
    (root / names[0]).write_bytes(b"")
    (root / names[2]).unlink()
    before = {path: path.stat().st_mtime_ns for path in root.iterdir()}
    result = decoded(root, names)
    assert result.quarantine == ((0, "the file is empty"), (2, "no such file"))
    assert result.readable.tolist() == [position not in (0, 2) for position in range(count)]
    assert torch.equal(result.rows, expected(*(n for n in range(count) if n not in (0, 2))))
    assert decoded(root, names).quarantine == result.quarantine
    assert {path: path.stat().st_mtime_ns for path in root.iterdir()} == before


def test_store__what_cannot_be_read(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", "good.png")
    (root / "folder.jpg").mkdir()
    (root / "dangling.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (root / "loop.jpg").symlink_to(root / "loop.jpg")
    os.mkfifo(root / "pipe.jpg")
    names = ("good.png", "folder.jpg", "dangling.jpg", "loop.jpg", "pipe.jpg")
    reasons = dict(decoded(root, names).quarantine)
    assert reasons[1] == "not a file"
    assert reasons[2] == "no such file"
    assert "symbolic links" in reasons[3]
    assert reasons[4] == "not a file"


def test_store__no_permission(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make("unlabeled", "good.png", "secret.png")
    real = open

    def refusing(path: str, *args: object) -> object:
        if str(path).endswith("secret.png"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args)  # type: ignore[call-overload]

    monkeypatch.setattr(decode, "open", refusing, raising=False)
    assert decoded(root, ("good.png", "secret.png")).quarantine == ((1, "cannot be read: Permission denied"),)


def test_store__all_bad(make: Make) -> None:
    root = make("unlabeled", "a.png", "b.png")
    for path in root.iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        DataError, match=r"none of the 2 image files could be used; the first, 'a.png': the file is empty"
    ):
        decoded(root, ("a.png", "b.png"))


def test_store__full_disk_before_writing(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = make("unlabeled", "a.png")
    monkeypatch.setattr(store_module.shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(UserError, match=r"the disk of .*cache is full: the decoded images need 1 MB there; free some"):
        decoded(root, ("a.png",))
    assert not list((tmp_path / "cache").iterdir())


def test_store__full_disk_while_writing(make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    root = make("unlabeled", *MANY)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(workers._DecodingWorker, "decode", full)
    with pytest.raises(UserError, match="is full"):
        decoded(root, MANY, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())


def test_store__worker_reports_a_failed_write(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", *MANY)
    paths = [str(root / name) for name in MANY]
    with pytest.raises(FileNotFoundError):
        list(workers.decode_all(paths, FORM, tmp_path / "missing"))


def test_store__cache_that_cannot_be_a_folder(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", "a.png")
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"cannot be written to .*taken .*; name another folder with cache="):
        decoded(root, ("a.png",), cache=tmp_path / "taken")


def test_store__damaged_store_is_made_again(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", "a.png", "b.png")
    names = ("a.png", "b.png")
    decoded(root, names)
    rows = next((tmp_path / "cache").glob("*/rows.u8"))
    for file, length in ((rows, 100), (rows.parent / "facts.npy", 70), (rows.parent / "facts.npy", 0)):
        os.truncate(file, length)
        assert torch.equal(decoded(root, names).rows, expected(0, 1))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [rows.parent.name]


def test_store__two_at_once(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", *MANY)
    results: list[Stored] = []
    threads = [threading.Thread(target=lambda: results.append(decoded(root, MANY))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert all(torch.equal(result.rows, expected(*range(150))) for result in results)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_store__killed_process_leaves_nothing_half_valid(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", *MANY)
    script = (
        "import os, signal\n"
        "from tests.data.test_store import MANY, decoded\n"
        "from pathlib import Path\n"
        f"decoded(Path({str(root)!r}), MANY, observe=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    left = list((tmp_path / "cache").iterdir())
    assert [path.name.startswith(".decoding-") for path in left] == [True]
    assert torch.equal(decoded(root, MANY).rows, expected(*range(150)))
    assert not left[0].exists()  # its process has ended


def test_store__interrupted(make: Make, tmp_path: Path) -> None:
    root = make("unlabeled", *MANY)

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(root, MANY, observe=interrupt)
    assert not list((tmp_path / "cache").iterdir())


def test_decode_all__a_file_that_crashes_the_decoder(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make("unlabeled", *MANY)
    crashing = tmp_path / "decode.py"
    source = Path(decode.__file__).read_text("utf-8")
    hook = 'if path.endswith("077.png"): os.abort()'
    source = source.replace(
        '    try:\n        with open(path, "rb")', f'    import os\n    {hook}\n    try:\n        with open(path, "rb")'
    )
    crashing.write_text(source)
    monkeypatch.setattr(decode, "__file__", str(crashing))
    monkeypatch.setattr(workers, "CHUNK", 8)
    result = decoded(root, MANY)
    assert result.quarantine == ((77, "damaged: the decoder crashed"),)
    assert torch.equal(result.rows, expected(*(n for n in range(150) if n != 77)))


def test_decode_all__without_an_interpreter_to_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make("unlabeled", *MANY)
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert torch.equal(decoded(root, MANY).rows, expected(*range(150)))


def test_decode__worker_starts_without_torch() -> None:
    code = "import sys, runpy; runpy.run_path(sys.argv[1], run_name='decode'); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, decode.__file__], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_cache_folder__order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("UNDERSTUDY_CACHE", str(tmp_path / "b"))
    assert cache_folder() == tmp_path / "b"
    monkeypatch.delenv("UNDERSTUDY_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c" / "understudy"


def test_store__bomb_among_good_files(make: Make) -> None:
    from tests.data.test_decode import bomb

    root = make("unlabeled", "a.png")
    (root / "bomb.png").write_bytes(bomb(30_000))
    ((position, reason),) = decoded(root, ("a.png", "bomb.png")).quarantine
    assert position == 1
    assert reason.endswith("pixels are over the limit of 178 million")
    assert Image.MAX_IMAGE_PIXELS is not None


def test_store__drafts_of_dead_processes_are_removed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for name, owner in (("dead", process.pid), ("alive", os.getpid())):
        draft = tmp_path / f".decoding-{name}"
        draft.mkdir()
        (draft / "owner").write_text(f"{platform.node()} {owner}")
    _remove_abandoned(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".decoding-alive"]
