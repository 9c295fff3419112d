"""Randomness as a pure function of a key: no generator state is kept, so any step can be repeated to the bit."""

from __future__ import annotations

import hashlib
import threading

import numpy as np
import torch
from numpy.typing import NDArray

_WORD = 0xFFFF_FFFF_FFFF_FFFF  # 64 bits: a word of Philox's key, of which there are two
_ZEROS = np.zeros(4, dtype=np.uint64)  # the counter of a generator that has drawn nothing


class _Local(threading.local):
    """A generator per thread, whose whole state is set before each use."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(key=0)
        self.generator = np.random.Generator(self.philox)


_local = _Local()


def key(*parts: str | int) -> int:
    """A 128-bit cryptographic hash of the parts, different for any two different tuples."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def generator(*parts: str | int) -> np.random.Generator:
    """A NumPy generator that depends on the parts alone."""
    return np.random.Generator(np.random.Philox(key=key(*parts)))


def uniforms(shape: tuple[int, ...], *parts: str | int) -> NDArray[np.float32]:
    """Numbers in [0, 1) that depend on the parts alone: those that `generator` of the same parts gives first."""
    number = key(*parts)
    words = np.array([number & _WORD, number >> 64], dtype=np.uint64)
    # Setting a generator's key takes a quarter of the time of making one, and this is called several times a step.
    _local.philox.state = {
        "bit_generator": "Philox",
        "state": {"counter": _ZEROS, "key": words},
        "buffer": _ZEROS,
        "buffer_pos": 4,
        "has_uint32": 0,
        "uinteger": 0,
    }
    return _local.generator.random(shape, dtype=np.float32)


def seed_torch(*parts: str | int) -> None:
    """Seed torch's own generators, which dropout and weight initialization draw from.

    `torch.manual_seed` would also queue a call for every kind of device that is not in use, with a stack trace each.
    """
    seed = key(*parts) & 0x7FFF_FFFF_FFFF_FFFF
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


class Shuffle:
    """An endless shuffled order of `size` items, epoch after epoch, that any position can be read from at once.

    Each epoch is a keyed bijection (a Feistel network with cycle walking), so a pool of any size needs no
    stored permutation and position p costs the same whether or not the positions before it were read.
    """

    _ROUNDS = 6  # four leave neighbours in pools of a dozen twice as likely as others
    _BLOCK = 8192

    def __init__(self, size: int, *parts: str | int) -> None:
        """Order `range(size)`; `size` is at least 1."""
        assert size >= 1
        self.size = size
        self._keys = generator("shuffle", *parts).integers(0, 2**63, (self._ROUNDS, 1), dtype=np.uint64)
        self._low_bits = max(1, (size - 1).bit_length() // 2)
        self._high_bits = max(1, (size - 1).bit_length() - self._low_bits)
        self._cached: tuple[int, NDArray[np.int64]] | None = None

    def take(self, start: int, count: int) -> NDArray[np.int64]:
        """The items at positions start, start + 1, ..., start + count - 1."""
        if count > self._BLOCK:
            return self._compute(start, count)
        if self._cached is None or not (self._cached[0] <= start and start + count <= self._cached[0] + self._BLOCK):
            self._cached = (start, self._compute(start, self._BLOCK))
        offset = start - self._cached[0]
        return self._cached[1][offset : offset + count]

    def _compute(self, start: int, count: int) -> NDArray[np.int64]:
        position = np.arange(start, start + count, dtype=np.uint64)
        epoch = _mix(position // np.uint64(self.size))
        round_keys = _mix(epoch ^ self._keys)  # (rounds, positions): a small pool has many epochs in one call
        value = self._encipher(position % np.uint64(self.size), round_keys)
        outside = np.flatnonzero(value >= self.size)
        while len(outside):
            value[outside] = self._encipher(value[outside], round_keys[:, outside])
            outside = outside[value[outside] >= self.size]
        return value.astype(np.int64)

    def _encipher(self, value: NDArray[np.uint64], round_keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        low_bits, high_bits = np.uint64(self._low_bits), np.uint64(self._high_bits)
        low, high = value & ((np.uint64(1) << low_bits) - np.uint64(1)), value >> low_bits
        for number, round_key in enumerate(round_keys):
            if number % 2:
                low ^= _mix(high ^ round_key) >> (np.uint64(64) - low_bits)
            else:
                high ^= _mix(low ^ round_key) >> (np.uint64(64) - high_bits)
        return (high << low_bits) | low


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of SplitMix64: every input bit moves every output bit."""
    value = value + np.uint64(0x9E37_79B9_7F4A_7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return value ^ (value >> np.uint64(31))
