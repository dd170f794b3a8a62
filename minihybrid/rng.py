"""Random numbers from a counter: every draw is a pure function of (key, counter), on any device.

The generator is Philox4x64-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
which is NumPy's own `Philox`. Block i of a draw is philox(key, counter + 1 + i), four 64-bit words; a draw of n words
moves the counter on by ceil(n / 4) and discards what is left of the last block. So nothing but key and counter has to
be saved, and a kernel that knows the two can produce word j of a draw by itself, from block j // 4.
"""

import math
import os
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

__all__ = ["Rng"]

Shape = int | tuple[int, ...]
Float = np.dtype[np.floating[Any]]

_FLOAT32: Float = np.dtype(np.float32)
_FLOAT64: Float = np.dtype(np.float64)


class Rng:
    """A stream of random numbers, repeated exactly by its seed, an integer >= 0.

    Drawing changes the stream; `split` makes an independent one, `clone` an equal one. `state` is all there is to know.
    Raises ValueError for a seed that is no integer >= 0.

    >>> Rng(0).uniform(2)
    array([0.0140..., 0.2577...], dtype=float32)
    >>> bool((Rng(7).words(5) == Rng(7).words(5)).all())
    True
    """

    __slots__ = ("_bits",)

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"a seed is an integer >= 0, not {seed!r}")
        self._bits = np.random.Philox(int(seed))

    @staticmethod
    def fresh() -> "Rng":
        """A stream that no seed repeats: seeded by the operating system.

        >>> bool((Rng.fresh().words(4) == Rng.fresh().words(4)).any())
        False
        """
        return Rng(int.from_bytes(os.urandom(16), "little"))

    def words(self, n: int) -> NDArray[np.uint64]:
        """The next n random 64-bit words, uint64 [n]. Raises ValueError for n < 0.

        >>> Rng(0).words(3).dtype
        dtype('uint64')
        """
        if n < 0:
            raise ValueError(f"a draw has 0 or more words, not {n}")
        # Whole blocks only: the bit generator then never keeps a rest, and (key, counter) stays its whole state.
        return self._bits.random_raw(-(-n // 4) * 4)[:n]

    def reserve(self, n: int) -> tuple[int, ...]:
        """Draw n words without making them: where they begin, as key (2 integers) and counter (4, lowest first).

        Who makes them elsewhere, from blocks counter + 1 on, gets those of `words`. Raises ValueError for n < 0.

        >>> a, b = Rng(0), Rng(0)
        >>> a.reserve(5) == (*b.state()["key"], *b.state()["counter"])
        True
        >>> _ = b.words(5)
        >>> a.state() == b.state()
        True
        """
        if n < 0:
            raise ValueError(f"a draw has 0 or more words, not {n}")
        state = self.state()
        self._bits.advance(-(-n // 4))
        return *state["key"], *state["counter"]

    def uniform(
        self, shape: Shape, low: float = 0.0, high: float = 1.0, dtype: DTypeLike = np.float32
    ) -> NDArray[np.floating[Any]]:
        """Uniform numbers `low + (high - low) * u`, one word each, in float32 or float64.

        u lies in [0, 1): for float32 it is the top 24 bits of the word times 2**-24, for float64 the top 53 times
        2**-53. With other bounds the rounding of the last sum may reach `high`. Raises ValueError for another dtype.

        >>> Rng(0).uniform((2, 3), -1, 1).shape
        (2, 3)
        """
        wanted = _float(dtype)
        u = _unit(self.words(_size(shape)), wanted).reshape(shape)
        if low != 0.0 or high != 1.0:
            u *= float(high - low)
            u += float(low)
        return u

    def normal(
        self, shape: Shape, mean: float = 0.0, std: float = 1.0, dtype: DTypeLike = np.float32
    ) -> NDArray[np.floating[Any]]:
        """Normal numbers `mean + std * z`, two words for each two, computed in float64 and then rounded to dtype.

        Words (2j, 2j + 1) give u, v in [0, 1) by the float64 rule and z[2j], z[2j + 1] = r cos a, r sin a with
        r = sqrt(-2 log(1 - u)) and a = 2 pi v (Box and Muller, 1958). Raises ValueError for std < 0 or a dtype other
        than float32 and float64.

        >>> z = Rng(0).normal(1000)
        >>> bool(abs(z.mean()) < 0.1 and abs(z.std() - 1) < 0.1)
        True
        """
        if not std >= 0:
            raise ValueError(f"a standard deviation is a number >= 0, not {std}")
        wanted, n = _float(dtype), _size(shape)
        u, v = _unit(self.words(n + n % 2), _FLOAT64).reshape(-1, 2).T
        radius = np.sqrt(-2.0 * np.log1p(-u))
        v *= 2.0 * math.pi
        z = np.empty((len(radius), 2))
        np.multiply(radius, np.cos(v), out=z[:, 0])
        np.multiply(radius, np.sin(v), out=z[:, 1])
        z *= std
        z += mean
        return z.reshape(-1)[:n].astype(wanted, copy=False).reshape(shape)

    def bernoulli(self, shape: Shape, p: float) -> NDArray[np.bool_]:
        """Booleans that are True with probability p: where the float64 uniform number of the word is < p.

        Raises ValueError for p outside [0, 1].

        >>> Rng(0).bernoulli(4, 0.5).dtype
        dtype('bool')
        """
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"a probability lies in [0, 1], not {p}")
        threshold = np.uint64(math.ceil(p * 2.0**53))  # k * 2**-53 < p, for integers k, without the floats
        return ((self.words(_size(shape)) >> np.uint64(11)) < threshold).reshape(shape)

    def integers(self, low: int, high: int, shape: Shape) -> NDArray[np.int64]:
        """Integers in [low, high), int64, one word each: `low + word % (high - low)`.

        The remainder favours no value by more than (high - low) / 2**64. Raises ValueError for an empty range or one
        that does not fit int64.

        >>> Rng(0).integers(0, 10, 5).shape
        (5,)
        """
        if not -(2**63) <= low < high <= 2**63 or high - low > 2**63:
            raise ValueError(f"integers need low < high within int64, not [{low}, {high})")
        offsets = self.words(_size(shape)) % np.uint64(high - low)
        return (offsets.astype(np.int64) + low).reshape(shape)

    def permutation(self, n: int) -> NDArray[np.int64]:
        """The numbers 0 .. n-1 in random order, int64 [n]: the stable order of n words. Raises ValueError for n < 0.

        >>> sorted(Rng(0).permutation(4).tolist())
        [0, 1, 2, 3]
        """
        return np.argsort(self.words(n), kind="stable").astype(np.int64, copy=False)

    def split(self) -> "Rng":
        """An independent stream, whose key is the next two words of this one and whose counter is 0.

        >>> parent = Rng(0)
        >>> child = parent.split()
        >>> bool((child.words(4) == parent.words(4)).any())
        False
        """
        child = Rng()
        child._set(self.words(2), np.zeros(4, np.uint64))
        return child

    def clone(self) -> "Rng":
        """A second stream that will give the same numbers as this one.

        >>> a = Rng(0)
        >>> b = a.clone()
        >>> bool((a.words(4) == b.words(4)).all())
        True
        """
        twin = Rng()
        twin._bits.state = self._bits.state
        return twin

    def state(self) -> dict[str, list[int]]:
        """The whole state, for JSON: `key` (two integers < 2**64) and `counter` (four, lowest word first).

        >>> Rng(0).state()["counter"]
        [0, 0, 0, 0]
        """
        state = self._bits.state["state"]
        return {name: [int(word) for word in state[name]] for name in ("key", "counter")}

    def load_state(self, state: dict[str, list[int]]) -> None:
        """Continue from a `state`. Raises ValueError, and changes nothing, if it is none.

        >>> a, b = Rng(0), Rng(1)
        >>> b.load_state(a.state())
        >>> b.state() == a.state()
        True
        """
        try:
            key, counter = np.array(state["key"], np.uint64), np.array(state["counter"], np.uint64)
            if key.shape != (2,) or counter.shape != (4,):
                raise ValueError
        except (KeyError, TypeError, ValueError, OverflowError):
            raise ValueError(
                f"a state of Rng holds 'key' (2 integers in [0, 2**64)) and 'counter' (4), not {state!r}"
            ) from None
        self._set(key, counter)

    def _set(self, key: NDArray[np.uint64], counter: NDArray[np.uint64]) -> None:
        self._bits.state = {
            "bit_generator": "Philox",
            "state": {"key": key, "counter": counter},
            "buffer": np.zeros(4, np.uint64),
            "buffer_pos": 4,  # used up
            "has_uint32": 0,
            "uinteger": 0,
        }

    def __repr__(self) -> str:
        state = self.state()
        return f"Rng(key={state['key']}, counter={state['counter']})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "Rng":
        return self.clone()


def _size(shape: Shape) -> int:
    return math.prod(shape) if isinstance(shape, tuple) else shape


def _float(dtype: DTypeLike) -> Float:
    wanted: np.dtype[Any] = np.dtype(dtype)
    if wanted not in (_FLOAT32, _FLOAT64):
        raise ValueError(f"random numbers are drawn in float32 or float64, not in {wanted}")
    return wanted


def _unit(words: NDArray[np.uint64], dtype: Float) -> NDArray[np.floating[Any]]:
    """The one rule from bits to a float in [0, 1): as many top bits as the significand holds, so nothing rounds."""
    digits = 24 if dtype == _FLOAT32 else 53
    words >>= np.uint64(64 - digits)
    u = words.astype(dtype)
    u *= 2.0**-digits
    return u
