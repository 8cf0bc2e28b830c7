import math

import numpy as np
import pytest
from scipy import integrate

from steppe import theory
from steppe.core import ParameterError
from steppe.theory import rates

# d: limit of ‖Φ‖²/ε^(d+1), U, ‖Φ‖² at ε = .5, .3, .1, P(C) at the same.
CAPS = {
    2: (0.137191, 0.600211, (1.678636e-2, 3.676234e-3, 1.370767e-4), (7.214681e-2, 1.598513e-2, 5.993098e-4)),
    3: (0.125000, 0.750000, (7.421875e-3, 9.942750e-4, 1.247500e-5), (4.296875e-2, 5.892750e-3, 7.475000e-5)),
    5: (0.125000, 1.250000, (1.717704e-3, 8.707710e-5, 1.243759e-7), (1.605225e-2, 8.508478e-4, 1.240644e-6)),
    10: (0.218312, 5.321350, (7.318893e-5, 3.387176e-7, 2.151524e-12), (1.575419e-3, 7.918044e-6, 5.220805e-11)),
}


@pytest.mark.parametrize("d", CAPS)
def test_caps_table(d):
    energy_limit, mass_limit, energies, masses = CAPS[d]
    assert theory.atom_energy_limit(d) == pytest.approx(energy_limit, abs=0.51e-6)
    assert theory.cap_mass_limit(d) == pytest.approx(mass_limit, abs=0.51e-6)
    for epsilon, energy, mass in zip((0.5, 0.3, 0.1), energies, masses, strict=True):
        assert theory.atom_energy(d, epsilon) == pytest.approx(energy, rel=0.51e-6)
        assert theory.cap_mass(d, epsilon) == pytest.approx(mass, rel=0.51e-6)
        low, high = theory.cap_mass_bounds(d, epsilon)
        assert low < theory.cap_mass(d, epsilon) < high
    assert theory.atom_energy(d, 1e-4) / 1e-4 ** (d + 1) == pytest.approx(theory.atom_energy_limit(d), rel=1e-6)
    assert theory.cap_mass(d, 1e-4) / 1e-4 ** (d + 1) == pytest.approx(theory.cap_mass_limit(d), rel=1e-6)


@pytest.mark.parametrize("d", [1, 2, 3, 7])
@pytest.mark.parametrize("epsilon", [1.0, 0.6, 0.2])
def test_atom_energy_is_the_integral(d, epsilon):
    h = epsilon**2
    c = theory.ball_marginal_constant(d)
    energy, _ = integrate.quad(lambda x: ((x - 1 + h) / h) ** 2 * c * (1 - x * x) ** ((d - 1) / 2), 1 - h, 1)
    assert theory.atom_energy(d, epsilon) == pytest.approx(energy, rel=1e-7)


@pytest.mark.parametrize(("epsilon", "size"), [(0.5, 4), (0.3, 7), (0.2, 11), (0.1, 22), (1.0, 2)])
def test_disc_packing(epsilon, size):
    n = int(theory.disc_packing_size(epsilon))
    assert n == size

    def disjoint(count):
        centres = 2 * np.pi * np.arange(count) / count
        return np.cos(centres[1] - centres[0]) <= 2 * (1 - epsilon**2) ** 2 - 1 + 1e-12

    assert disjoint(n)
    assert not disjoint(n + 1)


def test_disc_packing_where_the_caps_touch():
    for n in (6, 10, 100):
        assert theory.disc_packing_size(math.sqrt(2 * math.sin(math.pi / n / 2) ** 2)) == n


@pytest.mark.parametrize("d", [2, 3, 6])
def test_packing_bound_exceeds_a_greedy_packing_and_scales(d):
    rng = np.random.default_rng(0)
    u = rng.standard_normal((3000, d))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    chosen = []
    for candidate in u:
        if all(candidate @ other <= 2 * (1 - 0.3**2) ** 2 - 1 for other in chosen):
            chosen.append(candidate)
    assert len(chosen) <= theory.packing_size_bound(d, 0.3)
    assert theory.packing_size_bound(2, 0.3) == theory.disc_packing_size(0.3)
    slope = math.log(theory.packing_size_bound(d, 1e-3) / theory.packing_size_bound(d, 1e-2)) / math.log(10)
    assert slope == pytest.approx(d - 1, abs=0.01)


@pytest.mark.parametrize(
    ("d", "probability", "limit"), [(2, 0.54909, 0.54870), (3, 0.47598, 0.47237), (5, 0.31386, 0.28650)]
)
def test_empty_caps(d, probability, limit):
    assert theory.empty_cap_probability(d, 1000) == pytest.approx(probability, abs=0.51e-5)
    assert theory.empty_cap_limit(d) == pytest.approx(limit, abs=0.51e-5)
    assert theory.empty_cap_probability(d, 10**9) == pytest.approx(limit, abs=1e-3)


def test_hard_family_seminorm():
    assert theory.hard_family_seminorm(3, 0.5, 7) == pytest.approx(7 * 0.5**8)
    # one atom is ε⁻² times a unit neuron of threshold 1 − ε²
    assert theory.hard_family_seminorm(3, 0.5, 1) == pytest.approx(theory.canonical_weight(3, 0.75) / 0.25)


def test_varshamov_gilbert_at_eight():
    # N = 8: all 256 vectors are pairwise at distance ≥ 1, and 2 are promised
    assert theory.varshamov_gilbert_size(8) == 2
    with pytest.raises(ParameterError, match="`size` must be ≥ 8, got 7"):
        theory.varshamov_gilbert_size(7)


@pytest.mark.parametrize("d", [1, 2, 5])
def test_fano_scale_balances_information_and_entropy_and_has_the_exponent(d):
    n, noise = 1000, 0.5
    epsilon = theory.fano_epsilon(d, n, noise)
    if d > 1:
        assert n * epsilon**2 / noise**2 == pytest.approx(epsilon ** -(d - 1))
    decay = math.log(theory.fano_risk(d, n, noise) / theory.fano_risk(d, 10 * n, noise)) / math.log(10)
    assert decay == pytest.approx(rates.flat_lower(d))


@pytest.mark.parametrize("labels", [np.ones(50), np.linspace(-1, 1, 50)])
def test_sphere_bounds_against_the_spectrum(labels):
    n = len(labels)
    size = np.abs(labels)

    def sharpness(v, a):
        return np.linalg.eigvalsh((np.ones((n, n)) + np.diag(2 * v**2 + a**2)) / n)[-1]

    simple = sharpness(np.ones(n), size)
    balanced = sharpness(np.sqrt(size / math.sqrt(2)), np.sqrt(size * math.sqrt(2)))
    slack = (
        theory.sphere_interpolation_bound(n, 1.0, balanced=False) - simple,
        theory.sphere_interpolation_bound(n, 1.0) - balanced,
    )
    if size.min() == 1:
        assert np.abs(slack).max() < 1e-12
        assert simple == pytest.approx(1.06)
        assert balanced == pytest.approx(1.0565685, abs=0.51e-7)
    else:
        assert min(slack) > 1e-6


@pytest.mark.parametrize("d", CAPS)
@pytest.mark.parametrize("epsilon", [0.5, 0.1, 1e-3])
def test_caps_agree_with_high_precision(d, epsilon):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(40):
        h, a = mpmath.mpf(epsilon) ** 2, mpmath.mpf(d - 1) / 2
        c = mpmath.gamma(a + 1.5) / (mpmath.sqrt(mpmath.pi) * mpmath.gamma(a + 1))
        energy = c / h**2 * mpmath.quad(lambda s: (h - s) ** 2 * (2 * s - s * s) ** a, [0, h])
        mass = c * mpmath.quad(lambda s: (2 * s - s * s) ** a, [0, h])
    assert theory.atom_energy(d, epsilon) == pytest.approx(float(energy), rel=1e-11)
    assert theory.cap_mass(d, epsilon) == pytest.approx(float(mass), rel=1e-11)
