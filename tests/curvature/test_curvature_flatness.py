import copy
import itertools

import hypothesis.strategies as st
import pytest
import torch
from flat_models import DATA, LOSS, X, Y, quadratic, randn, relu
from hypothesis import given, settings
from torch import nn

from steppe.core import (
    ComputationError,
    CrossEntropy,
    DataError,
    InputError,
    KindError,
    NotDeterministicError,
    ParameterError,
    ShapeError,
)
from steppe.curvature import (
    average_case_sharpness,
    effective_dimension,
    fisher_rao_norm,
    gauss_newton,
    gradient_noise_scale,
    hessian,
    relative_flatness,
    worst_case_sharpness,
)
from steppe.linalg import SymmetricOperator

# Effective dimension


def test_effective_dimension_of_a_linear_model_is_that_of_its_covariance():
    model = nn.Linear(3, 1, bias=False).double()
    values = torch.linalg.eigvalsh(X.T @ X / 20)
    found = effective_dimension(model, LOSS, (X, Y[:, :1].contiguous()), alpha=0.3)
    assert float(found) == pytest.approx(float((values / (values + 0.3)).sum()), rel=1e-12)
    assert found.error == 0
    assert found.reason == "all eigenvalues"


def test_stochastic_effective_dimension_is_right_and_so_is_its_error():
    p = 400
    basis = torch.linalg.qr(randn(p, p)).Q
    values = torch.logspace(-6, 1, p, dtype=torch.float64)
    operator = SymmetricOperator.from_matrix((basis * values) @ basis.T)
    exact = float((values / (values + 1e-2)).sum())
    hits = 0
    for seed in range(15):
        found = effective_dimension(operator, alpha=1e-2, probes=10, seed=seed)
        assert found.converged
        assert abs(float(found) - exact) < 6 * found.error
        hits += abs(float(found) - exact) < 2.2 * found.error  # 95 % of Student's distribution at 9
    assert hits >= 12


def test_solves_of_the_effective_dimension_keep_their_accuracy():
    values = torch.logspace(-8, 0, 300, dtype=torch.float64)
    operator = SymmetricOperator.from_matrix(torch.diag(values))  # signs give the trace of a diagonal matrix exactly
    for alpha in (1e-6, 1e-3, 1.0):
        exact = float((values / (values + alpha)).sum())
        found = effective_dimension(operator, alpha=alpha, probes=3, max_products=10**5)
        assert found.converged
        assert 0 <= float(found) - exact <= 1.01e-3 * exact


def test_effective_dimension_says_when_products_or_positivity_end():
    values = torch.logspace(-8, 0, 300, dtype=torch.float64)
    found = effective_dimension(SymmetricOperator.from_matrix(torch.diag(values)), alpha=1e-6, max_products=60)
    assert not found.converged
    assert "products ran out" in found.reason
    for p in (5, 300):
        negative = SymmetricOperator.from_matrix(torch.diag(torch.linspace(-1, 1, p, dtype=torch.float64)))
        with pytest.raises(ComputationError, match="pass `gauss_newton` or `fisher`"):
            effective_dimension(negative, alpha=1e-3)


@settings(max_examples=6, deadline=None)
@given(c=st.floats(0.1, 10), alpha=st.floats(1e-3, 10))
def test_effective_dimension_depends_on_the_ratio_of_loss_and_alpha(c, alpha):
    model = relu()
    plain = float(effective_dimension(model, LOSS, DATA, alpha=alpha))
    scaled = float(effective_dimension(c * gauss_newton(model, LOSS, DATA), alpha=c * alpha))
    assert scaled == pytest.approx(plain, rel=1e-9)
    assert 0 < plain < 40


# Relative flatness


def brute_relative_flatness(model, layer):
    index = [name for name, _ in model.named_parameters()].index(f"{layer}.weight")
    sizes = [p.numel() for p in model.parameters()]
    start = sum(sizes[:index])
    weight = model[layer].weight.detach()
    d, m = weight.shape
    h = hessian(model, LOSS, DATA).to_dense()[start : start + d * m, start : start + d * m].view(d, m, d, m)
    return sum(float(weight[s] @ weight[t]) * float(h[s, :, t, :].trace()) for s in range(d) for t in range(d))


def test_relative_flatness_is_its_definition():
    model = relu()
    found = relative_flatness(model, LOSS, DATA)
    assert list(found) == ["0.weight", "2.weight", "4.weight"]
    for layer in (0, 2, 4):
        assert float(found[f"{layer}.weight"]) == pytest.approx(brute_relative_flatness(model, layer), rel=1e-10)
        assert found[f"{layer}.weight"].error == 0


def test_relative_flatness_of_a_linear_model_in_closed_form():
    model = nn.Linear(3, 2, bias=False).double()
    found = relative_flatness(model, LOSS, DATA)["weight"]
    expected = float(model.weight.detach().square().sum()) * float(X.square().sum()) / 20
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_stochastic_relative_flatness_covers_the_exact_one():
    model = relu(widths=(3, 30, 2))
    exact = float(relative_flatness(model, LOSS, DATA, parameters="2.weight", probes=100)["2.weight"])
    hits = 0
    for seed in range(15):
        found = relative_flatness(model, LOSS, DATA, parameters="2.weight", probes=30, seed=seed)["2.weight"]
        assert found.reason == "30 probes"
        assert abs(float(found) - exact) < 5.5 * found.error
        hits += abs(float(found) - exact) < 2 * found.error
    assert hits >= 12


def test_relative_flatness_refuses_what_is_no_matrix():
    with pytest.raises(ShapeError, match=r"'0\.bias' of shape \[5\]"):
        relative_flatness(relu(), LOSS, DATA, parameters="0.*")
    with pytest.raises(KindError, match="must be a torch module"):
        relative_flatness(hessian(relu(), LOSS, DATA), None, None)
    convolution = nn.Sequential(nn.Conv1d(1, 2, 2), nn.Flatten()).double()
    found = relative_flatness(convolution, LOSS, (X[:, None], randn(20, 4, seed=3)))
    assert list(found) == ["0.weight"]


# Perturbed losses


@settings(max_examples=20, deadline=None)
@given(h=st.lists(st.floats(0.1, 10), min_size=3, max_size=3), radius=st.floats(0.01, 2))
def test_worst_case_at_the_minimum_of_a_quadratic(h, radius):
    problem = quadratic(h, [0.0, 0.0, 0.0])
    exact = 0.5 * radius**2 * max(h)
    found = worst_case_sharpness(*problem, radius=radius, steps=300)
    assert float(found) <= exact * (1 + 1e-9)
    assert float(found) >= exact * (1 - 2e-2)
    one = worst_case_sharpness(*problem, radius=radius, steps=1)
    assert float(one) <= float(found) * (1 + 1e-12)


def test_single_steps_are_those_of_sam_and_asam():
    h, theta = [1.0, 4.0], [0.5, -0.25]
    t, hh = torch.tensor(theta).double(), torch.tensor(h).double()
    g = hh * t
    for adaptive, e in ((False, 0.1 * g / g.norm()), (True, 0.1 * t * t * g / (t.abs() * g).norm())):
        expected = 0.5 * float((hh * (t + e).square()).sum() - (hh * t * t).sum())
        found = worst_case_sharpness(*quadratic(h, theta), radius=0.1, steps=1, adaptive=adaptive)
        assert float(found) == pytest.approx(expected, rel=1e-12)
        assert "lower bound" in found.convention


def test_ascent_on_a_convex_loss_never_falls_and_beats_random_points():
    model = relu(widths=(3, 2))
    values = [float(worst_case_sharpness(model, LOSS, DATA, radius=0.5, steps=k)) for k in (1, 2, 3, 5, 20)]
    assert all(later >= earlier * (1 - 1e-12) for earlier, later in itertools.pairwise(values))
    base = float(LOSS(model(X), Y).detach())
    for seed in range(50):
        twin = copy.deepcopy(model)
        noise = randn(8, seed=seed)
        noise = 0.5 * noise / noise.norm()
        nn.utils.vector_to_parameters(
            nn.utils.parameters_to_vector(model.parameters()).detach() + noise, twin.parameters()
        )
        assert float(LOSS(twin(X), Y).detach()) - base <= values[-1]


def test_average_case_of_a_quadratic_is_half_the_trace():
    h = [1.0, 2.0, 3.0]
    found = average_case_sharpness(*quadratic(h, [1.0, -2.0, 0.5]), sigma=0.1, draws=400)
    assert abs(float(found) - 0.5 * 0.01 * 6) < 5 * found.error
    variance = 0.25 * 1e-4 * 2 * sum(v * v for v in h)  # of ½ σ² Σ h z²
    assert found.error == pytest.approx((variance / 400) ** 0.5, rel=0.2)
    relative = average_case_sharpness(*quadratic(h, [1.0, -2.0, 0.5]), sigma=0.1, adaptive=True, draws=400)
    assert abs(float(relative) - 0.005 * (1 + 2 * 4 + 3 * 0.25)) < 5 * relative.error


def test_m_sharpness_grows_as_sub_batches_shrink_and_equals_the_whole_at_n():
    model = relu(widths=(3, 2))
    values = {m: worst_case_sharpness(model, LOSS, DATA, samples=m, radius=0.3) for m in (1, 5, 10, 20)}
    whole = worst_case_sharpness(model, LOSS, DATA, radius=0.3)
    assert float(values[20]) == pytest.approx(float(whole), rel=1e-12)
    ordered = [float(values[m]) for m in (1, 5, 10, 20)]
    assert ordered == sorted(ordered, reverse=True)
    assert values[5].error_kind == "standard error"
    by_hand = [
        float(worst_case_sharpness(model, LOSS, (X[i : i + 5], Y[i : i + 5]), radius=0.3)) for i in range(0, 20, 5)
    ]
    assert float(values[5]) == pytest.approx(sum(by_hand) / 4, rel=1e-12)
    assert "mean over 4 sub-batches of 5" in values[5].convention


# Fisher–Rao norm


@pytest.mark.parametrize("kind", ["empirical", "true"])
@pytest.mark.parametrize(
    ("loss", "y"), [(LOSS, Y), (CrossEntropy(), (Y[:, 0] > 0).long()), (nn.CrossEntropyLoss(), (Y[:, 0] > 0).long())]
)
def test_both_forms_of_the_fisher_rao_norm_agree_without_biases(kind, loss, y):
    model = relu(bias=False)
    by_parameters = fisher_rao_norm(model, loss, (X, y), kind=kind)
    by_outputs = fisher_rao_norm(model, loss, (X, y), kind=kind, depth=3)
    assert float(by_outputs) == pytest.approx(float(by_parameters), rel=1e-10)
    assert by_outputs.products == 0
    uneven = [(X[:7], y[:7]), (X[7:], y[7:])]
    assert float(fisher_rao_norm(model, loss, uneven, kind=kind, depth=3)) == pytest.approx(
        float(by_outputs), rel=1e-10
    )


def test_fisher_rao_norm_by_hand():
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(3.0)
    x, y = torch.full((1, 1), 2.0).double(), torch.ones(1, 1).double()  # f = 6, residual 5
    assert float(fisher_rao_norm(model, LOSS, (x, y))) == pytest.approx(30.0)
    assert float(fisher_rao_norm(model, LOSS, (x, y), kind="true")) == pytest.approx(6.0)


def test_form_in_outputs_refuses_networks_that_are_not_homogeneous():
    with pytest.raises(InputError, match="are there biases"):
        fisher_rao_norm(relu(), LOSS, DATA, depth=3)
    with pytest.raises(InputError, match="got 2, but"):
        fisher_rao_norm(relu(bias=False), LOSS, DATA, depth=2)
    with pytest.raises(InputError, match="needs all parameters"):
        fisher_rao_norm(relu(bias=False), LOSS, DATA, depth=3, parameters="0.weight")


# Gradient-noise scale


def test_noise_scale_of_one_weight_by_hand():
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(model.weight)
    ones = torch.ones(4, 1).double()
    y = torch.tensor([[1.0], [2.0], [3.0], [6.0]]).double()  # gradients −y: mean −3, variance 14/3
    found = gradient_noise_scale(model, LOSS, (ones, y))
    assert float(found) == pytest.approx((14 / 3) / (9 - 14 / 12))
    assert found.convention.startswith("single gradients")


def test_noise_scale_uses_single_gradients_of_any_model():
    model = relu()
    rows = []
    for i in range(20):
        model.zero_grad()
        LOSS(model(X[i : i + 1]), Y[i : i + 1]).backward()
        rows.append(torch.cat([p.grad.reshape(-1) for p in model.parameters()]))
    g = torch.stack(rows)
    noise = float(g.var(dim=0).sum())
    signal = float(g.mean(dim=0).square().sum()) - noise / 20
    found = gradient_noise_scale(model, LOSS, [(X[:13], Y[:13]), (X[13:], Y[13:])])
    assert float(found) == pytest.approx(noise / signal, rel=1e-10)
    assert noise == pytest.approx(
        20 / 19 * (float(g.square().sum()) / 20 - float(g.mean(dim=0).square().sum())), rel=1e-10
    )


def test_noise_scale_and_its_error_over_fresh_samples():
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, 0.5]]))

    def draw(n, seed):
        x = randn(n, 2, seed=seed)
        return x, 0.3 * randn(n, 1, seed=seed + 5000)

    # g = (w·x − ε) x: E g = w, E|g|² = |w|²(d + 2) + 0.09 d
    square = 1.25
    exact = (square * 4 + 0.09 * 2 - square) / square
    values, errors = [], []
    for seed in range(25):
        found = gradient_noise_scale(model, LOSS, draw(50, seed))
        values.append(float(found))
        errors.append(found.error)
    mean = sum(values) / 25
    spread = torch.tensor(values).std()
    assert abs(mean - exact) < 5 * float(spread) / 25**0.5 + 0.1 * exact  # a ratio keeps a bias of order 1/n
    assert float(torch.tensor(errors).mean()) == pytest.approx(float(spread), rel=0.5)
    blocked = gradient_noise_scale(model, LOSS, draw(10000, 7), blocks=50)
    assert "50 blocks of 200" in blocked.convention
    assert abs(float(blocked) - exact) < 5 * blocked.error


def test_noise_scale_does_not_depend_on_how_gradients_are_kept(monkeypatch):
    from steppe.curvature import noise_scale

    model = relu()
    kept = gradient_noise_scale(model, LOSS, DATA)
    monkeypatch.setattr(noise_scale, "_MEMORY", 0)
    again = gradient_noise_scale(model, LOSS, DATA)
    assert float(again) == pytest.approx(float(kept), rel=1e-12)
    assert again.error == pytest.approx(kept.error, rel=1e-9)


def test_noise_scale_refuses_what_has_no_answer():
    model = relu()
    with pytest.raises(ParameterError, match="reduction='sum'"):
        gradient_noise_scale(model, nn.MSELoss(reduction="sum"), DATA)
    with pytest.raises(DataError, match="at least 3 samples"):
        gradient_noise_scale(model, LOSS, (X[:2], Y[:2]))
    with pytest.raises(InputError, match="batch statistics"):
        gradient_noise_scale(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2)).double(), LOSS, DATA)
    flat = nn.Linear(1, 1, bias=False).double()
    nn.init.zeros_(flat.weight)
    signs = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]).double()
    lost = gradient_noise_scale(flat, LOSS, (torch.ones(4, 1).double(), signs))
    assert float(lost) == float("inf")
    assert not lost.converged


# What they leave behind


@pytest.mark.parametrize(
    "measure",
    [
        lambda m, loss: worst_case_sharpness(m, loss, DATA, steps=3),
        lambda m, loss: average_case_sharpness(m, loss, DATA, draws=2),
        lambda m, loss: gradient_noise_scale(m, loss, DATA),
        lambda m, loss: relative_flatness(m, loss, DATA),
        lambda m, loss: fisher_rao_norm(m, loss, DATA, depth=3),
    ],
)
def test_models_are_left_bit_for_bit_also_after_errors(measure):
    calls = 0

    def failing(f, y):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError("stop here")
        return LOSS(f, y)

    model = relu(bias=False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = copy.deepcopy(model.state_dict())
    versions = [p._version for p in model.parameters()]
    state = torch.get_rng_state()
    measure(model, LOSS)
    with pytest.raises((RuntimeError, KindError)):
        measure(model, failing)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert versions == [p._version for p in model.parameters()]
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model[2].weight.grad is None
    assert torch.equal(state, torch.get_rng_state())


def test_random_models_and_wrong_arguments_are_refused():
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.5)).double()
    for measure in (worst_case_sharpness, average_case_sharpness, gradient_noise_scale):
        with pytest.raises(NotDeterministicError, match="1: Dropout"):
            measure(model, LOSS, DATA)
        with pytest.raises(KindError, match="takes \\(model, loss, data\\)"):
            measure(hessian(relu(), LOSS, DATA), None, None)
        with pytest.raises(KindError, match="`rho`"):
            measure(relu(), LOSS, DATA, rho=0.1)
    with pytest.raises(ParameterError, match="zeros only"):
        worst_case_sharpness(*quadratic([1.0], [0.0]), adaptive=True)
    with pytest.raises(ParameterError, match="must be > 0"):
        worst_case_sharpness(relu(), LOSS, DATA, radius=0.0)
