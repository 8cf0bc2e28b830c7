"""Graphs under a memory cap, batches cut into chunks, parts of the data, and what stays in memory."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from steppe.core import DataError, InputError, KindError, ParameterError, Part, SquaredLoss
from steppe.curvature import chunks, gauss_newton, hessian, sharpness
from steppe.networks import ShallowReLU

F64 = torch.float64


def network(*extra):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), *extra, nn.Linear(5, 2)).double()


def data(n=64):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, generator=rng, dtype=F64), torch.randn(n, 2, generator=rng, dtype=F64)


def dense(operator):
    return operator.to_dense()


@pytest.mark.parametrize("make", [hessian, gauss_newton])
@pytest.mark.parametrize(
    "loss",
    [SquaredLoss(), nn.MSELoss(), nn.MSELoss(reduction="sum")],
    ids=["squared", "mean", "sum"],
)
def test_a_batch_beyond_the_cap_is_cut_where_that_is_exact(make, loss):
    model = network()
    whole = make(model, loss, data())
    size = int(whole.source.graph_bytes)
    assert size > 0
    assert whole.backend == "double backward"
    part = make(model, loss, data(), memory=size // 2)
    assert "of 16 graphs retained" in part.backend
    torch.testing.assert_close(dense(part), dense(whole), rtol=1e-11, atol=1e-13)
    assert part.convention == whole.convention
    none = make(model, loss, data(), memory=0)
    assert none.backend == "double backward, graphs rebuilt"
    torch.testing.assert_close(dense(none), dense(whole), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("loss", "layers"),
    [
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0], dtype=F64)), ()),
        (nn.CrossEntropyLoss(), (nn.BatchNorm1d(5),)),
        (lambda out, y: (out[:, None] - out[None]).square().sum(dim=-1).add(1).log().mean(), ()),
    ],
    ids=["class weights", "batch statistics", "pairs of samples"],
)
def test_a_batch_is_left_whole_where_cutting_would_change_the_loss(loss, layers):
    model, (x, y) = network(*layers), data(24)
    labels = (y[:, 0] > 0.3).long()
    whole = hessian(model, loss, (x, labels))
    capped = hessian(model, loss, (x, labels), memory=int(whole.source.graph_bytes // 2))
    assert capped.backend == "double backward, graphs rebuilt"
    v = torch.ones(whole.shape[0], dtype=F64)
    torch.testing.assert_close(capped @ v, whole @ v, rtol=1e-10, atol=1e-12)
    assert ("batch statistics" in whole.convention) == bool(layers)


def test_batches_in_memory_are_retained_as_far_as_the_cap_reaches():
    x, y = data()
    batches = list(zip(x.split(8), y.split(8), strict=True))
    whole = hessian(network(), SquaredLoss(), batches)
    capped = hessian(network(), SquaredLoss(), batches, memory=int(0.6 * whole.source.graph_bytes))
    assert capped.backend == "double backward, 3 of 8 graphs retained"
    torch.testing.assert_close(dense(capped), dense(whole), rtol=1e-12, atol=1e-14)


def test_a_loader_is_rebuilt_unless_memory_is_given_and_it_fits():
    loader = DataLoader(TensorDataset(*data()), batch_size=10)
    plain = hessian(network(), SquaredLoss(), loader)
    assert plain.backend == "double backward, graphs rebuilt"
    held = hessian(network(), SquaredLoss(), loader, memory=10**8)
    assert held.backend == "double backward"
    small = hessian(network(), SquaredLoss(), loader, memory=1000)
    assert small.backend == "double backward, graphs rebuilt"
    for operator in (held, small):
        torch.testing.assert_close(dense(operator), dense(plain), rtol=1e-12, atol=1e-14)


def test_a_batch_that_cannot_fit_is_refused_before_it_is_built(monkeypatch):
    monkeypatch.setattr("steppe.curvature.autograd.free_memory", lambda device: 1000.0)
    model = network(nn.BatchNorm1d(5))
    with pytest.raises(InputError, match=r"one batch of 64 samples are predicted to take .* GB, 1e-06 GB are free"):
        hessian(model, SquaredLoss(), data())


def test_the_prediction_of_memory_is_above_what_is_saved_and_below_thrice_that():
    model, (x, y) = network(), data(512)
    seen = {}

    def pack(tensor):
        seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        value = SquaredLoss()(model(x), y)
        torch.autograd.grad(value, list(model.parameters()), create_graph=True)
    predicted = chunks.measure(model, hessian(model, SquaredLoss(), (x, y)).source.objective, (x, y))[0]
    assert 0.5 * sum(seen.values()) < predicted < 3 * sum(seen.values())


# Parts of the data


def test_a_part_says_what_it_is_a_part_of():
    x, y = data(60)
    part = Part((x, y), 12, seed=3)
    assert (part.samples, part.total, len(part)) == (12, 60, 1)
    operator = hessian(network(), SquaredLoss(), part)
    assert "mean of 12 of 60 samples" in operator.convention
    assert "mean of 12 of 60 samples" in hessian(ShallowReLU(3, 4, 2), SquaredLoss(), part).convention
    assert "mean of 60 samples" in hessian(network(), SquaredLoss(), Part((x, y), 100)).convention
    assert torch.equal(part[0][0], Part((x, y), 12, seed=3)[0][0])
    assert not torch.equal(part[0][0], Part((x, y), 12, seed=4)[0][0])
    rows = {tuple(row) for row in part[0][0].tolist()}
    assert len(rows) == 12
    assert rows <= {tuple(row) for row in x.tolist()}
    again = hessian(network(), SquaredLoss(), (part[0][0], part[0][1]))
    assert torch.equal(operator.to_dense(), again.to_dense())


def test_a_part_of_batches_of_a_loader_and_of_a_stream():
    x, y = data(60)
    tags = torch.arange(60)
    batches = [{"x": a, "id": t, "y": b} for a, b, t in zip(x.split(25), y.split(25), tags.split(25), strict=True)]
    part = Part(batches, 20)
    found = torch.cat([batch["id"] for batch in part])
    assert part.words == "20 of 60"
    assert len(set(found.tolist())) == 20
    assert all(torch.equal(batch["x"], x[batch["id"]]) and torch.equal(batch["y"], y[batch["id"]]) for batch in part)

    class Noisy(TensorDataset):
        def __getitem__(self, index):
            a, b = super().__getitem__(index)
            return a + torch.randn(3, dtype=F64), b

    state = torch.get_rng_state()
    loader = DataLoader(Noisy(x, y), batch_size=8, shuffle=True)
    part = Part(loader, 20)
    assert [len(batch[0]) for batch in part] == [8, 8, 4]
    assert part.words == "20 of 60"
    assert torch.equal(torch.get_rng_state(), state)
    assert sharpness(network(), SquaredLoss(), part).convention.count("mean of 20 of 60 samples") == 1

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(zip(x, y, strict=True))

    part = Part(DataLoader(Stream(), batch_size=8), 20)
    assert part.words == "the first 20"
    assert torch.equal(torch.cat([batch[0] for batch in part]), x[:20])
    assert Part(DataLoader(Stream(), batch_size=8), 100).words == "60"


@pytest.mark.door
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: Part(data(), 0), ParameterError, "`samples` must be ≥ 1"),
        (lambda: Part(iter([data()]), 3), KindError, "one-shot"),
        (lambda: Part([], 3), DataError, "at least one batch"),
        (lambda: Part(data(), 2.5), KindError, "must be an integer"),
    ],
)
def test_bad_parts(call, error, says):
    with pytest.raises(error, match=says):
        call()


_PEAK = """
import resource, sys, torch
from torch import nn
from steppe.core import SquaredLoss
from steppe.curvature import hessian, gauss_newton
class Batches:
    def __iter__(self):
        for i in range(int(sys.argv[1])):
            rng = torch.Generator().manual_seed(i)
            yield torch.randn(512, 50, generator=rng), torch.randn(512, 1, generator=rng)
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(50, 2000), nn.Tanh(), nn.Linear(2000, 1))
for make in (hessian, gauss_newton):
    operator = make(model, SquaredLoss(), Batches())
    operator @ torch.ones(operator.shape[0], 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(number):
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, str(number)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )
    return int(done.stdout)


@pytest.mark.slow
def test_ten_times_more_batches_take_no_more_memory():
    few, many = peak(3), peak(30)
    assert many <= 1.05 * few, (few, many)
