import math

import pytest
import torch
from dense_theorems import dense, top, trained
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import DataError, ShapeError, SquaredLoss
from steppe.data import uniform_sphere
from steppe.networks import PatchReLU, ShallowReLU
from steppe.norms import patch_weighted_norm
from steppe.panel import check_flatness, check_gauss_newton, check_mean_gradient, check_theorems, measure


def problem(seed, *, n=12, positions=3, s=2, d=6, m=4, shared=True, noise=1.0):
    rng = torch.Generator().manual_seed(seed)
    patches = torch.randint(d, (positions, s), generator=rng)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    y = x[:, :1] + noise * torch.randn(n, 1, generator=rng, dtype=torch.float64)
    return PatchReLU(patches, m, inputs=d, shared=shared, init="torch", seed=seed), x, y


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("steps", [0, 100])
def test_terms_agree_with_dense_matrices(shared, steps):
    network, x, y = problem(1, shared=shared)
    trained(network, x, y, step_size=0.1, steps=steps)
    hessian, jacobian = dense(network, x, y)
    paper, sharp, gradient, gauss, stability = check_theorems(network, x, y, step_size=0.1, rtol=1e-8)
    radius = float(network.extract(x).norm(dim=2).max())
    loss = 0.5 * (network(x) - y).square().mean().item()
    assert paper.terms["radius"] == pytest.approx(radius)
    assert paper.left == pytest.approx(patch_weighted_norm(network, x))
    assert paper.right == pytest.approx(top(hessian) / 2 - 0.5 + (radius + 1) * math.sqrt(2 * loss))
    assert sharp.right == pytest.approx(top(hessian) / 2 - 0.5 + 0.5 * math.hypot(1, radius) * math.sqrt(2 * loss))
    assert gradient.right == gauss.left == pytest.approx(float(jacobian.mean(0).square().sum()))
    assert gauss.right == pytest.approx(top(jacobian.T @ jacobian / len(x)), rel=1e-7)
    assert stability.right == pytest.approx(10 - 0.5 + (radius + 1) * math.sqrt(2 * loss))
    assert all(check.holds and check.applies and check.status == "derived" for check in (paper, sharp, gradient, gauss))
    assert "patches in place of samples" in str(paper)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 10),
    positions=st.integers(1, 4),
    s=st.integers(1, 3),
    m=st.integers(1, 6),
    steps=st.sampled_from([0, 0, 30]),
    shared=st.booleans(),
)
def test_never_violated_on_random_and_trained_networks(seed, n, positions, s, m, steps, shared):
    network, x, y = problem(seed, n=n, positions=positions, s=s, m=m, shared=shared)
    trained(network, x, y, step_size=0.05, steps=steps)
    for check in check_theorems(network, x, y, step_size=1e-3):
        assert check.holds, str(check)


@pytest.mark.parametrize("shared", [True, False])
def test_one_patch_of_everything_is_the_theorem_of_shallow_networks(shared):
    shallow = ShallowReLU(4, 5, init="torch", seed=2)
    network = PatchReLU.from_shallow(shallow)
    if not shared:
        network = PatchReLU.from_weights(
            network.patches, network.w[None], network.b[None], network.v, network.output_bias
        )
    _, x, y = problem(0, d=4)
    for ours, theirs in zip(
        check_theorems(network, x, y, rtol=1e-8), check_theorems(shallow, x, y, rtol=1e-8), strict=True
    ):
        assert ours.left == pytest.approx(theirs.left, rel=1e-10)
        assert ours.right == pytest.approx(theirs.right, rel=1e-7)


def test_the_chain_of_inequalities_before_and_after_training():
    # 20 inputs on the sphere, 4 disjoint patches of 5, 30 neurons, 60 samples with noise
    x = uniform_sphere(60, 20, seed=0)
    y = x[:, :1] + torch.randn(60, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = PatchReLU(torch.arange(20).reshape(4, 5), 30, init="paper", seed=0)
    before = [check_mean_gradient(network, x, y), check_gauss_newton(network, x, y), check_flatness(network, x, y)]
    trained(network, x, y, step_size=0.3, steps=1000)
    after = [check_mean_gradient(network, x, y), check_gauss_newton(network, x, y), check_flatness(network, x, y)]
    for gradient, gauss, flatness in (before, after):
        assert gradient.holds
        assert gauss.holds
        assert flatness.holds
        assert gradient.left > 1.1  # it says something
    assert after[0].left > 1.5 * before[0].left
    assert after[1].right > 0.95 * after[2].terms["sharpness"]  # the exact Hessian is mostly Gauss–Newton by then
    assert after[0].left > 0.6 * after[1].right  # close to tight


def test_a_near_miss_is_violated_so_that_the_check_has_power():
    # one neuron active on one patch of the only sample, balanced, with a residual that bends the loss
    size, residual = 30.0, -1.0
    x = torch.tensor([[0.6, 0.8, 0.0, 0.0]], dtype=torch.float64)
    patches = [[0, 1]]
    v = (size / math.sqrt(2)) ** 0.5
    network = PatchReLU.from_weights(patches, x[:, :2] * size / v, [0.0], [v], inputs=4)
    check = check_flatness(
        network, x, torch.tensor([[size - residual]], dtype=torch.float64), constant="sharp", rtol=1e-10
    )
    assert check.holds
    half, loss = check.terms["sharpness"] / 2, math.sqrt(2 * check.terms["training_loss"])
    assert check.left > half - 0.5  # the loss term left out
    assert check.left > half - 0.5 + 0.48 * math.hypot(1, 1) * loss  # its constant a little smaller


def test_hypotheses_are_looked_at(monkeypatch):
    network, x, y = problem(3)
    monkeypatch.setattr("steppe.panel.setting._BLOCK", 1)
    small = check_flatness(network, x, y, radius=0.1)
    assert not small.applies
    assert "‖x_i[P_j]‖ ≤ R" in str(small)
    with torch.no_grad():
        network.b[0] = network.extract(x)[2, 1] @ network.w[0]
    on = check_flatness(network, x, y)
    assert [h.detail for h in on.hypotheses if h.state == "violated"] == [
        "1 of 144 pairs; the mask is w·x > b, strictly"
    ]


@pytest.mark.door
def test_bad_input():
    network, x, y = problem(1)
    with pytest.raises(ShapeError, match="must have one output, got 2"):
        check_flatness(PatchReLU([[0, 1]], 3, 2, inputs=6), x, torch.cat([y, y], dim=1))
    with pytest.raises(ShapeError, match=r"\[n, 6\]"):
        check_flatness(network, x[:, :4], y)
    with torch.no_grad():
        network.w[0, 0] = torch.nan
    with pytest.raises(DataError, match="diverged"):
        check_flatness(network, x, y)


def test_measure_knows_the_norm_and_the_theorem_of_patches():
    network, x, y = problem(1)
    found = measure(network, SquaredLoss(), (x, y))
    assert found.norms == {"patch-weighted norm": pytest.approx(patch_weighted_norm(network, x))}
    assert found.theorem.startswith("applies: weighted norm")
    assert found.theorem.endswith("holds")
