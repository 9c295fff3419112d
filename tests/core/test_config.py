"""Settings check themselves, from code as from a file, and say what is allowed."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
import tomli_w

from understudy.core.config import Config, Knob, from_table, knobs, override, read_toml, to_table
from understudy.core.errors import ConfigError
from understudy.core.registry import Registry

SHAPES: Registry[Any] = Registry("shape", "tests.core")
SHAPES._loaded = True


@dataclass(frozen=True, kw_only=True)
class Shape(Config):
    variants: ClassVar[Registry[Any] | None] = SHAPES
    color: Annotated[str, Knob("paint", choices=("red", "blue"))] = "red"


@SHAPES.register("circle")
@dataclass(frozen=True, kw_only=True)
class Circle(Shape):
    radius: Annotated[float, Knob("half its width", 0, 10, probe=3.0)] = 1.0


@SHAPES.register("box")
@dataclass(frozen=True, kw_only=True)
class Box(Shape):
    sides: tuple[int, ...] = (1, 2)


@dataclass(frozen=True, kw_only=True)
class Drawing(Config):
    shape: Shape = field(default_factory=Circle)
    frame: Shape | None = None
    title: str | None = None
    copies: Annotated[int, Knob("how many", 1)] = 1
    signed: bool = False


def error(call: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


def test_config__ranges_on_direct_construction() -> None:
    assert error(lambda: Circle(radius=-1.0)) == "circle.radius is -1.0; it must be at least 0"
    assert error(lambda: Circle(radius=10.5)) == "circle.radius is 10.5; it must be at most 10"
    assert error(lambda: Circle(radius=float("nan"))) == "circle.radius is nan; it must be at least 0"
    assert error(lambda: Circle(color="reed")) == "circle.color is 'reed'; did you mean 'red'? allowed: blue, red"
    assert error(lambda: Drawing(copies=0)) == "Drawing.copies is 0; it must be at least 1"


def test_config__types_on_direct_construction() -> None:
    assert error(lambda: Circle(radius="1")) == "circle.radius is '1': input should be a valid number"
    assert error(lambda: Drawing(copies=1.0)) == "Drawing.copies is 1.0: input should be a valid integer"
    assert error(lambda: Drawing(copies=True)).startswith("Drawing.copies is True: input should be a valid integer")
    assert error(lambda: Drawing(shape="circle")) == "Drawing.shape is 'circle'; it must be a table of Shape settings"
    assert Circle(radius=2).radius == 2
    assert Drawing(frame=None).frame is None


def test_config__all_problems_at_once() -> None:
    text = error(lambda: Circle(radius=-1.0, color="green"))
    assert "circle.color is 'green'; " in text
    assert "; circle.radius is -1.0; " in text


def test_knobs__declared_once() -> None:
    assert set(knobs(Circle)) == {"color", "radius"}
    assert knobs(Circle)["radius"].allowed == "0 to 10"
    assert knobs(Circle)["color"].allowed == "red | blue"
    assert knobs(Drawing)["copies"].allowed == "1 to inf"
    assert Knob("x", high=2.0).allowed == "-inf to 2"
    assert Knob("x").allowed == "any"


@pytest.mark.parametrize(
    "drawing",
    [
        Drawing(),
        Drawing(shape=Box(sides=(3, 4, 5), color="blue"), frame=Circle(radius=0.5), title="a", copies=3, signed=True),
    ],
)
def test_from_table__undoes_to_table(drawing: Drawing) -> None:
    assert from_table(Drawing, tomllib.loads(tomli_w.dumps(to_table(drawing)))) == drawing


def test_from_table__unknown_settings_name_the_nearest() -> None:
    assert error(lambda: from_table(Drawing, {"shape": {"name": "circle", "raduis": 1.0}})) == (
        "unknown setting shape.raduis: did you mean 'radius'? allowed: color, radius"
    )
    assert error(lambda: from_table(Drawing, {"zzz": 1}, where="top")).startswith("unknown setting top.zzz: allowed: ")
    assert error(lambda: from_table(Drawing, {"shape": {"name": "circel"}})) == (
        "unknown shape 'circel'; did you mean 'circle'? allowed: box, circle"
    )
    assert error(lambda: from_table(Shape, {"radius": 1.0})) == "Shape needs a name; allowed: box, circle"


def test_from_table__ranges_say_where() -> None:
    assert error(lambda: from_table(Drawing, {"shape": {"name": "circle", "radius": 11.0}})) == (
        "shape.radius is 11.0; it must be at most 10"
    )


def test_override__values_of_every_type() -> None:
    table: dict[str, Any] = {"shape": {"name": "circle", "radius": 1.0}, "copies": 1}
    changed = override(
        table, ["shape.radius=2.5", "copies = 3", "signed=true", "title=two words", "frame.name=box", "frame.sides=[7]"]
    )
    assert changed == {
        "shape": {"name": "circle", "radius": 2.5},
        "copies": 3,
        "signed": True,
        "title": "two words",
        "frame": {"name": "box", "sides": [7]},
    }
    assert table == {"shape": {"name": "circle", "radius": 1.0}, "copies": 1}
    assert from_table(Drawing, changed).frame == Box(sides=(7,))


def test_override__another_name_drops_the_old_settings() -> None:
    table = {"shape": {"name": "circle", "radius": 2.0}}
    assert override(table, ["shape.name=box"]) == {"shape": {"name": "box"}}


@pytest.mark.parametrize("assignment", ["radius", "=3", "a..b=3", ""])
def test_override__no_assignment(assignment: str) -> None:
    assert error(lambda: override({}, [assignment])) == (
        f"override {assignment!r} is not KEY=VALUE; write for example method.threshold=0.9"
    )


def test_override__through_a_value() -> None:
    assert error(lambda: override({"copies": 1}, ["copies.many=2"])) == (
        "override 'copies.many=2' goes through 'copies', which is a value and no table"
    )


def test_read_toml(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    assert error(lambda: read_toml(path)) == f"configuration file {path} does not exist"
    path.write_text("a = [")
    assert error(lambda: read_toml(path)).startswith(f"configuration file {path} is not TOML: ")
    path.write_bytes(b"\xff\xfe")
    assert error(lambda: read_toml(path)).startswith(f"configuration file {path} is not TOML: ")
    path.write_text("[a]\nb = 1")
    assert read_toml(path) == {"a": {"b": 1}}


def test_register__a_name_that_is_taken() -> None:
    assert error(lambda: SHAPES.register("box")(Circle)) == "shape 'box' is already taken by Box"
    assert Circle.name == "circle"


def test_registry__names_and_classes() -> None:
    assert SHAPES.names() == ["box", "circle"]
    assert SHAPES.get("box") is Box
    assert error(lambda: SHAPES.get("sphere")) == "unknown shape 'sphere'; allowed: box, circle"
