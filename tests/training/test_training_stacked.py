import math

import pytest
import torch
from torch import nn

from steppe.core import SquaredLoss
from steppe.networks import ShallowReLU
from steppe.training import Every, gradient_descent, train_stacked
from steppe.training.batched import BatchedEngine, descend_batched
from steppe.training.plan import Plan

pytestmark = pytest.mark.usefixtures("closed_form")

STEP = [0.05, 0.3, 0.1, 0.02, 0.2]
DECAY = [0.0, 0.1, 0.01, 0.0, 0.05]


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def sets(r=5, n=130, d=4, k=1, dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(r, n, d, generator=rng, dtype=torch.float64)
    return x.to(dtype), torch.randn(r, n, k, generator=rng, dtype=torch.float64).to(dtype)


def networks(r=5, d=4, m=33, k=1, skip=False, dtype=torch.float32):
    return [ShallowReLU(d, m, k, skip=skip, seed=seed, dtype=dtype) for seed in range(r)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("k", "skip"), [(1, False), (3, True)])
def test_bit_for_bit_alone_in_company_and_in_another_order(dtype, k, skip):
    x, y = sets(k=k, dtype=dtype)
    options = {"steps": 300, "clip": 1.0}
    together = networks(k=k, skip=skip, dtype=dtype)
    histories = train_stacked(together, x, y, step_size=STEP, weight_decay=DECAY, **options)

    order = [3, 0, 4, 2, 1]
    shuffled = networks(k=k, skip=skip, dtype=dtype)
    again = train_stacked(
        [shuffled[i] for i in order], x[order], y[order],
        step_size=[STEP[i] for i in order], weight_decay=torch.tensor(DECAY, dtype=torch.float64)[order], **options,
    )  # fmt: skip
    alone = networks(k=k, skip=skip, dtype=dtype)
    for i in range(5):
        single = gradient_descent(alone[i], x[i], y[i], step_size=STEP[i], weight_decay=DECAY[i], **options)
        assert torch.equal(flat(alone[i]), flat(together[i]))
        assert torch.equal(flat(shuffled[i]), flat(together[i]))
        assert single.loss == histories[i].loss == again[order.index(i)].loss
        assert single.clipped == histories[i].clipped
    assert len({tuple(h.loss) for h in histories}) == 5


def test_bits_do_not_depend_on_where_the_arrays_lie():
    x, y = sets(r=1, n=517, d=5)
    results, ballast = [], []
    for i in range(12):
        network = networks(1, d=5, m=61)[0]
        ballast.append(torch.empty(1 + 37 * i))
        gradient_descent(network, x[0].clone(), y[0].clone(), step_size=0.1, steps=50)
        results.append(flat(network))
    assert all(torch.equal(results[0], other) for other in results)


def test_shared_data_and_options():
    x, y = sets()
    shared, split = networks(), networks()
    a = train_stacked(shared, x[0], y[0], step_size=0.1, steps=20)
    b = train_stacked(split, x[:1].expand(5, -1, -1), y[:1].expand(5, -1, -1), step_size=[0.1] * 5, steps=20)
    assert [h.loss for h in a] == [h.loss for h in b]
    assert all(torch.equal(flat(p), flat(q)) for p, q in zip(shared, split, strict=True))


def test_one_diverges_and_its_companions_do_not_notice():
    x, y = sets()
    nets, alone = networks(), networks()
    step = [0.1, 1e4, 0.1, 0.1, 0.1]
    histories = train_stacked(nets, x, y, step_size=step, steps=60)
    assert [h.state for h in histories] == ["finished", "diverged", "finished", "finished", "finished"]
    assert all(torch.isfinite(flat(network)).all() for network in nets)
    assert gradient_descent(alone[4], x[4], y[4], step_size=0.1, steps=60).loss == histories[4].loss


def test_observers_shared_and_one_list_each():
    x, y = sets()
    seen = []
    histories = train_stacked(
        networks(), x, y, step_size=0.1, steps=10, observers=[Every(5, lambda s, model: seen.append((s, id(model))))]
    )
    assert len(seen) == 15
    assert len({model for _, model in seen}) == 5
    own = [[lambda s, model, i=i: {"index": i}] for i in range(5)]
    histories = train_stacked(networks(), x, y, step_size=0.1, steps=10, observers=own)
    assert [h.columns["index"][-1] for h in histories] == [0, 1, 2, 3, 4]


def test_ordinary_modules_stack_too():
    x, y = sets(r=2, dtype=torch.float64)

    def model(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 1)).double()

    models, alone = [model(0), model(1)], model(1)
    histories = train_stacked(models, x, y, step_size=[0.1, 0.2], steps=15)
    assert histories[1].backend == "autograd"
    assert gradient_descent(alone, x[1], y[1], step_size=0.2, steps=15).loss == histories[1].loss
    assert torch.equal(flat(alone), flat(models[1]))


def batched(nets, x, y, *, step_size, weight_decay, steps, clip=None, observers=None):
    plans = [
        Plan.check(step_size=s, steps=steps, weight_decay=w, clip=clip, log_every=None)
        for s, w in zip(step_size, weight_decay, strict=True)
    ]
    return descend_batched(
        BatchedEngine(nets, x, y, plans, SquaredLoss()), observers or [[]] * len(nets), [None] * len(nets)
    )


@pytest.mark.parametrize(("k", "skip"), [(1, False), (1, True), (3, True)])
def test_batched_products_follow_the_same_path(k, skip):
    x, y = sets(k=k, dtype=torch.float64)
    loop, batch = networks(k=k, skip=skip, dtype=torch.float64), networks(k=k, skip=skip, dtype=torch.float64)
    a = train_stacked(loop, x, y, step_size=STEP, weight_decay=DECAY, steps=60, clip=1.0)
    b = batched(batch, x, y, step_size=STEP, weight_decay=DECAY, steps=60, clip=1.0)
    for p, q, one, other in zip(loop, batch, a, b, strict=True):
        torch.testing.assert_close(flat(p), flat(q), rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(torch.tensor(one.loss), torch.tensor(other.loss), rtol=1e-9, atol=1e-12)
        assert (one.step, one.clipped, one.state) == (other.step, other.clipped, other.state)
        assert other.backend == "torch-batched"


def test_batched_divergence_settling_and_observers():
    x, y = sets(r=3, dtype=torch.float64)
    nets = networks(3, dtype=torch.float64)
    y[2] = nets[2](x[2]).detach()
    seen = []
    look = [[Every(10, lambda s, model: seen.append(s) or {"norm": float(flat(model).norm())})], [], []]
    histories = batched(nets, x, y, step_size=[0.1, 1e4, 0.1], weight_decay=[0.0] * 3, steps=60, observers=look)
    assert [h.state for h in histories] == ["finished", "diverged", "settled"]
    assert seen == [0, 10, 20, 30, 40, 50, 60]
    assert histories[0].columns["norm"][-1] == float(flat(nets[0]).norm())
    for network, history, own_x, own_y in zip(nets, histories, x, y, strict=True):
        assert torch.isfinite(flat(network)).all()
        final = SquaredLoss()(network(own_x), own_y).item()
        assert math.isclose(history.final_loss, final, rel_tol=1e-9, abs_tol=1e-20)


@pytest.mark.gpu
def test_cuda_follows_the_cpu():
    x, y = sets(dtype=torch.float64)
    loop, cuda = networks(dtype=torch.float64), [network.cuda() for network in networks(dtype=torch.float64)]
    train_stacked(loop, x, y, step_size=STEP, weight_decay=DECAY, steps=60, clip=1.0)
    histories = train_stacked(cuda, x.cuda(), y.cuda(), step_size=STEP, weight_decay=DECAY, steps=60, clip=1.0)
    assert histories[0].backend == "torch-batched"
    for p, q in zip(loop, cuda, strict=True):
        torch.testing.assert_close(flat(p), flat(q).cpu(), rtol=1e-8, atol=1e-10)
