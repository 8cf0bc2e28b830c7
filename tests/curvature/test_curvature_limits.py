"""Stability limits of the real torch optimizers, found again by running them on quadratics."""

import math

import pytest
import torch

from steppe.core import InputError, KindError
from steppe.curvature.limits import stability_limit, unwrapped_optimizer

DIMENSION = 3


def preconditioner():
    return torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64)


def base_matrix():
    rng = torch.Generator().manual_seed(3)
    root = torch.randn(DIMENSION, DIMENSION, generator=rng, dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(DIMENSION, dtype=torch.float64)


def growth(make, matrix, scale, frozen, steps=1500):
    """Ratio of the distances late and early in a run that starts in the steepest direction."""
    root = torch.ones(DIMENSION, dtype=torch.float64) if frozen is None else frozen.rsqrt()
    top = root * torch.linalg.eigh(root[:, None] * matrix * root)[1][:, -1]
    theta = torch.nn.Parameter(1e-9 * top)
    optimizer = make([theta])
    if frozen is not None:
        freeze(optimizer, theta, frozen)
    distances = []
    for _ in range(steps):
        theta.grad = scale * matrix @ theta.detach()
        optimizer.step()
        distances.append(float(theta.detach().norm()))
        if distances[-1] > 1e-4:  # before the growth moves the preconditioner
            return math.inf
    return max(distances[-50:]) / max(distances[200:250])


def freeze(optimizer, theta, frozen):
    """A preconditioner that gradients of size 1e-9 do not move: its state is as after very many steps."""
    late = torch.tensor(1e12)
    second = (frozen - optimizer.param_groups[0]["eps"]).square()
    states = {
        "Adam": {
            "step": late,
            "exp_avg": torch.zeros_like(frozen),
            "exp_avg_sq": second,
            "max_exp_avg_sq": second.clone(),
        },
        "NAdam": {
            "step": late,
            "mu_product": torch.tensor(0.0),
            "exp_avg": torch.zeros_like(frozen),
            "exp_avg_sq": second,
        },
        "RMSprop": {"step": late, "square_avg": second, "momentum_buffer": torch.zeros_like(frozen)},
        "Adagrad": {"step": torch.tensor(5.0), "sum": second},
    }
    states["AdamW"] = states["RAdam"] = states["Adam"]
    states["Adamax"] = {"step": late, "exp_avg": torch.zeros_like(frozen), "exp_inf": frozen.clone()}
    states["Adadelta"] = {"step": late, "square_avg": frozen.square(), "acc_delta": torch.ones_like(frozen)}
    optimizer.state[theta] = states[type(optimizer).__name__]


SGDS = {
    "plain": {},
    "heavy ball": {"momentum": 0.9},
    "dampened": {"momentum": 0.8, "dampening": 0.5},
    "nesterov": {"momentum": 0.9, "nesterov": True},
    "decay": {"weight_decay": 0.3},
    "all": {"momentum": 0.5, "dampening": 0.2, "weight_decay": 1.0},
    "dampening alone": {"dampening": 0.5},
}


@pytest.mark.parametrize("options", SGDS.values(), ids=SGDS)
def test_sgd_contracts_just_below_its_limit_and_grows_just_above(options):
    def make(p):
        return torch.optim.SGD(p, lr=0.1, **options)

    limit = stability_limit(make([torch.nn.Parameter(torch.ones(1))]))
    assert not limit.preconditioned
    matrix = base_matrix()
    at = float(limit) / float(torch.linalg.eigvalsh(matrix)[-1])
    assert growth(make, matrix, 0.995 * at, None) < 1
    assert growth(make, matrix, 1.005 * at, None) > 1


SLOW = 1 - 1e-10  # β₂ so close to 1 that the preconditioner stands still
ADAPTIVE = {
    "Adam": (torch.optim.Adam, {"betas": (0.9, SLOW)}),
    "Adam without momentum": (torch.optim.Adam, {"betas": (0.0, SLOW)}),
    "Adam, coupled decay": (torch.optim.Adam, {"betas": (0.9, SLOW), "weight_decay": 0.5}),
    "AMSGrad": (torch.optim.Adam, {"betas": (0.9, SLOW), "amsgrad": True}),
    "AdamW": (torch.optim.AdamW, {"betas": (0.9, SLOW), "weight_decay": 0.0}),
    "AdamW, strong decay": (torch.optim.AdamW, {"betas": (0.8, SLOW), "weight_decay": 3.0}),
    "NAdam": (torch.optim.NAdam, {"betas": (0.9, SLOW)}),
    "RAdam": (torch.optim.RAdam, {"betas": (0.9, SLOW)}),
    "Adamax": (torch.optim.Adamax, {"betas": (0.9, SLOW)}),
    "Adadelta": (torch.optim.Adadelta, {"rho": SLOW}),
    "RMSprop": (torch.optim.RMSprop, {"alpha": SLOW}),
    "RMSprop, momentum": (torch.optim.RMSprop, {"alpha": SLOW, "momentum": 0.7}),
    "Adagrad": (torch.optim.Adagrad, {}),
}


@pytest.mark.parametrize(("kind", "options"), ADAPTIVE.values(), ids=ADAPTIVE)
def test_adaptive_optimizers_contract_just_below_their_limit_and_grow_just_above(kind, options):
    def make(p):
        return kind(p, lr=0.1, eps=1e-8, **options)

    limit = stability_limit(make([torch.nn.Parameter(torch.ones(1))]))
    assert limit.preconditioned
    frozen, matrix = preconditioner(), base_matrix()
    root = frozen.rsqrt()
    coupled = options.get("weight_decay", 0.0) if kind is torch.optim.Adam else 0.0

    def top(scale):
        whole = scale * matrix + coupled * torch.eye(DIMENSION, dtype=torch.float64)
        return float(torch.linalg.eigvalsh(root[:, None] * whole * root)[-1])

    low, high = 0.0, 1e4
    for _ in range(80):  # the scale at which the preconditioned matrix, decay included, meets the limit
        middle = 0.5 * (low + high)
        low, high = (middle, high) if top(middle) < float(limit) else (low, middle)
    assert growth(make, matrix, 0.995 * low, frozen) < 1
    assert growth(make, matrix, 1.005 * low, frozen) > 1


def test_numbers_of_the_papers():
    weight = [torch.nn.Parameter(torch.ones(2))]
    assert float(stability_limit(torch.optim.Adam(weight, lr=1e-3))) == pytest.approx(38_000)
    assert float(stability_limit(torch.optim.SGD(weight, lr=0.01, momentum=0.9))) == pytest.approx(380)
    assert float(stability_limit(torch.optim.SGD(weight, lr=torch.tensor(0.5)))) == pytest.approx(4)


def test_of_several_groups_the_smallest_counts():
    a, b = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    limit = stability_limit(torch.optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1))
    assert float(limit) == pytest.approx(4)
    assert "2 parameter groups" in str(limit)
    assert "stricter" in str(limit)
    # Adam's preconditioner takes other step sizes into the matrix, so the first group's counts.
    adam = torch.optim.Adam([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    assert float(stability_limit(adam)) == pytest.approx(380)
    adam.param_groups[0]["lr"] = 0.0  # nothing moves in the first group: the second one's step size counts
    assert float(stability_limit(adam)) == pytest.approx(76)
    assert stability_limit(adam).step_size == 0.5


def test_a_step_size_of_zero_has_no_limit():
    weight = [torch.nn.Parameter(torch.ones(2))]
    for kind in (torch.optim.SGD, torch.optim.AdamW):
        assert stability_limit(kind(weight, lr=0.0)).value == math.inf


def test_wrappers_are_unwrapped_and_quantised_updates_are_known():
    class Wrapper:
        def __init__(self, optimizer):
            self.optimizer = optimizer

    class AdamW8bit(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.1})

    weight = [torch.nn.Parameter(torch.ones(2))]
    inner = torch.optim.SGD(weight, lr=0.1)
    assert unwrapped_optimizer(Wrapper(Wrapper(inner))) is inner
    assert float(stability_limit(AdamW8bit(weight))) == pytest.approx(
        float(stability_limit(torch.optim.AdamW(weight, lr=0.1, weight_decay=0.1)))
    )


@pytest.mark.door
def test_doors():
    weight = [torch.nn.Parameter(torch.ones(2))]
    with pytest.raises(KindError, match="must be a torch optimizer, got int"):
        stability_limit(3)
    with pytest.raises(KindError, match="no stability limit is known for Rprop"):
        stability_limit(torch.optim.Rprop(weight))
    with pytest.raises(InputError, match="must minimize"):
        stability_limit(torch.optim.SGD(weight, lr=0.1, maximize=True))
