"""The table of a model's parameters."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import minihybrid as mh


class Model(mh.Module):
    encoder: mh.nn.Linear
    norm: mh.nn.BatchNorm1d
    decoder: mh.Param


class FreezeNorm(mh.ModuleMapper):
    def map_param(self, path: str, param: mh.Param) -> mh.Param:
        return param.freeze() if path.startswith("norm.") else param


@pytest.fixture
def model() -> Any:
    encoder = mh.nn.LinearConfig(3, 4).init(rng=mh.Rng(0))
    return Model(encoder, mh.nn.BatchNorm1dConfig(4).init(), encoder.weight).map(FreezeNorm())


TEXT = """\
path               of           shape   parameters
encoder.weight     Linear       (3, 4)          12  also decoder
encoder.bias       Linear       (4,)             4
norm.weight        BatchNorm1d  (4,)             4  frozen
norm.bias          BatchNorm1d  (4,)             4  frozen
norm.running_mean  BatchNorm1d  (4,)                buffer
norm.running_var   BatchNorm1d  (4,)                buffer
Model: 16 parameters trained, 8 frozen, 128 bytes"""


def test_the_text(model: Any) -> None:
    assert str(mh.summary(model)) == TEXT == repr(mh.summary(model))
    assert mh.summary(model).trained + mh.summary(model).frozen == model.num_params()


def test_the_table_on_a_terminal_says_the_same(model: Any) -> None:
    stream = io.StringIO()
    Console(file=stream, width=100).print(mh.summary(model))
    words = stream.getvalue().replace("─", "").split()
    assert words == TEXT.split()


def test_a_narrow_terminal_loses_nothing(model: Any) -> None:
    stream = io.StringIO()
    Console(file=stream, width=40).print(mh.summary(model))
    assert stream.getvalue().count("norm") >= 4 and "…" not in stream.getvalue()


def test_the_page_escapes_what_it_shows(model: Any) -> None:
    class Named(mh.Module):
        table: dict[str, mh.Param]

    html = mh.summary(Named({"<b>": mh.Param(np.zeros(2))}))._repr_html_()
    assert "table.&lt;b&gt;" in html and "<b>" not in html
    assert mh.summary(model)._repr_html_().count("<tr>") == 7


@pytest.mark.parametrize(("numbers", "size"), [(1, "4 bytes"), (1000, "4.0 kB"), (2_000_000, "8.0 MB")])
def test_sizes(numbers: int, size: str) -> None:
    class Vector(mh.Module):
        values: mh.Param

    assert mh.summary(Vector(mh.Param(np.zeros(numbers, "f")))).total.endswith(f"trained, {size}")


def test_a_model_without_parameters() -> None:
    assert str(mh.summary(mh.nn.ActivationConfig("relu").init())).endswith("Relu: 0 parameters trained, 0 bytes")
