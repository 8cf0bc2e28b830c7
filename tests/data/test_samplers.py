import itertools
import math

import pytest
import torch

from steppe.core import KindError, ParameterError
from steppe.data import mixture_of_subspaces, noise, radial, uniform_ball, uniform_sphere, unit_linear_teacher
from steppe.networks import ShallowReLU

N = 40_000


def near(estimate, truth, variance, n=N):
    """Within five standard errors."""
    assert abs(float(estimate) - truth) < 5 * math.sqrt(variance / n), (float(estimate), truth)


@pytest.mark.parametrize("d", [1, 2, 5, 10])
def test_uniform_ball_moments_and_radius(d):
    x = uniform_ball(N, d, seed=1)
    assert x.shape == (N, d)
    assert x.dtype == torch.float64
    assert x.norm(dim=1).max() <= 1
    second = d / (d + 2)  # E‖X‖², and E‖X‖⁴ = d/(d + 4)
    near(x.square().sum(1).mean(), second, d / (d + 4) - second**2)
    near(x[:, 0].mean(), 0.0, 1 / (d + 2))
    near(x[:, 0].square().mean(), 1 / (d + 2), 3 / ((d + 2) * (d + 4)))
    near((x.norm(dim=1) > 0.9).double().mean(), 1 - 0.9**d, 0.25)


@pytest.mark.parametrize("d", [1, 3])
def test_uniform_sphere(d):
    x = uniform_sphere(N, d, seed=1)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(N, dtype=torch.float64))
    near(x[:, 0].mean(), 0.0, 1 / d)
    near((x[:, 0] > 0).double().mean(), 0.5, 0.25)
    if d == 3:  # Archimedes: a coordinate is uniform in (−1, 1)
        near((x[:, 1] > 0.5).double().mean(), 0.25, 0.25 * 0.75)


@pytest.mark.parametrize(("alpha", "delta"), [(0.5, 0.04), (0.1, 0.01), (1.0, 0.3), (5.0, 0.8)])
def test_radial_shell_mass(alpha, delta):
    mass = delta**alpha
    shell = (radial(N, 5, alpha=alpha, seed=2).norm(dim=1) > 1 - delta).double().mean()
    near(shell, mass, mass * (1 - mass))


def test_radial_is_isotropic():
    x = radial(N, 3, alpha=1.5, seed=0)
    u = x / x.norm(dim=1, keepdim=True)
    near((u[:, 2] > 0.5).double().mean(), 0.25, 0.25 * 0.75)


def test_mixture_lies_in_its_subspaces():
    x = mixture_of_subspaces(N, 6, pieces=4, dim=2, seed=3)
    rank_two = [x[0]]
    # Each piece is a plane: greedily explain every point by the planes of the points seen so far.
    planes = []
    for point in x[:200]:
        if any((point - q @ (q.T @ point)).norm() < 1e-9 for q in planes):
            continue
        for other in rank_two:
            q = torch.linalg.qr(torch.stack([point, other], dim=1)).Q
            inside = sum(bool((p - q @ (q.T @ p)).norm() < 1e-9) for p in x[:200])
            if inside > 10:
                planes.append(q)
                break
        rank_two.append(point)
    assert len(planes) == 4
    shares = [((x - x @ q @ q.T).norm(dim=1) < 1e-9).double().mean() for q in planes]
    assert abs(sum(shares) - 1) < 1e-12
    for share in shares:
        near(share, 0.25, 0.25 * 0.75)
    near(x.square().sum(1).mean(), 0.5, 2 / 6 - 0.25)  # the disc: E‖X‖² = 2/4, E‖X‖⁴ = 2/6


def test_mixture_holds_out_points_of_the_same_lines():
    train = mixture_of_subspaces(200, 8, pieces=3, dim=1, seed=0)
    test = mixture_of_subspaces(50, 8, pieces=3, dim=1, seed=1, subspace_seed=0)
    other = mixture_of_subspaces(50, 8, pieces=3, dim=1, seed=1)
    unit = train / train.norm(dim=1, keepdim=True)

    def cosines(x):
        return ((x / x.norm(dim=1, keepdim=True)) @ unit.T).abs().max(dim=1).values

    assert cosines(test).min() > 1 - 1e-12
    assert cosines(other).max() < 1 - 1e-3
    assert not torch.equal(test, other)


def test_noise():
    e = noise(N, sigma=0.5, seed=0)
    assert e.shape == (N, 1)
    near(e.mean(), 0.0, 0.25)
    near(e.square().mean(), 0.25, 2 * 0.25**2)
    assert noise((2, 3), sigma=1, seed=0).shape == (2, 3)
    assert not noise(4, sigma=0.0, seed=0).any()


def draws(seed, n, d):
    """Everything that one seed may be given to, as n × d numbers."""
    return {
        "ball": uniform_ball(n, d, seed=seed),
        "sphere": uniform_sphere(n, d, seed=seed),
        "radial": radial(n, d, alpha=1.0, seed=seed),
        "mixture": mixture_of_subspaces(n, d, pieces=n, dim=d, seed=seed),
        "noise": noise((n, d), sigma=1.0, seed=seed),
        "he": ShallowReLU(d, n, seed=seed).w.detach(),
        "torch": ShallowReLU(d, n, init="torch", seed=seed).w.detach(),
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_seed_for_everything_correlates_nothing(seed):
    n, d = 2000, 3
    for (a, x), (b, y) in itertools.combinations(draws(seed, n, d).items(), 2):
        if {a, b} == {"he", "torch"}:  # two kinds of initialisation of the same network
            continue
        x, y = x.flatten(), y.flatten()
        for u, w in ((x, y), (x.abs(), y.abs())):
            correlation = torch.corrcoef(torch.stack([u, w]))[0, 1]
            assert abs(correlation) < 5 / math.sqrt(n * d), (a, b)
    teacher = unit_linear_teacher(d, seed=seed).skip[0]
    first = [x[0] / x[0].norm() for x in draws(seed, 1, d).values()]
    assert max(abs(float(u @ teacher)) for u in first) < 1 - 1e-6


def test_control_the_same_generator_would_correlate():
    x, y = (
        torch.randn(100, generator=torch.Generator().manual_seed(0)),
        torch.randn(100, generator=torch.Generator().manual_seed(0)),
    )
    assert torch.equal(x, y)


def test_same_seed_same_numbers_and_global_state_untouched():
    state = torch.random.get_rng_state()
    for x, y in zip(draws(7, 5, 2).values(), draws(7, 5, 2).values(), strict=True):
        assert torch.equal(x, y)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.door
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: uniform_ball(0, 2, seed=0), ParameterError, "`n` must be ≥ 1, got 0"),
        (lambda: uniform_sphere(3, 0, seed=0), ParameterError, "`d` must be ≥ 1, got 0"),
        (lambda: uniform_ball(3, 2, seed=-1), ParameterError, "`seed` must be ≥ 0, got -1"),
        (lambda: uniform_ball(3.5, 2, seed=0), KindError, "`n` must be an integer, got 3.5"),
        (lambda: uniform_ball(3, 2), TypeError, "seed"),
        (lambda: radial(3, 2, alpha=0, seed=0), ParameterError, "`alpha` must be > 0, got 0"),
        (
            lambda: mixture_of_subspaces(3, 2, pieces=1, dim=3, seed=0),
            ParameterError,
            "`dim` must be ≥ 1 and ≤ 2, got 3",
        ),
        (lambda: noise(3, sigma=-1, seed=0), ParameterError, "`sigma` must be ≥ 0, got -1"),
        (lambda: noise(0, sigma=1, seed=0), ParameterError, "`shape` must be ≥ 1, got 0"),
    ],
)
def test_bad_input_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()
