"""One attack of each kind, wholly determined by its seed; what it returns is empty when the project withstood it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults import hostile_arguments, hostile_files, runs
from tests.faults.hostile_commands import call_command
from tests.faults.hostile_toml import call_toml
from tests.faults.isolated import isolated
from understudy.api.train import train
from understudy.core.errors import UserError

_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BY_CLOCK = 0.25  # share of the signals that come after a time
_MAX_KILLS = 3  # of one run; then it may finish
_NOT_READ = {"lock", "log.txt", "config.toml", "quarantine.json", "splits.json", "error.txt", "progress.json"}


class Scene:
    """Finished and interrupted runs of every kind, made once and copied for each attack."""

    def __init__(self, folder: Path, kinds: tuple[str, ...] = tuple(runs.KINDS)) -> None:
        """`folder` is where they are kept; `kinds` are those of `runs.KINDS` to attack."""
        self.folder, self.kinds = folder, kinds

    @functools.cache  # noqa: B019 - a scene lives as long as its process
    def finished(self, kind: str) -> tuple[Path, int, dict[str, Any], dict[str, Any]]:
        """An undisturbed run, its moments, its outcome, and what later commands say of it."""
        path = self.folder / kind
        found = _succeeded(lambda: [runs.run_until(kind, path), runs.outcome(path), runs.uses(path), list(sys.modules)])
        if len(self.kinds) > 1:  # one attack is not worth it
            self._import(found[3])
        return path, *found[:3]

    def _import(self, names: list[str]) -> None:
        """Import what a child had to, so that its successors need not."""
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    @functools.cached_property
    def duration_s(self) -> float:
        """The seconds that an undisturbed plain run takes."""
        self.finished(self.kinds[0])
        begun = time.perf_counter()
        with _workplace() as place:
            _succeeded(lambda: runs.run_until(self.kinds[0], place / "run"))
        return time.perf_counter() - begun

    @functools.cached_property
    def vectors(self) -> Path:
        """A finished run on rows of numbers."""
        path = self.folder / "vectors"

        def make() -> list[str]:
            train(hostile_arguments.DATA, folder=path, budget="1steps", plan=False, quiet=True)
            return list(sys.modules)

        self._import(_succeeded(make))
        return path

    @functools.cache  # noqa: B019
    def interrupted(self, kind: str, part: int) -> Path:
        """A run killed after about so many quarters of its moments."""
        path = self.folder / f"{kind}-{part}"
        fatal = self.finished(kind)[1] * part // 4
        ended = isolated(lambda: runs.run_until(kind, path, fatal))
        assert ended.killed, ended.error
        return path


def kill(scene: Scene, seed: int) -> str:
    """Kill a run at random moments, resume it, and compare its outcome with an undisturbed one's."""
    draw = random.Random(f"kill {seed}")
    kind = draw.choice(scene.kinds)
    _, moments, wanted, _ = scene.finished(kind)
    with _workplace() as place:
        kills = []
        for _ in range(draw.randint(1, _MAX_KILLS)):
            number = draw.choice(_SIGNALS)
            # Most come at a moment of which there is something to lose, and which the seed repeats.
            by_clock = draw.random() < _BY_CLOCK
            after_s = draw.uniform(0, scene.duration_s) if by_clock else None
            moment = None if by_clock else draw.randrange(moments)
            kills.append(f"{signal.Signals(number).name} {f'after {after_s:.2f} s' if by_clock else f'at {moment}'}")
            ended = isolated(functools.partial(runs.run_until, kind, place / "run", moment, number, after_s))
            if ended.error:
                return f"{kind}, {kills}: {ended.error}"
            if not ended.killed and ended.value != runs.INTERRUPTED:
                break  # a resumed run has fewer moments left
        ended = isolated(lambda: [runs.run_until(kind, place / "run"), runs.outcome(place / "run")])
        if ended.error or ended.killed:
            return f"{kind}, {kills}, resumed: {ended.error or 'killed'}"
        found = runs.difference(wanted, ended.value[1])
        return f"{kind}, {kills}: {found}" if found else ""


def damage(scene: Scene, seed: int) -> str:
    """Damage a file of a run folder; the next command says so in a sentence, or ends as if nothing had happened."""
    draw = random.Random(f"damage {seed}")
    kind, part = draw.choice(scene.kinds), draw.randint(1, 4)
    path, _, wanted, wanted_uses = scene.finished(kind)
    source = path if part == 4 else scene.interrupted(kind, part)
    with _workplace() as place:
        folder = place / "run"
        shutil.copytree(source, folder)
        files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name not in _NOT_READ)
        victim = draw.choice(files)
        how = _damage(victim, draw, files)
        name = f"{kind}, part {part}, {victim.relative_to(folder)}: {how}"
        uses = part == 4 and draw.random() < 0.5
        if uses:
            ended = isolated(lambda: _or_sentence(lambda: runs.uses(folder)))
        else:
            ended = isolated(lambda: _or_sentence(lambda: [runs.run_until(kind, folder), runs.outcome(folder)][1]))
        if ended.error or ended.killed:
            return f"{name}: {ended.error or 'killed'}"
        if "sentence" in ended.value:
            return "" if str(folder) in ended.value["sentence"] else f"{name}: names no file: {ended.value['sentence']}"
        compared, found = (wanted_uses if uses else wanted), ended.value["found"]
        if kind == "compare" and not uses:  # a finished run is not read again; who reads its file gets an error
            own = victim.relative_to(folder).as_posix()
            compared, found = ({key: part for key, part in all_.items() if key != own} for all_ in (compared, found))
            named = [run["error"] for run in found.get("comparison.json", {}).get("runs", ())]
            if any(
                victim.name in error for error in named
            ):  # the run has failed with a sentence, and the others went on
                return ""
        changed = runs.difference(compared, found)
        return f"{name}: silently other: {changed}" if changed else ""


def command(scene: Scene, seed: int) -> str:
    """A hostile command line ends soon, with exit code 0 or 2 and without a traceback."""
    with _workplace() as place:
        return _called(lambda: call_command(place, seed))


def toml(scene: Scene, seed: int) -> str:
    """A hostile configuration or plan is read or refused in a sentence."""
    with _workplace() as place:
        return _called(lambda: call_toml(place, seed))


def call(scene: Scene, seed: int) -> str:
    """A public function given a hostile argument works, or refuses it in a sentence."""
    run = scene.vectors
    with _workplace() as place:
        return _called(lambda: hostile_arguments.call_function(place, run, seed))


def generated(scene: Scene, seed: int) -> str:
    """Generated configurations, plans and manifests are read or refused in a sentence."""
    with _workplace() as place:
        return _called(lambda: hostile_files.call_generated(place, seed))


ATTACKS: dict[str, Callable[[Scene, int], str]] = {
    "kill": kill,
    "damage": damage,
    "command": command,
    "call": call,
    "toml": toml,
    "generated": generated,
}


def _called(function: Callable[[], str]) -> str:
    ended = isolated(function, 60.0)
    return ended.error or ("killed" if ended.killed else str(ended.value or ""))


def _or_sentence(function: Callable[[], Any]) -> dict[str, Any]:
    try:
        return {"found": function()}
    except UserError as error:
        return {"sentence": str(error)}


def _succeeded(function: Callable[[], Any]) -> Any:
    ended = isolated(function, 600.0)
    assert not ended.error, ended.error
    return ended.value


@contextlib.contextmanager
def _workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _damage(path: Path, draw: random.Random, others: list[Path]) -> str:
    """Do something to a file that a disk, a copy or a person might do."""
    content = bytearray(path.read_bytes())
    how = draw.choice(("missing", "empty", "cut", "flipped", "zeroed", "appended", "line lost", "another file's"))
    where = draw.randrange(max(1, len(content)))
    if how == "missing":
        path.unlink()
        return how
    if how == "empty":
        content = bytearray()
    elif how == "cut":
        content = content[:where]
    elif how == "flipped" and content:
        content[where] ^= 1 << draw.randrange(8)
    elif how == "zeroed":
        length = min(len(content) - where, draw.choice((1, 16, 4096)))
        content[where : where + length] = bytes(length)
    elif how == "appended":
        content += bytes(draw.randrange(256) for _ in range(9))
    elif how == "line lost":
        lines = bytes(content).splitlines(keepends=True)
        lost = draw.randrange(max(1, len(lines)))
        content = bytearray(b"".join(line for number, line in enumerate(lines) if number != lost))
    elif how == "another file's":
        content = bytearray(draw.choice(others).read_bytes())
    path.write_bytes(content)
    return f"{how} at {where}"
