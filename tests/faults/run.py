"""The long attacks behind `make faults`: so many of each kind, or until the time is over."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from tests.faults.attacks import ATTACKS, Scene

RECORD = Path(__file__).parents[2] / "benchmarks" / "faults.json"
COUNTS = {"kill": 1000, "damage": 2000, "command": 1000, "call": 6000, "toml": 2000, "generated": 500}
_SAVE_S = 20.0  # between two writes of the record, which is also written at the end
_MAX_FAILURE = 4000  # characters of a traceback: its end, which names the fault


def main() -> None:
    """Attack, kind after kind in turn, from where an earlier call with the same seed stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="when to stop at the latest")
    parser.add_argument("--seed", type=int, default=0, help="of all attacks; the same seed goes on with its record")
    parser.add_argument("--only", choices=sorted(ATTACKS), help="attack in this way alone")
    parser.add_argument("--number", type=int, help="repeat this one attack and print what it finds")
    parser.add_argument("--again", action="store_true", help="repeat what failed, and count what is withstood now")
    parser.add_argument("--record", type=Path, default=RECORD)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        os.environ["UNDERSTUDY_CACHE"] = f"{folder}/cache"
        scene = Scene(Path(folder))
        if asked.again:
            _repeat_failures(scene, asked.record)
            return
        if asked.number is not None:
            sys.stdout.write(ATTACKS[asked.only](scene, _seed(asked.seed, asked.number)) + "\n")
            return
        _attack(scene, asked.minutes * 60, asked.seed, [asked.only] if asked.only else list(ATTACKS), asked.record)


def _attack(scene: Scene, limit_s: float, seed: int, kinds: list[str], path: Path) -> None:
    record = _opened(path, seed)
    begun = saved = time.monotonic()
    before = sum(one["attacks"] for one in record["kinds"].values())
    while True:
        left = {kind: COUNTS[kind] - record["kinds"][kind]["attacks"] for kind in kinds}
        spent = time.monotonic() - begun
        if spent >= limit_s or not any(count > 0 for count in left.values()):
            break
        # The kind that is furthest behind comes next, so that a run cut short has tried all of them.
        kind = max(left, key=lambda name: left[name] / COUNTS[name])
        one = record["kinds"][kind]
        number = one["attacks"]
        started = time.monotonic()
        try:
            found = ATTACKS[kind](scene, _seed(seed, number))
        except AssertionError as error:
            found = f"the scene could not be set: {error}"
        one["attacks"] += 1
        one["seconds"] = round(one["seconds"] + time.monotonic() - started, 2)
        if found:
            one["failures"].append({"number": number, "what": found[-_MAX_FAILURE:]})
        _show(record, limit_s, time.monotonic() - begun, before)
        if time.monotonic() - saved > _SAVE_S:
            saved = time.monotonic()
            _save(record, path)
    _save(record, path)
    sys.stdout.write("\n")
    for kind, one in record["kinds"].items():
        sys.stdout.write(f"{kind}: {one['attacks']} attacks, {len(one['failures'])} failures\n")
    if any(one["failures"] for one in record["kinds"].values()):
        sys.stdout.write(f"{path} holds what failed; repeat one with --only KIND --number N --seed {seed}\n")
        sys.exit(1)


def _repeat_failures(scene: Scene, path: Path) -> None:
    """Repeat the attacks that failed; those that are withstood now are counted as fixed."""
    record = json.loads(path.read_text("utf-8"))
    for kind, one in record["kinds"].items():
        failures = []
        for failure in one["failures"]:
            found = ATTACKS[kind](scene, _seed(record["seed"], failure["number"]))
            if found:
                failures.append({"number": failure["number"], "what": found[-_MAX_FAILURE:]})
            else:
                one["fixed"] = [*one.get("fixed", []), failure["number"]]
            sys.stdout.write(f"{kind} {failure['number']}: {'still fails' if found else 'fixed'}\n")
            sys.stdout.flush()
        one["failures"] = failures
        _save(record, path)


def _seed(seed: int, number: int) -> int:
    return seed * 1_000_000 + number  # no kind is tried a million times


def _opened(path: Path, seed: int) -> dict[str, Any]:
    """The record of an earlier call with this seed, or an empty one."""
    fresh = {
        "command": " ".join(["make", "faults", f"SEED={seed}"]),
        "seed": seed,
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "kinds": {kind: {"attacks": 0, "seconds": 0.0, "failures": []} for kind in ATTACKS},
    }
    if not path.exists():
        return fresh
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if found["seed"] != seed:
        return fresh
    found["kinds"] = fresh["kinds"] | found["kinds"]
    return found


def _save(record: dict[str, Any], path: Path) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    os.replace(temporary, path)


def _show(record: dict[str, Any], limit_s: float, spent_s: float, before: int) -> None:
    """One line: counts, failures, attacks a minute, and the time left."""
    kinds = record["kinds"]
    done = sum(one["attacks"] for one in kinds.values()) - before
    failures = sum(len(one["failures"]) for one in kinds.values())
    counts = ", ".join(f"{kind} {one['attacks']}" for kind, one in kinds.items())
    text = f"{counts}; {failures} failures; {60 * done / max(spent_s, 1e-9):.1f} a minute; "
    text += f"{max(0.0, limit_s - spent_s) / 60:.1f} min left"
    if sys.stdout.isatty():
        sys.stdout.write(f"\r{text}  ")
    elif done % 10 == 0:
        sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
