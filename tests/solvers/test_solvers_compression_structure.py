"""Which layers are served, which are left with which reason, and what is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from steppe.core import (
    DataError,
    DtypeError,
    InputError,
    KindError,
    NotDeterministicError,
    ParameterError,
    UnknownNameError,
)
from steppe.solvers import compress

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Net(nn.Module):
    """Layers a, b, c of five neurons each, joined by a function."""

    def __init__(self, forward, **more):
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(5, 5) for _ in range(3))
        for name, module in more.items():
            self.add_module(name, module)
        self.way = forward
        self.double()

    def forward(self, x):
        return self.way(self, x)


def left(forward, layer="a", **more):
    found = compress(Net(forward, **more), (X, X), tolerance=0.5)
    assert found.met
    return found.left.get(layer, "served")


def shared():
    model = Net(lambda net, x: net.c(functional.relu(net.b(functional.relu(net.a(x))))))
    model.b.weight = model.a.weight
    return model


REASONS = {
    "chain": (lambda net, x: net.c(functional.relu(net.b(functional.relu(net.a(x))))), "served"),
    "scaled": (lambda net, x: net.c(2.0 * functional.relu(net.a(x)) - 1.0), "served"),
    "residual": (lambda net, x: net.c(x + net.a(x)), "it feeds `add`"),
    "two readers": (lambda net, x: net.b(net.a(x).relu()) + net.c(x), "served"),
    "two ways": (lambda net, x: (lambda h: net.b(h) + net.c(h))(net.a(x)), "its outputs go 2 ways"),
    "twice": (lambda net, x: net.c(net.a(net.a(x))), "the model calls it more than once"),
    "reader twice": (lambda net, x: net.c(net.c(net.a(x))), "the model calls it more than once"),
    "softmax": (lambda net, x: net.c(net.a(x).softmax(dim=-1)), "it feeds `softmax`"),
    "sorted": (lambda net, x: net.c(torch.cumsum(net.a(x), dim=-1)), "it feeds `cumsum`"),
    "output": (lambda net, x: net.a(x), "its outputs are outputs of the model"),
    "unused": (lambda net, x: net.b(x), "the model does not call it"),
    "own weight": (lambda net, x: net.c(net.a(x)) + net.a.weight.sum(), "the model uses its parameters directly"),
    "gated": (lambda net, x: net.c(net.a(x) * net.b(x)), "it feeds `mul`"),
    "folded": (lambda net, x: net.c(net.a(x).view(-1, 5)), "it feeds `view`"),
    "turned": (lambda net, x: net.c(net.a(x).t()[:, :5].t()[:5]), "it feeds `t`"),
    "concatenated": (lambda net, x: net.c(torch.cat([net.a(x)[:, :2], net.b(x)[:, :3]], 1)), "its outputs go"),
}


@pytest.mark.parametrize("name", REASONS)
def test_what_is_not_understood_is_left_with_its_reason(name):
    forward, reason = REASONS[name]
    if name == "turned":
        forward = lambda net, x: net.c(net.a(x).t().contiguous().t())  # noqa: E731 - beside the others
    if name == "concatenated":
        reason = "its outputs go"
        forward = lambda net, x: net.c(torch.cat([net.a(x), net.b(x)], 1)[:, :5])  # noqa: E731 - beside the others
        reason = "it feeds `cat`"
    assert reason in left(forward)


def test_shared_parameters_are_left():
    found = compress(shared(), (X, X), tolerance=0.5)
    assert found.left["a"] == "it shares parameters with b"
    assert not found.layers


def test_normalisations_that_mix_neurons_are_left():
    assert "it feeds norm (LayerNorm)" in left(lambda net, x: net.c(net.norm(net.a(x))), norm=nn.LayerNorm(5))
    private = nn.BatchNorm1d(5, track_running_stats=False)
    assert "normalises by each batch" in left(lambda net, x: net.c(net.norm(net.a(x))), norm=private)


def test_modules_that_are_not_plain_are_left():
    weighted = parametrizations.weight_norm(nn.Linear(5, 5))
    assert "is not a plain" in left(lambda net, x: net.c(net.d(x)), "d", d=weighted)
    grouped = nn.Conv1d(5, 5, 3, groups=5, padding=1)
    net = nn.Sequential(nn.Conv1d(5, 5, 1), nn.ReLU(), grouped).double()
    x = X.reshape(8, 5, 5)
    assert compress(net, (x, x), tolerance=0.5).left["0"] == "it is a convolution in 5 groups"


def test_parts_that_cannot_be_followed_are_left_and_the_rest_is_served():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(5, 5)

        def forward(self, x):
            return self.inner(x) if x.sum() > 0 else x

    model = Net(lambda net, x: net.c(functional.relu(net.a(net.part(x)))), part=Branches())
    found = compress(model, (X, X), tolerance=0.5)
    assert [line.layer for line in found.layers] == ["a"]
    assert "lies inside part (Branches)" in found.left["part.inner"]
    with pytest.raises(InputError, match=r"cannot be followed by torch\.fx"):
        compress(nn.Sequential(Branches()).double()[0], (X, X))


def test_an_optional_argument_is_taken_as_it_is_in_these_calls():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.c = nn.Linear(5, 8), nn.Linear(8, 2)

        def forward(self, x, mask=None):
            h = functional.relu(self.a(x))
            if mask is not None:
                h = h * mask
            return self.c(h)

    assert [line.layer for line in compress(Optional().double(), (X, X), tolerance=0.5).layers] == ["a"]


def test_what_uses_the_number_of_neurons_is_left():
    reason = left(lambda net, x: (lambda h: net.c(h * (h.shape[1] / 5)))(functional.relu(net.a(x))))
    assert "it feeds `mul`" in reason


def test_a_forward_pass_that_counts_neurons_unseen_keeps_them():
    # The shape is read inside a module that stands for ReLU: only the measured outputs show it.
    model = Net(lambda net, x: net.c(net.act(net.a(x))), act=nn.ReLU())
    model.act.forward = lambda x: functional.relu(x) * x.shape[-1]
    with torch.no_grad():
        model.a.weight[0], model.a.bias[0] = 0.0, 0.0
    found = compress(model, (X, X), tolerance=1e-9)
    assert found.met
    assert found.layers[0].after == 5
    assert "fewer neurons change the outputs" in found.layers[0].note


def test_layers_are_chosen_by_pattern():
    model = Net(lambda net, x: net.c(functional.relu(net.b(functional.relu(net.a(x))))))
    found = compress(model, (X, X), tolerance=0.5, layers="[a]")
    assert [line.layer for line in found.layers] == ["a"]
    assert found.left["b"] == "not asked for"
    with pytest.raises(UnknownNameError, match=r"`layers` 'd' matches no layer; there are a, b, c"):
        compress(model, (X, X), layers=["d"])


def test_layers_beyond_the_memory_are_left():
    model = Net(lambda net, x: net.c(functional.relu(net.a(x))))
    assert "exceeds `memory`" in compress(model, (X, X), memory=100).left["a"]


def drops(net, x):
    return net.c(functional.dropout(net.a(x)))


@pytest.mark.door
def test_bad_input_is_refused_with_the_remedy():
    model = Net(lambda net, x: net.c(functional.relu(net.a(x))))
    cases = [
        (KindError, "must be a torch.nn.Module", lambda: compress(3, (X, X))),
        (KindError, "must be a plain module", lambda: compress(torch.compile(model, backend="eager"), (X, X))),
        (KindError, "must be re-iterable", lambda: compress(model, iter([(X, X)]))),
        (InputError, "has no layer of Linear", lambda: compress(nn.ReLU(), (X, X))),
        (InputError, "has no values in", lambda: compress(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2)), (X, X))),
        (ParameterError, "`tolerance` must be", lambda: compress(model, (X, X), tolerance=0.0)),
        (ParameterError, "`tolerance` must be", lambda: compress(model, (X, X), tolerance=1.0)),
        (ParameterError, "`fine_tune` must be", lambda: compress(model, (X, X), fine_tune=-1)),
        (InputError, "`method` must be one of", lambda: compress(model, (X, X), method="best")),
        (DtypeError, "is in torch.float64 and `data` in torch.float32", lambda: compress(model, (X.float(), X))),
        (DataError, "must be finite", lambda: compress(model, (X / 0, X))),
        (DataError, "must not all be zero", lambda: compress(Net(lambda net, x: 0 * net.c(net.a(x))), (X, X))),
        (KindError, "must return a tensor", lambda: compress(Net(lambda net, x: (net.c(x), net.a(x))), (X, X))),
        (
            NotDeterministicError,
            "must agree",
            lambda: compress(Net(lambda n, x: n.c(functional.dropout(n.a(x)))), (X, X)),
        ),
    ]
    for kind, words, call in cases:
        with pytest.raises(kind, match=words.replace("(", r"\(")):
            call()
    broken = Net(lambda net, x: net.c(net.a(x)))
    with torch.no_grad():
        broken.a.weight[0, 0] = float("nan")
    with pytest.raises(DataError, match=r"`a\.weight` of `model` must be finite"):
        compress(broken, (X, X))
