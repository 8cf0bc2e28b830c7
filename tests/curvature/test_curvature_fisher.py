import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from steppe.core import CrossEntropy, KindError, Logistic, Objective, SquaredLoss, UnknownNameError
from steppe.curvature import gauss_newton, trace
from steppe.curvature.fisher import fisher
from steppe.curvature.likelihoods import drawn_scores, fisher_map, uniforms_of
from steppe.curvature.output_space import known_loss
from steppe.networks import ShallowReLU


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(*shape, classes, seed=1):
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))


def network(outputs=3):
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, outputs)).double()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            parameter.copy_(randn(*parameter.shape, seed=10 + index))
    return model


class Places(nn.Module):
    """Logits [n, classes, places] from inputs [n, places, 2]."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner(x).transpose(1, 2)


X, XS = randn(7, 2), randn(5, 2, 2)
IGNORING = labels(5, 2, classes=3).index_put((torch.tensor([0, 3]), torch.tensor([1, 0])), torch.tensor(-100))
SIGNS = 2.0 * labels(7, 3, classes=2).double() - 1
HALF = torch.sigmoid(randn(7, 3, seed=8))
CASES = {
    "squared": (network(), SquaredLoss(), (X, randn(7, 3, seed=3)), "row", 1.0),
    "mse": (network(), nn.MSELoss(), (X, randn(7, 3, seed=3)), "row", 1 / 3),
    "mse sum": (network(), nn.MSELoss(reduction="sum"), (X, randn(7, 3, seed=3)), "row", 7.0),
    "cross-entropy": (network(), CrossEntropy(), (X, labels(7, classes=3)), "position", 1.0),
    "cross-entropy module": (network(), nn.CrossEntropyLoss(), (X, labels(7, classes=3)), "position", 1.0),
    "tokens": (Places(), nn.CrossEntropyLoss(), (XS, labels(5, 2, classes=3)), "position", 1.0),
    "tokens ignored": (Places(), nn.CrossEntropyLoss(), (XS, IGNORING), "position", 1.0),
    "tokens sum": (Places(), nn.CrossEntropyLoss(reduction="sum"), (XS, IGNORING), "position", 8.0),
    "logistic": (network(), Logistic(), (X, SIGNS), "row", 1.0),
    "binary": (network(), nn.BCEWithLogitsLoss(), (X, HALF.round()), "entry", 1.0),
    "binary soft": (network(), nn.BCEWithLogitsLoss(), (X, HALF), "entry", 1.0),
}


def losses_one_by_one(model, loss, data, unit):
    """The negative log-likelihoods of all samples, by calling the loss with one sample at a time."""
    x, y = data

    def values(parameters):
        outputs = functional_call(model, parameters, (x,))
        if unit == "row":
            return torch.stack([loss(outputs[i : i + 1], y[i : i + 1]) for i in range(len(y))])
        if unit == "entry":
            pairs = zip(outputs.reshape(-1), y.reshape(-1), strict=True)
            return torch.stack([loss(f.reshape(1, 1), t.reshape(1, 1)) for f, t in pairs])
        rows = outputs.movedim(1, -1).reshape(-1, outputs.shape[1])
        pairs = zip(rows, y.reshape(-1), strict=True)
        return torch.stack([loss(f[None], t[None]) for f, t in pairs if int(t) != -100])

    return values


def gradients_one_by_one(model, loss, data, unit):
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    jacobian = jacrev(losses_one_by_one(model, loss, data, unit))(parameters)
    return torch.cat([jacobian[name].flatten(1) for name in parameters], dim=1)


@pytest.mark.parametrize("name", CASES)
def test_empirical_is_the_mean_of_outer_products_of_single_gradients(name):
    model, loss, data, unit, _ = CASES[name]
    g = gradients_one_by_one(model, loss, data, unit)
    expected = g.T @ g / (1 if "sum" in name else len(g))
    found = fisher(model, loss, data, kind="empirical").to_dense()
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_true_is_gauss_newton_and_needs_no_labels(name):
    model, loss, (x, y), _, _ = CASES[name]
    found = fisher(model, loss, (x, y)).to_dense()
    torch.testing.assert_close(found, gauss_newton(model, loss, (x, y)).to_dense(), rtol=1e-12, atol=1e-14)
    other = torch.where(y == -100, y, 1 - y) if not y.is_floating_point() else -y
    if "soft" not in name and "tokens" not in name and y.is_floating_point() and "binary" not in name:
        torch.testing.assert_close(fisher(model, loss, (x, other)).to_dense(), found, rtol=1e-12, atol=1e-14)


def all_labels(name, model, x, y):
    """Every label a sample can have, with its probability under the model: [(labels, probabilities)]."""
    outputs = model(x).detach()
    if "cross" in name or "tokens" in name:
        p = torch.softmax(outputs, dim=1)
        for c in range(3):
            yield torch.where(y == -100, y, c), p[:, c]
    else:
        sign = name == "logistic"
        p = torch.sigmoid(outputs)
        for bits in range(8):
            b = torch.tensor([bits >> j & 1 for j in range(3)], dtype=torch.float64).expand(len(x), 3)
            chance = torch.where(b > 0, p, 1 - p)
            yield (2 * b - 1 if sign else b), chance


@pytest.mark.parametrize("name", [name for name in CASES if "squared" not in name and "mse" not in name])
def test_true_is_the_expectation_over_all_labels(name):
    model, loss, (x, y), unit, _ = CASES[name]
    total, count = 0.0, None
    for other, chance in all_labels(name, model, x, y):
        g = gradients_one_by_one(model, loss, (x, other), unit)
        if unit == "entry":  # every bit pattern is met 2^(k-1) times more often per entry than once
            weights = chance.reshape(-1) / 4
        elif unit == "row":
            weights = chance.prod(dim=1)
        else:
            weights = chance.reshape(-1) if chance.ndim == 1 else chance[y != -100]
        total = total + (weights[:, None] * g).T @ g
        count = 1 if "sum" in name else len(g)
    torch.testing.assert_close(fisher(model, loss, (x, y)).to_dense(), total / count, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_drawn_labels_are_unbiased_in_the_space_of_outputs(name):
    model, loss, (x, y), unit, _ = CASES[name]
    outputs, objective = model(x).detach(), Objective(loss)
    known = known_loss(objective, outputs, (x, y))
    assert known.unit == unit
    s = torch.stack([drawn_scores(known, outputs, (x, y), seed) for seed in range(600)])
    size = outputs.numel()
    same = torch.eye(size, dtype=torch.bool)  # pairs of entries of one sample
    if unit != "entry":
        places = torch.arange(size).view_as(outputs)
        owner = places[:, :1].expand_as(outputs).reshape(-1) if unit == "position" or outputs.ndim == 2 else places
        same = owner[:, None] == owner[None, :]
    draws = known.count * s.reshape(600, size, 1) * s.reshape(600, 1, size) * same
    weigh = fisher_map(objective, outputs, (x, y), kind="true")
    true = torch.stack([weigh(e.view_as(outputs)).reshape(-1) for e in torch.eye(size, dtype=torch.float64)])
    error = draws.std(dim=0) / 600**0.5
    assert float(((draws.mean(dim=0) - true).abs() - 5 * error).max()) < 1e-12
    assert float(error[same].max()) < 0.2 * float(true.abs().max())  # the test has power
    assert float((draws.mean(dim=0) - true).norm() / true.norm()) < 0.2


@pytest.mark.parametrize("name", ["mse", "tokens ignored"])
def test_sampled_is_unbiased_for_true(name):
    model, loss, data, _, _ = CASES[name]
    v = randn(sum(p.numel() for p in model.parameters()), seed=6)
    true = fisher(model, loss, data) @ v
    draws = torch.stack([fisher(model, loss, data, kind="sampled", seed=seed) @ v for seed in range(50)])
    error = draws.std(dim=0) / 50**0.5
    assert float(((draws.mean(dim=0) - true).abs() - 5 * error).max()) < 1e-12
    assert float((draws.mean(dim=0) - true).norm() / true.norm()) < 0.35


def test_kinds_agree_with_the_sum_and_mean_convention():
    model, x = network(), X
    y = randn(7, 3, seed=3)
    half_sum = fisher(model, nn.MSELoss(reduction="sum"), (x, y)).to_dense()
    mean = fisher(model, nn.MSELoss(), (x, y)).to_dense()
    torch.testing.assert_close(half_sum, 21 * mean, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["true", "empirical", "sampled"])
def test_uneven_batches_and_loaders_give_the_same_matrix(kind):
    model = network()
    y = labels(7, classes=3)
    whole = fisher(model, nn.CrossEntropyLoss(), (X, y), kind=kind, seed=4).to_dense()
    parts = [(X[:4], y[:4]), (X[4:6], y[4:6]), (X[6:], y[6:])]
    batched = fisher(model, nn.CrossEntropyLoss(), parts, kind=kind, seed=4).to_dense()
    torch.testing.assert_close(batched, whole, rtol=1e-12, atol=1e-14)
    dataset = torch.utils.data.TensorDataset(X, y)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, shuffle=True, generator=torch.Generator())
    shuffled = fisher(model, nn.CrossEntropyLoss(), loader, kind=kind, seed=4).to_dense()
    torch.testing.assert_close(shuffled, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["empirical", "sampled"])
def test_uneven_token_batches_combine_by_tokens(kind):
    model, loss, (x, y), _, _ = CASES["tokens ignored"]
    whole = fisher(model, loss, (x, y), kind=kind, weight="tokens").to_dense()
    parts = [{"x": x[:1], "labels": y[:1]}, {"x": x[1:], "labels": y[1:]}]
    batched = fisher(model, loss, parts, kind=kind, weight="tokens").to_dense()
    torch.testing.assert_close(batched, whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["true", "empirical", "sampled"])
@pytest.mark.parametrize("loss", [SquaredLoss(), CrossEntropy(), Logistic()])
def test_shallow_networks_agree_with_autograd(kind, loss):
    net = ShallowReLU(2, 6, 3, seed=3, skip=True)
    y = {SquaredLoss: randn(7, 3, seed=3), CrossEntropy: labels(7, classes=3), Logistic: SIGNS}[type(loss)]
    operator = fisher(net, loss, (X, y), kind=kind, seed=2)
    assert operator.backend == "closed form"
    wrapped = nn.Sequential(net)
    by_autograd = fisher(wrapped, loss, (X, y), kind=kind, seed=2)
    assert by_autograd.backend != "closed form"
    torch.testing.assert_close(operator.to_dense(), by_autograd.to_dense(), rtol=1e-11, atol=1e-13)


def test_closed_form_joins_a_shuffling_loader_with_its_own_targets():
    net, y = ShallowReLU(2, 6, seed=3), randn(7, 1, seed=3)
    dataset = torch.utils.data.TensorDataset(X, y)
    loader = torch.utils.data.DataLoader(dataset, batch_size=2, shuffle=True, generator=torch.Generator())
    found = fisher(net, SquaredLoss(), loader, kind="empirical").to_dense()
    torch.testing.assert_close(found, fisher(net, SquaredLoss(), (X, y), kind="empirical").to_dense())


def test_single_precision_shallow_networks_are_upcast():
    net, y = ShallowReLU(2, 6, seed=3, dtype=torch.float32), randn(7, 1, seed=3).float()
    found = fisher(net, SquaredLoss(), (X.float(), y), kind="empirical")
    same = fisher(net.copy(dtype=torch.float64), SquaredLoss(), (X.float().double(), y.double()), kind="empirical")
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.to_dense(), same.to_dense(), rtol=1e-12, atol=1e-14)


def test_one_sample_by_hand():
    model = nn.Linear(1, 1).double()
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.bias.fill_(0.0)
    x, y = torch.full((1, 1), 2.0).double(), torch.ones(1, 1).double()  # residual 5, gradient 5 (2, 1)
    found = fisher(model, SquaredLoss(), (x, y), kind="empirical").to_dense()
    torch.testing.assert_close(found, torch.tensor([[100.0, 50.0], [50.0, 25.0]]).double())


def test_empirical_takes_any_mean_over_rows_and_refuses_others():
    model, y = network(), randn(7, 3, seed=3)
    huber = nn.HuberLoss()
    g = gradients_one_by_one(model, huber, (X, y), "row")
    found = fisher(model, huber, (X, y), kind="empirical").to_dense()
    torch.testing.assert_close(found, g.T @ g / 7, rtol=1e-11, atol=1e-13)
    for loss in (nn.HuberLoss(reduction="sum"), lambda f, t: (f - t).square().mean().sqrt()):
        operator = fisher(model, loss, (X, y), kind="empirical")
        with pytest.raises(KindError, match="must be a mean over rows"):
            operator @ torch.ones(operator.shape[0], dtype=torch.float64)


@pytest.mark.parametrize("kind", ["true", "sampled"])
@pytest.mark.parametrize(
    ("loss", "word"),
    [
        (nn.HuberLoss(), "HuberLoss"),
        (nn.CrossEntropyLoss(label_smoothing=0.1), "CrossEntropyLoss with label smoothing"),
        (nn.CrossEntropyLoss(weight=torch.ones(3).double()), "with `weight`"),
        (nn.BCEWithLogitsLoss(pos_weight=torch.ones(3).double()), "with `pos_weight`"),
        (lambda f, y: (f - y).square().mean(), "<lambda>"),
    ],
)
def test_losses_that_are_no_likelihood_are_refused_with_the_remedy(kind, loss, word):
    with pytest.raises(KindError, match=rf"{word}; pass kind='empirical'"):
        fisher(network(), loss, (X, HALF), kind=kind)


@pytest.mark.door
def test_wrong_arguments_are_refused():
    model = network()
    with pytest.raises(UnknownNameError, match="'true', 'empirical', 'sampled'"):
        fisher(model, SquaredLoss(), (X, HALF), kind="exact")
    with pytest.raises(KindError, match="got None; pass a loss"):
        fisher(model, None, (X, HALF))
    with pytest.raises(KindError, match="got an objective"):
        fisher(model, SquaredLoss(), (X, HALF), objective=lambda m, b: m(b[0]).sum())
    with pytest.raises(KindError, match="`kinds`"):
        fisher(model, SquaredLoss(), (X, HALF), kinds="true")


def test_conventions_and_estimators_say_which_kind():
    operator = fisher(network(), CrossEntropy(), (X, labels(7, classes=3)), kind="empirical")
    assert operator.convention.endswith("; empirical Fisher")
    assert "empirical Fisher" in str(trace(operator))
    assert float(trace(operator)) == pytest.approx(float(operator.to_dense().trace()))


def test_parameter_subsets_are_diagonal_blocks():
    model, data = network(), (X, labels(7, classes=3))
    whole = fisher(model, CrossEntropy(), data, kind="empirical").to_dense()
    part = fisher(model, CrossEntropy(), data, kind="empirical", parameters="2.*").to_dense()
    torch.testing.assert_close(part, whole[12:, 12:])


def test_drawn_numbers_are_uniform_and_belong_to_their_sample():
    x = randn(4000, 2)
    u = uniforms_of((x, x), torch.zeros(4000, 25), 0, axis=None).reshape(-1)
    assert abs(float(u.mean()) - 0.5) < 5 * (1 / 12 / 1e5) ** 0.5
    counts = torch.histc(u, bins=100, min=0, max=1)
    assert float(((counts - 1000).square() / 1000).sum()) < 99 + 5 * (2 * 99) ** 0.5
    lag = torch.corrcoef(torch.stack([u[:-1], u[1:]]))[0, 1]
    assert abs(float(lag)) < 5 / 1e5**0.5
    other = uniforms_of((x, x), torch.zeros(4000, 25), 1, axis=None).reshape(-1)
    assert abs(float(torch.corrcoef(torch.stack([u, other]))[0, 1])) < 5 / 1e5**0.5
    order = torch.randperm(4000, generator=torch.Generator().manual_seed(0))
    again = uniforms_of((x[order], x[order]), torch.zeros(4000, 25), 0, axis=None)
    assert torch.equal(again, u.reshape(4000, 25)[order])


def test_integer_and_pixel_like_inputs_draw_different_numbers():
    for x in (torch.arange(512)[:, None], torch.cartesian_prod(*[torch.arange(8.0)] * 3).double(), torch.eye(300)):
        u = uniforms_of({"x": x, "y": torch.zeros(len(x))}, torch.zeros(len(x), 1), 0, axis=None)
        assert len(torch.unique(u)) == len(x)
