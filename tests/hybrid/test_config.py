"""Settings are checked, and survive JSON."""

import json

import pytest
from hypothesis import given, strategies as st

from minihybrid.config import Config
from minihybrid.hybrid import DivergenceLimits, HybridConfig, TrustConfig
from minihybrid.hybrid.correct import CorrectionConfig
from minihybrid.hybrid.hindsight import HindsightConfig
from minihybrid.hybrid.payoff import PayoffConfig
from minihybrid.hybrid.predictors import DriftConfig, QuasiNewtonConfig, RreConfig


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("warmup", -1),
        ("full", 0),
        ("full", 2.5),
        ("correct", True),
        ("horizon", 0),
        ("max_horizon", 19),
        ("longest_wait", -1),
        ("confidence", 1.0),
        ("coherence", float("nan")),
        ("coherence", -0.1),
        ("predictor", "drift"),
        ("trust", 4.0),
        ("divergence", {"loss_sigma": 3}),
        ("recovery", None),
        ("hindsight", True),
        ("payoff", 0.02),
        ("memory", 10**9),
        ("compile", 1),
    ],
)
def test_a_senseless_value_is_named_with_what_was_expected(field, value):
    with pytest.raises(ValueError, match=f"^HybridConfig: {field} is .*; expected .*\\.$"):
        HybridConfig(**{field: value})


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (DivergenceLimits, "gradient_explosion", 1.0),
        (TrustConfig, "initial", 0.5),
        (TrustConfig, "initial", 17.0),
        (TrustConfig, "largest", 0.0),
        (TrustConfig, "growth", 1.0),
        (TrustConfig, "cut", float("inf")),
        (TrustConfig, "warmup", 0.0),
        (HindsightConfig, "steps", 0),
        (HindsightConfig, "sigma", -1.0),
        (HindsightConfig, "keep", 1.0),
        (PayoffConfig, "controls", 1.0),
        (PayoffConfig, "evidence", 1),
        (PayoffConfig, "allowance", -0.1),
        (QuasiNewtonConfig, "pairs", 0),
        (QuasiNewtonConfig, "least", 21),
        (QuasiNewtonConfig, "curvature", 1.0),
        (DriftConfig, "average", 1.0),
        (DriftConfig, "output", -0.1),
        (DriftConfig, "stride", 0),
        (DriftConfig, "verification", None),
    ],
)
def test_a_senseless_value_of_a_part_is_named(config, field, value):
    with pytest.raises(ValueError, match=f"^{config.__name__}: {field} is .*; expected .*\\.$"):
        config(**{field: value})


@given(
    st.builds(
        HybridConfig,
        warmup=st.integers(0, 1000),
        full=st.integers(1, 100),
        horizon=st.integers(1, 80),
        coherence=st.floats(0, 1),
        predictor=st.sampled_from([QuasiNewtonConfig(pairs=3), DriftConfig(stride=2), RreConfig()]),
        hindsight=st.none() | st.builds(HindsightConfig, sigma=st.floats(0, 10)),
        correction=st.none() | st.builds(CorrectionConfig),
        divergence=st.builds(DivergenceLimits, loss_sigma=st.floats(0.1, 10), baseline=st.integers(1, 100)),
    )
)
def test_json_round_trip(config):
    assert HybridConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("preset", [HybridConfig.full_batch, HybridConfig.minibatch, HybridConfig.reference])
def test_presets_are_data(preset):
    assert HybridConfig.from_json(preset().to_json()) == preset()


def test_the_presets_are_those_that_are_documented():
    full = HybridConfig.full_batch()
    assert (full.full, full.correct, full.predictor) == (1, 0, QuasiNewtonConfig())
    assert full.trust.initial == 4.0 and full.trust.largest == 10.0
    reference = HybridConfig.reference()
    assert (reference.horizon, reference.full, reference.confidence) == (75, 15, 0.6)
    assert reference.divergence.loss_sigma == 2.2
    standard = HybridConfig()
    assert (standard.warmup, standard.full, standard.correct, standard.max_horizon) == (100, 20, 5, 80)
    assert standard.confidence == 0.85


def test_settings_left_out_of_the_json_keep_their_defaults():
    assert HybridConfig.from_json('{"type": "HybridConfig", "full": 7}') == HybridConfig(full=7)


def test_an_unknown_key_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="HybridConfig has no field 'warm_up'; did you mean 'warmup'"):
        HybridConfig.from_json('{"type": "HybridConfig", "warm_up": 7}')
    text = json.loads(HybridConfig().to_json())
    text["divergence"]["sigma"] = 1
    with pytest.raises(ValueError, match="DivergenceLimits has no field 'sigma'; did you mean 'loss_sigma'"):
        HybridConfig.from_json(json.dumps(text))


def test_a_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        HybridConfig().full = 3


DEFAULTS = [
    "CorrectionConfig(capacity=20, recency=0.8, inertia=0.5, evidence=0.9)",
    "DivergenceLimits(loss_sigma=3.0, gradient_explosion=100.0, gradient_vanishing=0.01, parameter_growth=5.0, "
    "oscillation_caution=0.5, oscillation_warning=0.8, oscillation_growth=2.0, prediction_caution=0.2, "
    "prediction_warning=0.5, warnings=3, ema=0.99, baseline=50)",
    "DmdConfig(history=HistoryConfig(capacity=20, storage='exact'), max_norm=None, "
    "verification=LineSearch(largest=64.0, backtrack=0.25), rank=4, ridge=1e-06)",
    "DriftConfig(average=0.98, output=0.99, stride=8, verification=GuardSearch(largest=16.0, backtrack=0.0))",
    "ForecastConfig(coverage=0.8, horizons=(1, 5, 20, 80))",
    "GradientEmaConfig(decay=0.9)",
    "HindsightConfig(sigma=4.0, steps=3, keep=0.9)",
    "HoltConfig(level=0.99, trend=0.97, share=1.0, lookahead=0.0)",
    "MemoryBudget(history=1073741824, snapshots=1073741824, total=None)",
    "OuterNesterovConfig(learning_rate=0.7, momentum=0.37)",
    "PayoffConfig(controls=0.125, evidence=4, certainty=2.0, remembered=60, retry=20, allowance=0.02, grant=20.0)",
    "QuasiNewtonConfig(pairs=20, least=2, curvature=1e-06)",
    "RecoveryConfig(skips=3, rollbacks=3, rejections=3, calm=100, learning_rate_cut=0.5, predict_ratio_cut=0.5, "
    "confidence_step=0.25)",
    "RreConfig(history=HistoryConfig(capacity=20, storage='exact'), max_norm=None, "
    "verification=LineSearch(largest=64.0, backtrack=0.25), damping=0.875, ridge=1e-06)",
    "StateConfig(every=16)",
    "TrustConfig(initial=4.0, largest=16.0, growth=2.0, cut=4.0, warmup=0.0625)",
]


@pytest.mark.parametrize("default", DEFAULTS, ids=[default.partition("(")[0] for default in DEFAULTS])
def test_defaults_are_what_figures_were_measured_with(default):
    """Whoever changes one measures again, and says so in the changelog."""
    name = default.partition("(")[0]
    assert repr(Config.known[name]()) == default


def test_the_presets_are_what_figures_were_measured_with():
    numbers = ("warmup", "full", "correct", "horizon", "max_horizon", "longest_wait", "confidence", "coherence")
    told = {
        name: [getattr(getattr(HybridConfig, name)(), number) for number in numbers]
        for name in ("full_batch", "minibatch")
    }
    assert told == {"full_batch": [5, 1, 0, 1, 1, 16, 0, 0], "minibatch": [100, 40, 5, 40, 640, 16, 0, 0.3]}
    assert [getattr(HybridConfig(), number) for number in numbers] == [100, 20, 5, 20, 80, 16, 0.85, 0.3]
