"""A small invented language, and a network that reads some characters and guesses the next one.

The text is drawn from a grammar, so that it needs no file and is the same everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minihybrid.autodiff.tensor import Tensor
from minihybrid.config import Config, require_sizes
from minihybrid.device import Device
from minihybrid.module.module import Module
from minihybrid.nn import MLP, Embedding, EmbeddingConfig, MLPConfig
from minihybrid.rng import Rng

_GRAMMAR = {
    "text": ["sentence"],
    "sentence": ["subject verb object .", "subject verb object where .", "subject said that subject verb object ."],
    "subject": ["the noun", "the kind noun", "a noun"],
    "object": ["the noun", "a kind noun", "a noun of matter"],
    "where": ["near the noun", "under a kind noun", "every day"],
    "noun": ["river", "garden", "teacher", "window", "captain", "harbour", "sparrow", "letter"],
    "kind": ["quiet", "golden", "hollow", "patient", "crooked", "little"],
    "verb": ["finds", "follows", "remembers", "paints", "carries", "answers"],
    "matter": ["silver", "stone", "paper", "snow"],
}
"""What each symbol may become; a word that is no symbol is written as it is."""


def write(rng: Rng, characters: int) -> str:
    """So many characters of sentences drawn from the grammar.

    >>> write(Rng(0), 40)
    'a window finds a river of stone under a '
    """
    words: list[str] = []
    length = 0
    while length <= characters:
        sentence = _expand("sentence", rng)
        words.extend(sentence)
        length += sum(len(word) + 1 for word in sentence)
    return " ".join(words).replace(" .", ".")[:characters]


def _expand(symbol: str, rng: Rng) -> list[str]:
    if symbol not in _GRAMMAR:
        return [symbol]
    choices = _GRAMMAR[symbol]
    chosen = choices[int(rng.integers(0, len(choices), 1)[0])]
    return [word for part in chosen.split() for word in (_expand(part, rng) if part != symbol else [part])]


def following(text: str, context: int) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """All windows of `context` characters and what follows each, as places in the alphabet, which comes last.

    inputs int64 [n, context], targets int64 [n].

    >>> inputs, targets, alphabet = following("abac", 2)
    >>> inputs.tolist(), targets.tolist(), alphabet
    ([[0, 1], [1, 0]], [0, 2], 'abc')
    """
    alphabet = "".join(sorted(set(text)))
    places = np.array([alphabet.index(character) for character in text], np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(places, context + 1)
    return windows[:, :-1].copy(), windows[:, -1].copy(), alphabet


class NextCharacter(Module):
    """A perceptron over the embeddings of the characters before: x [n, context] integers -> logits [n, letters]."""

    embedding: Embedding
    layers: MLP

    def forward(self, x: Tensor) -> Tensor:
        """The logits of the next character."""
        embedded = self.embedding(x)
        logits: Tensor = self.layers(embedded.reshape(x.shape[0], -1))
        return logits


class NextCharacterConfig(Config):
    """A reader of `context` characters out of `letters`; raises ValueError for sizes that are no positive integers.

    >>> model = NextCharacterConfig(letters=20, context=4).init(Rng(0))
    >>> model(Tensor(np.zeros((3, 4), np.int64))).shape
    (3, 20)
    """

    letters: int
    context: int
    width: int = 8
    hidden: int = 64

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("letters", "context", "width", "hidden")}
        require_sizes("NextCharacterConfig", **sizes)

    def init(self, rng: Rng | None = None, device: Device | str = "cpu", dtype: Any = "float32") -> NextCharacter:
        """A reader with fresh parameters."""
        rng = rng or Rng.fresh()
        embedding = EmbeddingConfig(self.letters, self.width).init(rng, device, dtype)
        sizes = (self.context * self.width, self.hidden, self.letters)
        return NextCharacter(embedding, MLPConfig(sizes).init(rng, device, dtype))
