"""Objects that nobody should give to a function: data sets that fail, odd tensors, broken networks."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROWS = np.random.default_rng(0).random((12, 6)).astype(np.float32)
LABELS = np.arange(12) % 2
DATA = (ROWS, LABELS)


class Unprintable:
    """An object without a text."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __str__ = __repr__


class Unusable(Unprintable):
    """An object of which nothing can be asked."""

    def _refuse(self, *_: object) -> Any:
        raise RuntimeError("not this")

    __len__ = __iter__ = __getitem__ = __fspath__ = __array__ = __index__ = __float__ = __bool__ = _refuse
    __eq__ = __contains__ = __call__ = _refuse
    __hash__ = object.__hash__


class Attributeless:
    """An object whose every attribute raises something other than an AttributeError."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Everything:
    """An object that has every attribute, each of which is itself."""

    def __getattr__(self, name: str) -> Any:
        return self


class WrongPath:
    """A path that is none."""

    def __fspath__(self) -> Any:
        return 5


class Listed:
    """A data set whose items and length a function and a value decide.

    Args:
        item: Gives the item at a position.
        length: What `len` returns, or the error that it raises.
    """

    def __init__(self, item: Callable[[int], Any], length: Any = 12) -> None:
        self.item, self.length = item, length

    def __len__(self) -> int:
        if isinstance(self.length, BaseException):
            raise self.length
        return self.length  # type: ignore[no-any-return]

    def __getitem__(self, position: int) -> Any:
        return self.item(position)


class Endless(Listed):
    """A data set that returns itself."""

    def __init__(self) -> None:
        super().__init__(lambda _: self)


class Network(nn.Module):
    """A linear layer, and a function that spoils what it returns."""

    def __init__(
        self, spoil: Callable[[Tensor], Any] = lambda logits: logits, *, layer: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 2) if layer is None else layer
        self.spoil = spoil

    def forward(self, x: Tensor) -> Any:
        """The spoiled logits."""
        return self.spoil(self.layer(x))


class Uncopyable(Network):
    """A network that cannot be copied."""

    def __deepcopy__(self, memory: object) -> Any:
        raise RuntimeError("no copy")


def _raise(error: BaseException) -> Any:
    raise error


def _row(position: int) -> Any:
    return ROWS[position % 12], int(LABELS[position % 12])


def _recurse(position: int) -> Any:
    return _recurse(position)


def datasets() -> tuple[Any, ...]:
    """Data sets that raise, lie about their length, end early, change, or give items of no known kind."""
    drawn = np.random.default_rng(1)
    items: tuple[Callable[[int], Any], ...] = (
        lambda at: _row(at) if at < 5 else _raise(RuntimeError("item 5")),
        lambda at: _row(at) if at < 5 else _raise(IndexError("item 5")),
        lambda at: _row(at) if at < 5 else _raise(KeyError(at)),
        lambda at: _row(at) if at < 5 else _raise(MemoryError("item 5")),
        lambda at: _raise(StopIteration()),
        lambda at: _raise(NotImplementedError()),
        _recurse,
        lambda at: (drawn.random(6), at % 2),
        lambda at: (ROWS[at][: 1 + at % 3], at % 2),
        lambda at: (ROWS[at][:0], at % 2),
        lambda at: None,
        lambda at: (),
        lambda at: (ROWS[at], 1, 2),
        lambda at: {},
        lambda at: {"image": None},
        lambda at: {5: ROWS[at]},
        lambda at: (ROWS[at], object()),
        lambda at: (ROWS[at], Unprintable()),
        lambda at: (ROWS[at], {"a": 1}),
        lambda at: (ROWS[at], [0, 1]),
        lambda at: (ROWS[at], float("inf")),
        lambda at: (ROWS[at], 10**400),
        lambda at: (ROWS[at] * np.nan, 0),
        lambda at: ("\ud800.png", 0),
        lambda at: ("a\0b.png", 0),
        lambda at: (b"not an image", 0),
        lambda at: (Unusable(), 0),
        lambda at: Unusable(),
        lambda at: (Attributeless(), 0),
        lambda at: (Everything(), 0),
        lambda at: (torch.zeros(6, device="meta"), at % 2),
        lambda at: (torch.zeros(6).to_sparse(), at % 2),
        lambda at: (np.zeros((4, 4, 7), np.uint8), at % 2),
        lambda at: (np.zeros((4, 0, 3), np.uint8), at % 2),
        lambda at: (np.zeros((2, 2, 2, 2, 2)), at % 2),
        lambda at: (ROWS[at].astype(complex), at % 2),
        lambda at: (np.array(["a"] * 6), at % 2),
    )
    lengths = (0, -1, 1.5, "12", 10**12, 10**30, None, RuntimeError("no length"), RecursionError(), MemoryError())
    return (Endless(), *map(Listed, items), *(Listed(_row, length) for length in lengths))


def arrays() -> tuple[Any, ...]:
    """Arrays and tensors of odd shapes, types, layouts and places."""
    rows = torch.from_numpy(ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # prototypes and what is on its way out, both of which users have
        odd = (
            rows.to_sparse(),
            rows.to_sparse_csr(),
            torch.quantize_per_tensor(rows, 0.1, 0, torch.quint8),
            torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
            torch.nested.nested_tensor([torch.zeros(3), torch.zeros(3)], layout=torch.jagged),
        )
    return (
        *odd,
        torch.zeros(12, 6, device="meta"),
        torch.zeros(12, 6, dtype=torch.complex64),
        torch.zeros(12, 0),
        torch.zeros(0, 6),
        torch.zeros(12, 3, 0, 4),
        torch.zeros(()),
        torch.zeros(1, 1, 1, 1, 1, 1),
        torch.zeros(12, 5, 4, 4),
        rows * float("nan"),
        rows * float("inf"),
        rows * 1e38,
        ROWS.astype(complex),
        ROWS[:0],
        ROWS.astype(str),
        np.zeros((12, 6), "datetime64[s]"),
        np.zeros((12, 6), [("a", "i4")]),
        np.array([object()] * 12),
        np.array([Unprintable()] * 12),
        np.array([[1, 2], [3]], dtype=object),
        np.float32(1),
        np.ma.masked_array(ROWS, ROWS > 0.5).filled(np.nan),
        [[1.0], [1.0, 2.0]],
        [Unusable()] * 12,
        memoryview(b"abc"),
        range(12),
    )


def labels() -> tuple[Any, ...]:
    """Labels for twelve rows that are none."""
    values = (
        object(),
        Unprintable(),
        Unusable(),
        {},
        [0],
        float("inf"),
        0.5,
        10**400,
        2**63,
        -2,
        1j,
        b"a",
        "a\0b",
        "\ud800",
    )
    return (
        *([value] * 12 for value in values),
        [0] * 11,
        [0] * 12,
        [-1] * 12,
        [None] * 12,
        [0, "a"] * 6,
        np.zeros((12, 2, 2)),
        np.zeros((12, 5)),
        np.zeros((0, 12)),
        torch.zeros(12, device="meta", dtype=torch.long),
        torch.zeros(12, dtype=torch.long).to_sparse(),
        5,
        "abc",
        Unusable(),
        Endless(),
        iter([0] * 12),
    )


def networks() -> tuple[Any, ...]:
    """Networks that are detached, frozen, transposed, on the meta device, or no networks."""
    cyclic, locked, shapeless = Network(), Network(), Network()
    cyclic.myself = cyclic
    locked.lock = threading.Lock()
    shapeless.register_parameter("odd", nn.Parameter(torch.tensor(float("nan"))))
    frozen = Network().requires_grad_(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a feature that may change
        complex_numbers = Network().to(torch.complex64)
    spoils: tuple[Callable[[Tensor], Any], ...] = (
        lambda logits: logits.detach(),
        lambda logits: logits.T,
        lambda logits: logits[:1],
        lambda logits: logits[..., None],
        lambda logits: logits.sum(),
        lambda logits: logits.long(),
        lambda logits: logits.to(torch.complex64),
        lambda logits: logits * float("nan"),
        lambda logits: logits.numpy(),
        lambda logits: logits.tolist(),
        lambda logits: logits.to("meta"),
        lambda logits: logits.to_sparse(),
        lambda logits: None,
        lambda logits: "logits",
        lambda logits: {},
        lambda logits: (),
        lambda logits: Unusable(),
        lambda logits: Everything(),
        lambda logits: _raise(RuntimeError("forward")),
        lambda logits: _raise(KeyError("forward")),
        lambda logits: _recurse(0),
    )
    return (
        cyclic,
        locked,
        shapeless,
        frozen,
        *map(Network, spoils),
        Network(layer=nn.Linear(6, 2, device="meta")),
        Network(layer=nn.Linear(7, 2)),
        Network(layer=nn.Linear(6, 3)),
        Network(layer=nn.Identity()),
        Network().half(),
        Network().double(),
        complex_numbers,
        Uncopyable(),
        nn.Module(),
        nn.Linear,
        nn.Module,
        Unusable,
        Unusable(),
        Attributeless(),
        Everything(),
        lambda: 5,
        lambda size: Network(),
        lambda: _raise(RuntimeError("no network")),
        5,
        object(),
        [],
        {},
        Network().state_dict(),
        "",
        "nope",
        "timm:",
        "timm:a\0b",
        "torchvision:nope",
        "nope.py:f",
        "nope:f",
        "os:getcwd",
        "os:nope",
        "a\0b.py:f",
        "\ud800",
        "x" * 5000,
        ".:f",
        "..a:f",
        ":f",
        "module:",
    )
