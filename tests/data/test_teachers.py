import math

import pytest
import torch
from scipy.integrate import quad
from scipy.special import gamma

from steppe.core import DataError, ParameterError, ShapeError
from steppe.data import (
    HardFamily,
    cap_packing,
    hard_family,
    hoelder_teacher,
    linear_teacher_on,
    ridge_teacher,
    ridges_teacher,
    uniform_ball,
    unit_linear_teacher,
)
from steppe.networks import ShallowReLU


def test_unit_linear():
    teacher = unit_linear_teacher(5, seed=1)
    assert isinstance(teacher, ShallowReLU)
    x = uniform_ball(20_000, 5, seed=0)
    y = teacher(x)
    assert y.shape == (20_000, 1)
    assert not y.requires_grad
    u = teacher.skip[0]
    assert math.isclose(u.norm().item(), 1.0)
    torch.testing.assert_close(y[:, 0], x @ u)
    assert abs(y.var().item() * 7 - 1) < 0.1


def test_linear_teacher_on_data_has_the_variance_of_the_uniform_ball():
    x = 0.01 * uniform_ball(50, 4, seed=0) + 0.3
    y = linear_teacher_on(x, seed=2)(x)
    assert math.isclose(y.var(correction=0).item(), 1 / 6, rel_tol=1e-9)
    u = linear_teacher_on(x, seed=2).skip[0]
    torch.testing.assert_close(u / u.norm(), unit_linear_teacher(4, seed=2).skip[0])


def test_ridges():
    x = uniform_ball(30, 3, seed=0)
    teacher = ridges_teacher(3, 6, seed=4)
    total = sum(
        v * max(float(w @ row) - float(b), 0.0)
        for row in x[:1]
        for w, b, v in zip(teacher.w, teacher.b, teacher.v[0], strict=True)
    )
    assert math.isclose(teacher(x)[0, 0].item(), float(total), abs_tol=1e-12)
    torch.testing.assert_close(teacher.w.norm(dim=1), torch.ones(6, dtype=torch.float64))
    assert math.isclose(teacher.v.abs().sum().item(), math.sqrt(6))
    single = ridge_teacher(3, seed=4)
    assert single.width == 1
    assert single.v.item() == 1.0


def test_hoelder_formula_and_exponent():
    teacher = hoelder_teacher(2, seed=0)
    x = uniform_ball(10, 2, seed=0)
    u = teacher.directions
    by_hand = [sum(abs(float(u[j] @ row)) ** 0.5 for j in range(2)) / 2 + 1 for row in x]
    torch.testing.assert_close(teacher(x)[:, 0], torch.tensor(by_hand, dtype=torch.float64))
    scales = torch.tensor([1.0, 0.25], dtype=torch.float64)
    grown = teacher(scales[:, None] * x[:1])[:, 0] - 1
    assert math.isclose((grown[0] / grown[1]).item(), 2.0)  # quartering x halves f − 1


def test_packing_in_the_plane_is_regular_and_maximal():
    # N = ⌊π / arccos(1 − ε²)⌋: ε = 1/2 gives ⌊π/0.7227⌋ = 4, ε = 0.1 gives ⌊π/0.14154⌋ = 22.
    for epsilon, count in ((0.5, 4), (0.3, 7), (0.2, 11), (0.1, 22)):
        centres = cap_packing(2, epsilon, seed=0)
        assert len(centres) == count
        torch.testing.assert_close(centres.norm(dim=1), torch.ones(count, dtype=torch.float64))
    torch.testing.assert_close(cap_packing(1, 0.3, seed=5), torch.tensor([[1.0], [-1.0]], dtype=torch.float64))


@pytest.mark.parametrize(("d", "epsilon"), [(2, 0.17), (3, 0.3), (4, 0.4)])
def test_caps_are_disjoint(d, epsilon):
    centres = cap_packing(d, epsilon, seed=0, candidates=4096)
    gram = centres @ centres.T - 2 * torch.eye(len(centres), dtype=torch.float64)
    assert gram.max() <= 2 * (1 - epsilon**2) ** 2 - 1 + 1e-12
    x = uniform_ball(50_000, d, seed=1)
    x = x / x.norm(dim=1, keepdim=True)  # on the sphere, where caps are widest
    active = HardFamily(centres, epsilon).network().mask(x).sum(dim=1)
    assert active.max() == 1


def test_greedy_packing_is_saturated_by_its_candidates():
    few, many = (cap_packing(3, 0.3, seed=0, candidates=c) for c in (512, 8192))
    assert len(many) > len(few) >= 10
    theta = math.acos(1 - 0.09)
    assert len(many) <= 2 / (1 - math.cos(theta))  # area bound on the number of disjoint caps of angle θ


def atom_norm_squared(d, epsilon):
    """‖Φ‖² under the uniform ball, by quadrature over the height below the top."""
    h, c = epsilon**2, gamma(d / 2 + 1) / (math.sqrt(math.pi) * gamma((d + 1) / 2))
    return c / h**2 * quad(lambda s: (h - s) ** 2 * (2 * s - s * s) ** ((d - 1) / 2), 0, h)[0]


@pytest.mark.parametrize(
    ("d", "norm", "mass"), [(2, 1.678636e-2, 7.214681e-2), (3, 7.421875e-3, 4.296875e-2), (5, 1.717704e-3, 1.605225e-2)]
)
def test_atom_norm_and_cap_mass_at_one_half(d, norm, mass):
    assert math.isclose(atom_norm_squared(d, 0.5), norm, rel_tol=1e-6)
    n = 400_000
    x = uniform_ball(n, d, seed=3)
    atom = HardFamily(torch.eye(d, dtype=torch.float64)[:1], 0.5).network()
    square = atom(x).square()
    assert abs(square.mean().item() - norm) < 5 * square.std().item() / math.sqrt(n)
    assert abs(atom.mask(x).double().mean().item() - mass) < 5 * math.sqrt(mass * (1 - mass) / n)


def test_share_of_empty_caps():
    # (1 − P(C))^n at n = 1000, d = 2 and ε = n^(−1/3) is 0.54909
    epsilon, empty, total = 1000 ** (-1 / 3), 0, 0
    family = hard_family(2, epsilon, seed=0)
    for seed in range(40):
        empty += int(family.empty(uniform_ball(1000, 2, seed=seed)).sum())
        total += family.size
    assert abs(empty / total - 0.54909) < 5 * math.sqrt(0.25 / total)  # caps of one draw are negatively associated


@pytest.mark.parametrize(("d", "epsilon"), [(2, 0.5), (3, 0.5)])
def test_distance_of_two_hard_functions(d, epsilon):
    family = hard_family(d, epsilon, seed=0, candidates=2048)
    signs = torch.ones(family.size, dtype=torch.float64)
    other = signs.clone()
    other[::2] = -1
    hamming = int((signs != other).sum())
    n = 400_000
    x = uniform_ball(n, d, seed=9)
    square = (family.network(signs)(x) - family.network(other)(x)).square()
    truth = 4 * hamming * atom_norm_squared(d, epsilon)
    assert abs(square.mean().item() - truth) < 5 * square.std().item() / math.sqrt(n)
    peaks = family.network(signs)(family.centres)
    torch.testing.assert_close(peaks, torch.ones(family.size, 1, dtype=torch.float64))


def test_empty_caps_hold_no_sample_and_the_hessian_has_norm_one():
    x = uniform_ball(40, 2, seed=0)
    family = hard_family(2, 0.3, seed=0)
    empty = family.empty(x)
    for inside, u in zip(empty, family.centres, strict=True):
        assert bool(inside) == (not any(float(u @ row) > 1 - 0.09 for row in x))
    assert 0 < int(empty.sum()) < family.size
    network = family.empty_cap_network(x, level=2.5)
    assert network.width == int(empty.sum())
    assert not network(x).any()
    assert math.isclose(network(family.centres[empty][:1]).item(), 2.5)

    names, values = zip(*network.named_parameters(), strict=True)
    flat = torch.cat([v.detach().flatten() for v in values])

    def loss(theta):
        parts = theta.split([v.numel() for v in values])
        state = {name: part.reshape(v.shape) for name, part, v in zip(names, parts, values, strict=True)}
        return 0.5 * torch.func.functional_call(network, state, (x,)).square().mean()

    hessian = torch.autograd.functional.hessian(loss, flat)
    eigenvalues = torch.linalg.eigvalsh(hessian)
    assert math.isclose(eigenvalues[-1].item(), 1.0)
    assert eigenvalues[:-1].abs().max() < 1e-12


@pytest.mark.door
def test_bad_input_is_named():
    with pytest.raises(ParameterError, match=r"`epsilon` must be > 0 and ≤ 0.5, got 0.7"):
        cap_packing(2, 0.7, seed=0)
    with pytest.raises(ParameterError, match="`d` must be ≥ 1, got 0"):
        unit_linear_teacher(0, seed=0)
    family = hard_family(2, 0.5, seed=0)
    with pytest.raises(ShapeError, match="one number or 4, one per cap, got \\[3\\]"):
        family.network([1.0, 1.0, 1.0])
    with pytest.raises(DataError, match="leave a cap empty, got samples in all 4"):
        family.empty_cap_network(family.centres)
    with pytest.raises(DataError, match="at least 2 samples, got 1"):
        linear_teacher_on(torch.ones(1, 2, dtype=torch.float64), seed=0)
    with pytest.raises(DataError, match="must vary along"):
        linear_teacher_on(torch.ones(3, 2, dtype=torch.float64), seed=0)
