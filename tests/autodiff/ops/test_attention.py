"""Attention by its definition: masks of both kinds, causality, scale. The layer has tests beside PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minihybrid as mh

RNG = np.random.default_rng(0)
Q, K, V = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 5, 4)), RNG.normal(size=(2, 5, 6))
MASK = RNG.uniform(size=(2, 3, 5)) < 0.6
MASK[0, 1] = False
BIAS = RNG.normal(size=(3, 5))


def softmax(scores: Any, allowed: Any) -> Any:
    weights = np.exp(scores) * allowed
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total > 0, total, 1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("mask", [None, MASK, BIAS], ids=["none", "boolean", "float"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention_is_its_definition(causal: bool, mask: Any, scale: float | None) -> None:
    scores = Q @ K.swapaxes(1, 2) * (1 / math.sqrt(4) if scale is None else scale)
    allowed = np.tril(np.ones((3, 5), bool)) if causal else np.ones((3, 5), bool)
    if mask is BIAS:
        scores = scores + BIAS
    elif mask is not None:
        allowed = allowed & mask
    weights = softmax(scores, allowed)
    for given in (mask, None if mask is None else mh.Tensor(mask)):
        found = mh.attention_weights(mh.Tensor(Q), mh.Tensor(K), given, causal, scale)
        np.testing.assert_allclose(found.numpy(), weights)
        mixed = mh.scaled_dot_product_attention(mh.Tensor(Q), mh.Tensor(K), mh.Tensor(V), given, causal, scale)
        np.testing.assert_allclose(mixed.numpy(), weights @ V)


def test_a_mask_of_numbers_can_be_learned() -> None:
    bias = mh.tensor(BIAS, requires_grad=True)
    assert mh.gradcheck(lambda b: mh.attention_weights(mh.Tensor(Q), mh.Tensor(K), b) ** 2, bias)


def test_a_mask_is_boolean() -> None:
    with pytest.raises(TypeError, match="the mask is int64; expected booleans"):
        mh.masked_softmax(Q, np.ones(4, np.int64))
