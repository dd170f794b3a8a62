"""A predictor that does not pay is found out; one that does is let alone; and the price of asking is bounded."""

import math

import pytest

from minihybrid.hybrid.payoff import PayoffConfig, PayoffTest
from minihybrid.rng import Rng


def run(gain_with, gain_without, cycles=200, noise=0.05, extra=0.0, config=None, seed=0):
    """Cycles of cost 10 whose loss falls by these gains in its logarithm, with noise; predictions cost `extra` more."""
    config = config or PayoffConfig()
    test, rng = PayoffTest(config, Rng(seed)), Rng(seed + 1)
    level, charged, spent, predicted = 0.0, 0.0, 0.0, []
    for _ in range(cycles):
        predicts = test.next_predicts(spent, charged)
        predicted.append(predicts)
        cost = 10.0 + extra * predicts
        level -= (gain_with if predicts else gain_without) + float(rng.normal(1, std=noise)[0])
        charged, spent = charged + cost, spent + extra * predicts
        test.finish(math.exp(level), cost)
    return test, predicted, spent / charged


@pytest.mark.parametrize("seed", range(5))
def test_what_pays_goes_on(seed):
    test, predicted, _ = run(0.2, 0.1, extra=1.0, seed=seed)
    assert test.pays and sum(predicted[100:]) > 75


@pytest.mark.parametrize("seed", range(5))
def test_what_does_harm_is_switched_off_and_seldom_tried_again(seed):
    test, predicted, _ = run(0.0, 0.1, extra=1.0, seed=seed)
    assert test.pays is False and sum(predicted[100:]) < 20


@pytest.mark.parametrize("seed", range(5))
def test_what_changes_nothing_costs_no_more_than_its_allowance(seed):
    config = PayoffConfig(grant=5.0, allowance=0.02, certainty=3.0, retry=100)
    _, _, share = run(0.1, 0.1, cycles=1000, extra=1.0, seed=seed, config=config)
    assert share < 0.025


def test_some_cycles_are_controls_also_while_it_pays():
    _, predicted, _ = run(0.5, 0.1, cycles=400, config=PayoffConfig(controls=0.25))
    assert 0.6 < sum(predicted) / len(predicted) < 0.9


def test_a_predictor_that_gets_better_comes_back():
    config = PayoffConfig(retry=5, evidence=3, remembered=30, certainty=1.0)
    test, rng, level = PayoffTest(config, Rng(0)), Rng(1), 0.0
    for cycle in range(600):
        predicts = test.next_predicts(0.0, 0.0)
        level -= (0.1 if not predicts else -0.1 if cycle < 200 else 0.4) + float(rng.normal(1, std=0.02)[0])
        test.finish(math.exp(level), 10.0)
        if cycle == 199:
            assert test.pays is False
    assert test.pays


def test_nothing_is_said_before_there_is_evidence():
    test = PayoffTest(PayoffConfig(), Rng(0))
    assert test.pays is None
    test.finish(1.0, 10.0)
    test.finish(0.0, 10.0)  # a loss of 0 has no logarithm
    test.finish(1.0, 10.0)
    assert test.pays is None


def test_the_same_stream_draws_the_same_cycles_and_a_state_goes_on():
    def draws(test, n=50):
        return [test.next_predicts(0.0, 0.0) for _ in range(n)]

    first, second = PayoffTest(PayoffConfig(), Rng(3)), PayoffTest(PayoffConfig(), Rng(3))
    assert draws(first) == draws(second)
    second = PayoffTest(PayoffConfig(), Rng(4))
    second.load_state_dict(first.state_dict())
    assert draws(first) == draws(second)


@pytest.mark.parametrize("seed", range(5))
def test_cycles_of_unequal_length_are_compared_by_their_cost(seed):
    """A steady fall, and rejected predictions that only make cycles longer: neither kind is better."""
    test, rng, time = PayoffTest(PayoffConfig(certainty=1.0), Rng(seed)), Rng(seed + 1), 0.0
    for _ in range(60):
        predicts = test.next_predicts(0.0, 0.0)
        cost = 45.0 * (1 + predicts * int(rng.integers(0, 8, 1)[0]))
        time += cost
        test.finish(math.exp(-0.001 * time), cost)
    kinds = [[gain for predicted, gain in test._cycles if predicted is kind] for kind in (True, False)]
    assert [sum(kind) / len(kind) for kind in kinds] == pytest.approx([0.001, 0.001])


def test_what_makes_no_difference_at_all_is_not_told():
    test = PayoffTest(PayoffConfig(), Rng(0))
    for i in range(40):
        test.next_predicts(0.0, float(i))
        test.finish(1.0, 1.0)
    assert test.pays is None
