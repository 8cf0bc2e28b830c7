import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe import theory
from steppe.activations import (
    activation_weight,
    activation_weight_profile,
    half_space_moments,
)
from steppe.core import DataError, DtypeError, ParameterError, ShapeError, UnknownNameError

CROSS = torch.tensor([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]], dtype=torch.float64)
EAST = torch.tensor([[1.0, 0.0]], dtype=torch.float64)


def ball(n, d, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x / x.norm(dim=1, keepdim=True) * torch.rand(n, 1, generator=rng, dtype=torch.float64) ** (1 / d)


def directions(m, d, seed):
    u = torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return u / u.norm(dim=1, keepdim=True)


def textbook(x, u, t):
    """The definition, with conditional expectations and a loop."""
    active = x[x @ u > t]
    if len(active) == 0:
        return 0.0
    p = len(active) / len(x)
    return p**2 * float((active @ u - t).mean()) * math.sqrt(1 + float(active.mean(0).square().sum()))


def number(value):
    return torch.tensor([value], dtype=torch.float64)


def test_four_points():
    assert activation_weight(CROSS, EAST, number(0.25), sides="one").item() == pytest.approx(0.0174692811, abs=1e-10)
    assert activation_weight(CROSS, -EAST, number(-0.25), sides="one").item() == pytest.approx(0.2376079113, abs=1e-10)
    assert activation_weight(CROSS, EAST, number(0.25)).item() == pytest.approx(0.0174692811, abs=1e-10)
    assert activation_weight(CROSS, EAST, number(0.0)).item() == pytest.approx(0.0349385621, abs=1e-10)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_agrees_with_the_definition(d):
    x, u = ball(50, d, 0), directions(20, d, 1)
    t = torch.linspace(-1.1, 1.1, 20, dtype=torch.float64)
    one = torch.tensor([textbook(x, u[k], t[k]) for k in range(20)], dtype=torch.float64)
    other = torch.tensor([textbook(x, -u[k], -t[k]) for k in range(20)], dtype=torch.float64)
    torch.testing.assert_close(activation_weight(x, u, t, sides="one"), one)
    torch.testing.assert_close(activation_weight(x, u, t), torch.minimum(one, other))


def test_a_sample_on_the_hyperplane_is_on_neither_side():
    active, inactive = half_space_moments(CROSS, EAST, number(0.0))
    assert active.fraction.item() == inactive.fraction.item() == 0.25
    active, inactive = half_space_moments(CROSS, EAST, number(0.5))
    assert active.fraction.item() == active.weight.item() == 0
    assert inactive.fraction.item() == 0.75


def test_blocks_of_samples_change_nothing(monkeypatch):
    x, u, t = ball(101, 3, 0), directions(4, 3, 1), torch.zeros(4, dtype=torch.float64)
    whole = activation_weight(x, u, t)
    monkeypatch.setattr("steppe.activations.weights._CHUNK", 40)
    torch.testing.assert_close(activation_weight(x, u, t), whole, rtol=1e-14, atol=0)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), d=st.integers(1, 4), seed=st.integers(0, 1000), shared=st.booleans())
def test_laws(n, d, seed, shared):
    x, u = ball(n, d, seed), directions(5, d, seed + 1)
    if shared:
        x = x[:1].expand(n, d).contiguous()  # all samples equal
    t = torch.linspace(-1, 1, 5, dtype=torch.float64)
    g, one = activation_weight(x, u, t), activation_weight(x, u, t, sides="one")
    torch.testing.assert_close(g, activation_weight(x, -u, -t), rtol=0, atol=0)
    assert (g <= one).all()
    assert (g >= 0).all()
    active, _ = half_space_moments(x, u, t)
    lower = active.fraction * active.excess
    radius = x.norm(dim=1).max()
    assert (one >= lower * (1 - 1e-12)).all()
    assert (one <= lower * torch.sqrt(1 + radius**2) * (1 + 1e-12)).all()
    beyond = (x @ u.T).abs().max(0).values
    assert (activation_weight(x, u, beyond) == 0).all()
    rotation, _ = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    torch.testing.assert_close(
        activation_weight(x @ rotation, u @ rotation, t + 1e-7), activation_weight(x, u, t + 1e-7)
    )


@pytest.mark.parametrize("sides", ["both", "one"])
@pytest.mark.parametrize("d", [1, 3])
def test_profile_agrees_with_the_batched_form_also_at_the_projections(d, sides):
    x, u = ball(40, d, 3), directions(1, d, 4)[0]
    x = torch.cat([x, x[:5]])  # ties
    projections = x @ u
    t = torch.cat([projections, projections + 1e-9, torch.linspace(-1.2, 1.2, 30, dtype=torch.float64)])
    active = (projections[:, None] > t).double()
    s = (projections[:, None] - t).clamp(min=0).mean(0)
    expected = s * torch.hypot(active.mean(0), (active.T @ x / len(x)).norm(dim=1))
    other = (projections[:, None] < t).double()
    s = (t - projections[:, None]).clamp(min=0).mean(0)
    expected_other = s * torch.hypot(other.mean(0), (other.T @ x / len(x)).norm(dim=1))
    if sides == "both":
        expected = torch.minimum(expected, expected_other)
    torch.testing.assert_close(activation_weight_profile(x, u, t, sides=sides), expected, rtol=1e-12, atol=1e-17)
    grid = torch.linspace(-1.2, 1.2, 31, dtype=torch.float64)
    torch.testing.assert_close(
        activation_weight_profile(x, u, grid, sides=sides),
        activation_weight(x, u.expand(31, d).contiguous(), grid, sides=sides),
    )


def test_profile_keeps_relative_accuracy_at_the_end_of_the_data():
    x = torch.tensor([[1.0], [0.5], [-1.0]], dtype=torch.float64)
    gap = 2.0**-40
    weight = activation_weight_profile(x, torch.ones(1, dtype=torch.float64), number(1 - gap))
    assert weight.item() == pytest.approx(gap / 3 * math.hypot(1 / 3, 1 / 3), rel=1e-14)


def test_excess_is_convex_and_the_weight_tends_to_the_population():
    u, t = directions(8, 2, 0), torch.full((8,), 0.5, dtype=torch.float64)
    worst = [
        float((activation_weight(ball(n, 2, 5), u, t) - theory.ball_weight(2, 0.5)).abs().max())
        for n in (100, 10_000, 400_000)
    ]
    assert worst[0] > worst[1] > worst[2]
    assert worst[2] < 0.02 * theory.ball_weight(2, 0.5)


def test_slope_against_the_distance_to_the_boundary():
    # d = 2, n = 10⁶: between t = .5 and t = .8 the exact weight has log-log slope 3.813
    x, u = ball(1_000_000, 2, 7), directions(4, 2, 8)
    t = torch.tensor([0.5, 0.8], dtype=torch.float64)
    mean = torch.stack([activation_weight_profile(x, direction, t) for direction in u]).mean(0)
    slope = math.log(mean[0] / mean[1]) / math.log(0.5 / 0.2)
    assert slope == pytest.approx(3.813, abs=0.03)


def test_float32_is_taken_into_float64_exactly():
    x, u, t = ball(30, 3, 0).float(), directions(4, 3, 1).float(), torch.linspace(-0.5, 0.5, 4)
    weight = activation_weight(x, u, t)
    assert weight.dtype == torch.float64
    torch.testing.assert_close(
        weight,
        activation_weight(x.double(), u.double() / u.double().norm(dim=1, keepdim=True), t.double()),
        rtol=1e-6,
        atol=1e-9,
    )


def test_no_neuron_gives_no_weight():
    assert activation_weight(CROSS, EAST[:0], number(0.0)[:0]).shape == (0,)


@pytest.mark.door
@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "says"),
    [
        ((CROSS, 2 * EAST, number(0.0)), {}, ParameterError, r"length 1, got one of length 2; pass u = w / ‖w‖"),
        ((CROSS, EAST[:, :1], number(0.0)), {}, ShapeError, r"`u` must have shape \[m, 2\]"),
        ((CROSS, EAST, number(0.0)[0]), {}, ShapeError, r"`t` must have shape \[1\]"),
        ((CROSS.float(), EAST, number(0.0)), {}, DtypeError, "float32"),
        ((CROSS[:0], EAST, number(0.0)), {}, DataError, "at least 1 sample, got 0"),
        ((CROSS * math.nan, EAST, number(0.0)), {}, DataError, "NaN"),
        ((CROSS, EAST, number(0.0)), {"sides": "left"}, UnknownNameError, "'both', 'one'"),
    ],
)
def test_bad_input(arguments, keywords, error, says):
    with pytest.raises(error, match=says):
        activation_weight(*arguments, **keywords)
