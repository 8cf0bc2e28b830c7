"""The compiled kernel against autograd, NumPy and itself: every instruction set, dtype, shape and loss."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from steppe.core import CrossEntropy, DataError, KindError, Logistic, ShapeError, SquaredLoss, listening
from steppe.networks import ShallowReLU
from steppe.training import gradient_descent, paths, train_stacked
from steppe.training.compiled import CompiledEngine
from steppe.training.plan import Plan

pytestmark = pytest.mark.skipif(
    paths.kernels() is None, reason="the compiled kernel is not installed; pip install ./kernels"
)

NAMES = ["w", "b", "v", "output_bias", "skip"]
LIMIT = {torch.float32: 1e-5, torch.float64: 1e-12}
INSTRUCTIONS = [] if paths.kernels() is None else paths.kernels().instruction_sets()


def plan(**changes):
    options = {"step_size": 0.1, "steps": 1, "weight_decay": 0.0, "clip": None, "log_every": None} | changes
    return Plan.check(**options)


def problem(n, d, m, k=1, *, skip=False, dtype=torch.float64, seed=0, loss=None):
    rng = torch.Generator().manual_seed(seed)
    network = ShallowReLU(d, m, k, skip=skip, init="torch", seed=seed, dtype=dtype)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    y = torch.randn(n, k, generator=rng, dtype=torch.float64)
    return network, x.to(dtype), (y.sign() if isinstance(loss, Logistic) else y).to(dtype)


def by_autograd(network, x, y, loss):
    value = loss(network(x), y)
    parameters = [p for p in map(network.__getattr__, NAMES) if p is not None]
    return float(value.detach()), torch.autograd.grad(value, parameters)


def assert_gradient(network, x, y, loss, instruction_set):
    """Compared with autograd in float64, relative to the largest entry of each gradient."""
    engine = CompiledEngine(network, x, y, plan(), loss, instruction_set)
    value = engine.evaluate()
    exact = network.copy().double()
    wanted, gradients = by_autograd(exact, x.double(), y.double(), loss)
    limit = LIMIT[x.dtype]
    assert value == pytest.approx(wanted, rel=limit)
    found = [g for g in engine.gradient() if g is not None]
    total = math.sqrt(sum(float(g.square().sum()) for g in gradients))
    for name, g, w in zip(NAMES, found, gradients, strict=False):
        assert float((torch.from_numpy(g).double() - w).abs().max()) <= limit * max(float(w.abs().max()), total), name
    assert engine.gradient_norm() == pytest.approx(total, rel=limit)


@pytest.mark.parametrize("instruction_set", INSTRUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("loss", [SquaredLoss(), Logistic()])
@pytest.mark.parametrize(
    ("n", "d", "m", "k", "skip"),
    [
        (128, 2, 64, 1, False), (512, 5, 256, 1, False), (1, 1, 1, 1, False), (131, 3, 37, 1, True),
        (129, 64, 50, 1, True), (77, 10, 65, 3, True), (300, 1, 100, 2, False), (5, 4, 200, 7, True),
    ],
)  # fmt: skip
def test_gradients_equal_autograd(instruction_set, dtype, loss, n, d, m, k, skip):
    network, x, y = problem(n, d, m, k, skip=skip, dtype=dtype, loss=loss)
    assert_gradient(network, x, y, loss, instruction_set)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(
    n=st.integers(1, 300), d=st.integers(1, 64), m=st.integers(1, 150), k=st.integers(1, 4), skip=st.booleans(),
    seed=st.integers(0, 2**16), isa=st.sampled_from(INSTRUCTIONS or ["none"]), single=st.booleans(),
)  # fmt: skip
def test_gradients_equal_autograd_for_any_shape(n, d, m, k, skip, seed, isa, single):
    network, x, y = problem(n, d, m, k, skip=skip, seed=seed, dtype=torch.float32 if single else torch.float64)
    assert_gradient(network, x, y, SquaredLoss(), isa)


@pytest.mark.parametrize("instruction_set", INSTRUCTIONS)
@pytest.mark.parametrize("tiny", [0.0, -0.0, 1e-300, -1e-200])
def test_output_weights_of_zero_keep_their_gradient(instruction_set, tiny):
    network, x, y = problem(60, 3, 40)
    with torch.no_grad():
        network.v[0, ::3] = tiny
    assert_gradient(network, x, y, SquaredLoss(), instruction_set)


@pytest.mark.parametrize("instruction_set", INSTRUCTIONS)
def test_a_sample_on_a_kink_counts_as_inactive_as_in_torch(instruction_set):
    network, x, y = problem(20, 2, 8)
    with torch.no_grad():
        network.b[:] = 0
        x[3] = 0
    assert_gradient(network, x, y, SquaredLoss(), instruction_set)
    network = ShallowReLU(2, 8, init="zeros")
    assert_gradient(network, x, y, SquaredLoss(), instruction_set)


@pytest.mark.parametrize("instruction_set", INSTRUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ten_thousand_stable_steps_end_at_the_reference(instruction_set, dtype):
    # Larger steps cross kinks, where one rounding more or less changes the path in any float32 arithmetic.
    network, x, y = problem(128, 2, 64, dtype=torch.float64, seed=3)
    reference = network.copy()
    options = {"step_size": 0.01, "steps": 10_000, "weight_decay": 1e-4}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEPPE_KERNELS", "off")
        assert gradient_descent(reference, x, y, **options).backend == "numpy"
    single = network.to(dtype)
    engine = CompiledEngine(single, x.to(dtype), y.to(dtype), plan(**options), SquaredLoss(), instruction_set)
    engine.evaluate()
    assert engine.descend(10_000, 1e8)[0] == 10_000
    engine.publish()
    pairs = list(zip(single.parameters(), reference.parameters(), strict=True))
    difference = sum(float((p.detach().double() - q.detach()).square().sum()) for p, q in pairs)
    size = sum(float(q.detach().square().sum()) for _, q in pairs)
    assert math.sqrt(difference / size) < (1e-3 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_overflow_is_seen_and_not_mistaken_for_silence(dtype):
    network, x, y = problem(64, 3, 40, dtype=dtype)
    history = gradient_descent(network, x, y, step_size=1e30, steps=50)
    assert history.backend.startswith("kernel")
    assert history.state == "diverged"
    assert all(torch.isfinite(p).all() for p in network.parameters())
    engine = CompiledEngine(network, x, y, plan(), SquaredLoss())
    with torch.no_grad():
        network.w[5, 1] = math.nan
    assert math.isnan(CompiledEngine(network, x, y, plan(), SquaredLoss()).evaluate())
    assert math.isfinite(engine.evaluate())  # it holds its own copy


def test_the_numbers_do_not_depend_on_threads():
    def train(threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            nets = [ShallowReLU(3, 40, seed=seed) for seed in range(7)]
            _, x, y = problem(100, 3, 40)
            seen = []
            histories = train_stacked(
                nets, x, y, step_size=[0.01 * (i + 1) for i in range(7)], steps=200,
                columns=["live_neurons"], observers=[[lambda step, _, i=i: seen.append((i, step))] for i in range(7)],
            )  # fmt: skip
        finally:
            torch.set_num_threads(before)
        return [h.loss for h in histories], [n.w.detach() for n in nets], sorted(seen)

    one, three = train(1), train(3)
    assert one[0] == three[0]
    assert one[2] == three[2]
    assert all(torch.equal(p, q) for p, q in zip(one[1], three[1], strict=True))


@pytest.mark.parametrize("k", [1, 2])
def test_recorded_columns_equal_the_definitions(closed_form, k):
    network, x, y = problem(50, 3, 30, k)
    clean = y / 2
    at = {}

    def look(step, model):
        loss, gradients = by_autograd(model, x, y, SquaredLoss())
        pairs = zip(gradients, (model.w, model.b, model.v, model.output_bias), strict=True)
        at[step] = {
            "loss": loss,
            "gradient_norm": math.sqrt(sum(float((g + 0.01 * p.detach()).square().sum()) for g, p in pairs)),
            "live_neurons": float(model.mask(x).any(0).sum()),
            "clean_error": float((model(x).detach() - clean).square().sum()) / len(x),
        }

    history = gradient_descent(
        network, x, y, step_size=0.1, steps=40, weight_decay=0.01, clip=0.05, log_every=10, observers=[look],
        columns=["gradient_norm", "clipped", "live_neurons"], clean=clean,
    )  # fmt: skip
    assert history.backend.startswith(closed_form)
    assert history.columns["clipped"][-1] == history.clipped > 0
    for i, step in enumerate(history.step):
        assert history.loss[i] == pytest.approx(at[step]["loss"], rel=1e-10)
        for name in ("gradient_norm", "live_neurons", "clean_error"):
            assert history.columns[name][i] == pytest.approx(at[step][name], rel=1e-9)


def test_columns_of_other_modules():
    model = nn.Sequential(nn.Linear(2, 3), nn.GELU(), nn.Linear(3, 1)).double()
    x, y = torch.rand(9, 2, dtype=torch.float64), torch.rand(9, 1, dtype=torch.float64)
    history = gradient_descent(model, x, y, step_size=0.1, steps=3, columns=["gradient_norm", "clipped"], clean=y)
    assert set(history.columns) == {"gradient_norm", "clipped", "clean_error"}
    assert history.columns["clean_error"][0] == pytest.approx(2 * history.loss[0], rel=1e-12)


@pytest.mark.door
def test_columns_that_cannot_be():
    network, x, y = problem(9, 2, 4)
    options = {"step_size": 0.1, "steps": 3}
    with pytest.raises(ValueError, match="columns"):
        gradient_descent(network, x, y, columns=["lives"], **options)
    with pytest.raises(ShapeError, match=r"\[9, 1\]"):
        gradient_descent(network, x, y, clean=y[:4], **options)
    with pytest.raises(DataError, match="finite"):
        gradient_descent(network, x, y, clean=y * math.nan, **options)
    with pytest.raises(KindError, match="ShallowReLU"):
        gradient_descent(nn.Linear(2, 1).double(), x, y, columns=["live_neurons"], **options)
    with pytest.raises(ValueError, match="decay"):
        gradient_descent(network, x, y, decay="sideways", **options)


@pytest.mark.parametrize("clip", [None, 0.3])
def test_decoupled_decay_shrinks_by_the_weight_itself(closed_form, clip):
    network, x, y = problem(40, 2, 10)
    other, before = network.copy(), network.copy()
    a = gradient_descent(network, x, y, step_size=0.2, steps=30, weight_decay=0.01, decay="decoupled", clip=clip)
    b = gradient_descent(other, x, y, step_size=0.2, steps=30, weight_decay=0.05, clip=clip)
    assert a.loss == pytest.approx(b.loss, rel=1e-12)
    assert (a.decay, a.weight_decay) == ("decoupled", 0.01)
    one = before.copy()
    history = gradient_descent(one, x, y, step_size=1e-9, steps=1, weight_decay=0.01, decay="decoupled")
    assert history.backend.startswith(closed_form)
    torch.testing.assert_close(one.w, 0.99 * before.w, rtol=1e-7, atol=1e-12)


def test_the_path_follows_from_kind_and_size_alone(monkeypatch):
    def path(d=3, m=5, k=1, dtype=torch.float64, loss=None):
        return paths.path_of(ShallowReLU(d, m, k, dtype=dtype), loss or SquaredLoss())

    assert [path(64), path(65), path(5, k=16), path(5, k=17), path(64, k=2)] == [
        "kernel",
        "numpy",
        "kernel",
        "numpy",
        "numpy",
    ]
    assert [path(loss=Logistic()), path(loss=CrossEntropy()), path(dtype=torch.float16)] == [
        "kernel",
        "autograd",
        "torch-batched",
    ]
    assert paths.path_of(nn.Linear(2, 1), SquaredLoss()) == "autograd"
    monkeypatch.setenv("STEPPE_KERNELS", "off")
    assert path() == "numpy"


@pytest.mark.door
def test_an_instruction_set_can_be_asked_for(monkeypatch):
    network, x, y = problem(9, 2, 4)
    for name in INSTRUCTIONS:
        monkeypatch.setenv("STEPPE_KERNELS", name)
        assert gradient_descent(network.copy(), x, y, step_size=0.1, steps=3).backend == f"kernel-{name}"
    monkeypatch.setenv("STEPPE_KERNELS", "avx7")
    with pytest.raises(ValueError, match="STEPPE_KERNELS"):
        gradient_descent(network, x, y, step_size=0.1, steps=3)


def test_the_path_is_noted_for_the_provenance():
    network, x, y = problem(9, 2, 4)
    with listening() as notes:
        history = gradient_descent(network, x, y, step_size=0.1, steps=3)
    assert notes == {"training": {history.backend}}
    gradient_descent(network, x, y, step_size=0.1, steps=3)
    assert len(notes["training"]) == 1


def test_the_kernel_refuses_what_does_not_fit():
    module = paths.kernels()
    network, x, y = problem(9, 2, 4)
    arrays = [p.detach().numpy() for p in (network.w, network.b, network.v, network.output_bias)]
    for bad in ({"loss": "cubic"}, {"instruction_set": "sse9"}):
        with pytest.raises(ValueError, match=r"squared|processor"):
            module.Descent64(*arrays, None, x.numpy(), y.numpy(), **bad)
    with pytest.raises(ValueError, match="y must be"):
        module.Descent64(*arrays, None, x.numpy(), y.numpy()[:5].copy())
    with pytest.raises(TypeError):
        module.Descent32(*arrays, None, x.numpy(), y.numpy())
    kernel = module.Descent64(*arrays, None, x.numpy(), y.numpy())
    with pytest.raises(ValueError, match="w must be"):
        kernel.read(arrays[0][:2].copy(), *(a.copy() for a in arrays[1:]), None)
