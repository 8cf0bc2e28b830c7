"""What users bring to curvature, at its worst: each case is (model, loss, data) and what must come of it."""

import contextlib
import random
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from steppe.core import SquaredLoss

F64 = torch.float64
N = 11
RIGHT, REFUSED = {}, {}


def right(make):
    """A case whose numbers must equal those of the dense float64 oracle."""
    RIGHT[make.__name__] = make
    return make


def refused(error, says):
    """A case that must be refused by an error of this name, with the cause in its message."""

    def add(make):
        REFUSED[make.__name__] = (make, error, says)
        return make

    return add


def xy(n=N, inputs=3, outputs=2, dtype=F64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, inputs, generator=rng).to(dtype), torch.randn(n, outputs, generator=rng).to(dtype)


def net(*extra, dtype=F64, seed=0, act=nn.Tanh):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), act(), *extra, nn.Linear(5, 2)).to(dtype)


class Calls(nn.Module):
    """A module whose forward is given as a function of itself and the input."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.does = forward

    def forward(self, *args, **kwargs):
        return self.does(self, *args, **kwargs)


def case(model, loss=None, data=None, **more):
    """`plain` is what the oracle measures instead, where the model itself cannot be written as a function."""
    loss, data = SquaredLoss() if loss is None else loss, xy() if data is None else data
    return SimpleNamespace(model=model, loss=loss, data=data, **{"plain": model, **more})


# Attention


def _attention(**options):
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        out = functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], **options)
        return out[:, 0].mean(dim=1)

    torch.manual_seed(0)
    model = Calls(forward, qkv=nn.Linear(4, 12)).double()
    return case(model, data=(torch.randn(3, 5, 4, dtype=F64), torch.randn(3, 4, dtype=F64)))


@right
def attention_on_its_default_kernel():
    return _attention()


@right
def causal_attention():
    return _attention(is_causal=True)


@right
def multihead_attention():
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(4, 2, batch_first=True).double()
    model = Calls(lambda self, x: self.a(x, x, x, need_weights=False)[0].mean(dim=1), a=attention)
    return case(model, nn.MSELoss(), (torch.randn(3, 5, 4, dtype=F64), torch.randn(3, 4, dtype=F64)))


@right
def transformer_layer_with_its_fast_path():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, dim_feedforward=2, batch_first=True, dropout=0.1).double().eval()
    model = Calls(lambda self, x: self.layer(x).mean(dim=1), layer=layer)
    return case(model, data=(torch.randn(3, 5, 4, dtype=F64), torch.randn(3, 4, dtype=F64)))


# Losses


@right
def mean_squared_error():
    return case(net(), nn.MSELoss())


@right
def a_sum_over_uneven_batches():
    x, y = xy()
    batches = [(x[:7], y[:7]), (x[7:], y[7:])]
    return case(net(), nn.MSELoss(reduction="sum"), batches, adds_up=True)


@right
def cross_entropy_that_ignores_labels():
    y = torch.tensor([0, 1, -100, 1, 0, 0, -100, 1, 1, 0, 1])
    return case(net(), nn.CrossEntropyLoss(), (xy()[0], y))


@right
def binary_cross_entropy():
    return case(net(), nn.BCEWithLogitsLoss(), (xy()[0], (xy()[1] > 0).double()))


@right
def a_loss_of_its_own():
    return case(net(), lambda out, y: functional.huber_loss(out, y) + 0.1 * out.logsumexp(dim=1).mean())


@refused("ShapeError", r"scalar tensor, got shape \[11, 2\]; average it")
def a_loss_that_returns_a_vector():
    return case(net(), nn.MSELoss(reduction="none"))


@refused("ShapeError", "scalar tensor, got float")
def a_loss_that_returns_a_number():
    return case(net(), lambda out, y: 0.0)


@refused("ComputationError", "the loss is nan")
def a_loss_that_is_not_a_number():
    return case(net(), lambda out, y: (out - y).square().mean() * float("nan"))


@refused("ShapeError", r"\[11, 1\], got \[11\]; pass y.reshape\(11, 1\)")
def flat_targets_against_a_column():
    model = nn.Linear(3, 1).double()
    return case(model, nn.MSELoss(), (xy()[0], xy()[1][:, 0]))


@refused("ShapeError", r"\[11, 1\], got \[11\]")
def flat_integer_targets_against_a_column():
    return case(nn.Linear(3, 1).double(), nn.MSELoss(), (xy()[0], torch.arange(11)))


@refused("ShapeError", r"\[11, 1\], got \[11, 2\]|broadcast")
def targets_that_would_broadcast():
    return case(nn.Linear(3, 1).double(), nn.MSELoss())


@refused("KindError", r"got the class MSELoss; pass MSELoss\(\)")
def a_loss_that_was_not_made():
    return case(net(), nn.MSELoss)


@refused("ShapeError", r"\[11\], got \[11, 1\]")
def a_column_of_targets_against_flat_outputs():
    model = Calls(lambda self, x: self.a(x)[:, 0], a=nn.Linear(3, 1).double())
    return case(model, nn.SmoothL1Loss(), (xy()[0], xy()[1][:, :1]))


@refused("KindError", "one tensor, got tuple; wrap it")
def a_module_that_returns_a_tuple():
    return case(Calls(lambda self, x: (self.a(x), x), a=net()))


# Data


@right
def a_list_of_uneven_batches():
    x, y = xy()
    return case(net(), data=[(x[:4], y[:4]), (x[4:8], y[4:8]), (x[8:], y[8:])])


@right
def a_loader_with_a_short_last_batch():
    return case(net(), data=DataLoader(TensorDataset(*xy()), batch_size=4))


@right
def a_loader_that_shuffles():
    return case(net(), data=DataLoader(TensorDataset(*xy()), batch_size=4, shuffle=True))


@refused("NotDeterministicError", "a loader that shuffles")
def a_loader_that_shuffles_and_drops():
    return case(net(), data=DataLoader(TensorDataset(*xy()), batch_size=4, shuffle=True, drop_last=True))


@refused("NotDeterministicError", "a loader that shuffles")
def a_loader_that_augments():
    def collate(samples):
        x, y = (torch.stack(part) for part in zip(*samples, strict=True))
        return x + 0.1 * torch.as_tensor(np.random.randn(*x.shape)) + 0.1 * random.random(), y  # noqa: NPY002

    return case(net(), data=DataLoader(TensorDataset(*xy()), batch_size=4, collate_fn=collate))


@refused("KindError", "one-shot generator; pass list")
def a_one_shot_generator():
    return case(net(), data=(pair for pair in [xy()]))


class Exhausted(IterableDataset):
    """Gives its samples once only, though its loader is no iterator."""

    def __init__(self):
        self.left = list(zip(*xy(), strict=True))

    def __iter__(self):
        while self.left:
            yield self.left.pop()


@refused("(DataError|NotDeterministicError)", "at least one batch|re-iterable")
def a_loader_that_is_empty_the_second_time():
    return case(net(), data=DataLoader(Exhausted(), batch_size=4))


@refused("DataError", "at least one batch, got none")
def an_empty_loader():
    return case(net(), data=DataLoader(TensorDataset(*(t[:0] for t in xy())), batch_size=4))


@refused("DataError", r"at least 1 sample, got shape \[0, 3\] in batch 1")
def an_empty_batch():
    x, y = xy()
    return case(net(), data=[(x, y), (x[:0], y[:0])])


@refused("KindError", r"list of two tensors; pass \(x, y\)")
def a_list_of_two_tensors():
    return case(net(), data=list(xy()))


@refused("DataError", "`x` must be finite, got 33 NaN")
def data_that_are_not_numbers():
    x, y = xy()
    return case(net(), data=(x * float("nan"), y))


@refused("DeviceError", "(cpu|meta).*(cpu|meta)")
def data_on_another_device():
    x, y = xy()
    return case(net().to("meta"), data=(x, y))


@refused("DtypeError", "float64 and torch.float32")
def data_of_another_dtype():
    return case(net(), data=xy(dtype=torch.float32))


# Parameters


@right
def frozen_parameters():
    model = net()
    model[0].requires_grad_(False)
    return case(model)


@right
def tied_parameters():
    torch.manual_seed(0)
    model = Calls(lambda self, x: self.b(torch.tanh(self.a(x))), a=nn.Linear(3, 3), b=nn.Linear(3, 3)).double()
    model.b.weight = model.a.weight
    return case(model, data=xy(outputs=3))


@right
def tied_and_frozen_parameters():
    found = tied_parameters()
    found.model.a.weight.requires_grad_(False)
    return found


@right
def unused_empty_and_scalar_parameters():
    model = Calls(lambda self, x: self.scale * self.a(x), a=net())
    model.scale, model.unused = nn.Parameter(torch.tensor(2.0, dtype=F64)), nn.Parameter(torch.ones(2, dtype=F64))
    model.empty = nn.Parameter(torch.empty(0, dtype=F64))
    return case(model)


@right
def parameters_that_are_not_contiguous():
    model = Calls(lambda self, x: torch.tanh(x @ self.w) @ self.v)
    model.w = nn.Parameter(torch.randn(5, 3, dtype=F64).t())
    model.v = nn.Parameter(torch.randn(5, 4, dtype=F64)[:, ::2])
    return case(model)


@right
def a_single_parameter():
    return case(nn.Linear(1, 1, bias=False).double(), data=xy(inputs=1, outputs=1))


@refused("InputError", "requires a gradient, got none")
def a_model_without_gradients():
    return case(net().requires_grad_(False))


@refused("InputError", "depend on a parameter that requires a gradient")
def a_forward_pass_without_gradients():
    return case(Calls(torch.no_grad()(lambda self, x: self.a(x)), a=net()))


@refused("DtypeError", "one real floating dtype")
def complex_parameters():
    model = Calls(lambda self, x: (x.to(torch.complex128) @ self.w).abs())
    model.w = nn.Parameter(torch.randn(3, 2, dtype=torch.complex128))
    return case(model)


@refused("DtypeError", "one real floating dtype")
def mixed_parameters():
    model = net()
    model[0].float()
    return case(model)


@refused("ComputationError", "the loss is nan")
def parameters_that_are_not_numbers():
    model = net()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    return case(model)


@refused("(InputError|KindError|ComputationError|ParameterError|ShapeError)", "(?i)lazy|uninitialized")
def parameters_that_do_not_exist_yet():
    return case(nn.Sequential(nn.LazyLinear(4, dtype=F64), nn.Linear(4, 2).double()))


@right
def single_precision():
    return case(net(dtype=torch.float32), data=xy(dtype=torch.float32), rtol=1e-3)


@right
def brain_floats():
    return case(net(dtype=torch.bfloat16), data=xy(dtype=torch.bfloat16), rtol=5e-2)


@right
def half_precision():
    return case(net(dtype=torch.float16), data=xy(dtype=torch.float16), rtol=1e-2)


# Layers


@right
def kinks():
    x, y = xy()
    model = net(act=nn.ReLU)
    with torch.no_grad():
        model[0].bias.zero_()
    return case(model, data=(torch.cat([x, 0 * x]), torch.cat([y, y])))  # half of the neurons sit on their kink


@refused("NotDeterministicError", r"`2: Dropout`; call model.eval\(\)")
def dropout_in_training():
    return case(net(nn.Dropout(0.5)))


@right
def dropout_in_evaluation():
    return case(net(nn.Dropout(0.5)).eval())


@right
def batch_normalisation_in_training():
    x, y = xy()
    return case(net(nn.BatchNorm1d(5)), data=[(x[:6], y[:6]), (x[6:], y[6:])])


@right
def batch_normalisation_in_evaluation():
    return case(net(nn.BatchNorm1d(5)).eval())


@right
def convolutions():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.GroupNorm(1, 3), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 2)
    )
    return case(model.double(), data=(torch.randn(5, 2, 4, 4, dtype=F64), torch.randn(5, 2, dtype=F64)))


@right
def recurrence():
    torch.manual_seed(0)
    model = Calls(lambda self, x: self.head(self.lstm(x)[0][:, -1]), lstm=nn.LSTM(3, 3), head=nn.Linear(3, 2)).double()
    return case(model, data=(torch.randn(4, 5, 3, dtype=F64), torch.randn(4, 2, dtype=F64)))


@right
def recurrence_in_single_precision():
    found = recurrence()
    return case(found.model.float(), data=tuple(t.float() for t in found.data), rtol=1e-3)


class PlainNorm(nn.Module):
    """Weight normalisation by its formula; the second derivative of the fused one in torch is wrong."""

    def forward(self, length, direction):
        return direction * (length / direction.norm(dim=1, keepdim=True))

    def right_inverse(self, weight):
        return weight.norm(dim=1, keepdim=True), weight


@right
def weight_normalisation():
    model, plain = net(), net()
    nn.utils.parametrizations.weight_norm(model[0])
    nn.utils.parametrize.register_parametrization(plain[0], "weight", PlainNorm())
    return case(model, plain=plain)


@right
def orthogonal_weights():
    model = net()
    nn.utils.parametrizations.orthogonal(model[2], orthogonal_map="matrix_exp")
    return case(model)


@right
def spectral_normalisation_in_evaluation():
    model = net()
    nn.utils.parametrizations.spectral_norm(model[0])
    return case(model.eval())


@right
def embeddings_with_tied_weights():
    torch.manual_seed(0)
    embed = nn.Embedding(6, 3).double()
    model = Calls(lambda self, ids: torch.tanh(self.e(ids)).mean(dim=1) @ self.e.weight.t(), e=embed)
    return case(model, nn.CrossEntropyLoss(), (torch.randint(0, 6, (5, 4)), torch.randint(0, 6, (5,))))


@right
def sparse_gradients():
    def forward(self, ids):
        return self.h(torch.tanh(self.e(ids)).mean(dim=1))

    torch.manual_seed(0)
    model = Calls(forward, e=nn.Embedding(6, 3, sparse=True), h=nn.Linear(3, 2)).double()
    plain = Calls(forward, e=nn.Embedding.from_pretrained(model.e.weight.detach(), freeze=False), h=model.h)
    return case(model, data=(torch.randint(0, 6, (5, 4)), torch.randn(5, 2, dtype=F64)), plain=plain)


@right
def complex_numbers_on_the_way():
    return case(Calls(lambda self, x: torch.fft.fft(self.a(x)).abs(), a=net()))


@right
def work_in_place_on_what_is_hidden():
    def forward(self, x):
        outputs = self.b((self.a(x) - 0.1).relu_())
        outputs += 1
        return outputs

    return case(Calls(forward, a=nn.Linear(3, 5), b=nn.Linear(5, 2)).double())


@right
def work_in_place_on_the_inputs():
    return case(Calls(lambda self, x: self.a(x.mul_(2)), a=net()))


@right
def buffers_written_in_forward():
    def forward(self, x):
        self.calls += 1
        self.seen = x.detach().mean(dim=0)
        return self.a(x - self.shift)

    model = Calls(forward, a=net())
    for name, value in (("calls", torch.zeros(())), ("seen", torch.zeros(3)), ("shift", torch.ones(3, dtype=F64))):
        model.register_buffer(name, value)
    return case(model)


@refused("NotDeterministicError", "a stateful module")
def a_module_with_a_memory_of_its_own():
    def forward(self, x):
        self.count[0] += 1
        return self.a(x) * self.count[0]

    model = Calls(forward, a=net())
    model.count = [0]
    return case(model)


@right
def autocast_inside():
    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.a(x).float()

    return case(Calls(forward, a=net(dtype=torch.float32)), data=xy(dtype=torch.float32), rtol=5e-2)


def _checkpointed(*, reentrant):
    def forward(self, x):
        x = x + 0 * self.b.bias.sum() if reentrant else x  # reentrant ones need an input that requires a gradient
        return self.b(torch.utils.checkpoint.checkpoint(self.a, x, use_reentrant=reentrant))

    torch.manual_seed(0)
    body = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Tanh())
    model = Calls(forward, a=body, b=nn.Linear(5, 2)).double()
    return case(model, plain=Calls(lambda self, x: self.b(self.a(x)), a=model.a, b=model.b))


@right
def checkpoints():
    return _checkpointed(reentrant=False)


@refused("ComputationError", "(?i)checkpoint")
def checkpoints_that_reenter():
    return _checkpointed(reentrant=True)


@right
def a_compiled_module():
    return case(torch.compile(net(), backend="aot_eager"))


class Once(torch.autograd.Function):
    """A square whose second derivative was forgotten."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):
        return 2 * slope * ctx.saved_tensors[0]


@refused("ComputationError", "symmetric")  # torch itself gives a wrong number here, without a word
def a_function_without_second_derivative():
    return case(Calls(lambda self, x: Once.apply(self.a(x)), a=net()))


@refused("ComputationError", "(?i)finite|nan|infinite")
def an_infinite_second_derivative():
    return case(net(), lambda out, y: (out - out.detach()).square().sum(dim=1).sqrt().mean())


@refused("ValueError", "stop")
def an_exception_in_the_middle():
    def forward(self, x):
        self.count[0] += 1
        if self.count[0] == 2:
            raise ValueError("stop")
        return self.a(x)

    model = Calls(forward, a=net(nn.BatchNorm1d(5)))
    model.count = [0]
    return case(model)


# Hooks


@right
def hooks_of_the_user():
    model = net()
    model[0].register_forward_hook(lambda *_: None)
    model[1].register_full_backward_hook(lambda *_: None)
    return case(model)


@right
def hooks_that_change_gradients():
    model = net()
    model[0].weight.register_hook(lambda gradient: gradient.clamp(-1e-3, 1e-3))
    model[2].register_full_backward_hook(lambda module, into, out: tuple(2 * g for g in into))
    return case(model, plain=net())


# Spectra


class Quadratic(nn.Module):
    """Half of Σ c_i θ_i², whose Hessian is known."""

    def __init__(self, curvature):
        super().__init__()
        self.theta = nn.Parameter(torch.ones(len(curvature), dtype=F64))
        self.register_buffer("curvature", torch.as_tensor(curvature, dtype=F64))

    def forward(self, x):
        return x * 0.5 * (self.curvature * self.theta.square()).sum()


def quadratic(curvature):
    one = torch.ones(1, 1, dtype=F64)
    return case(Quadratic(curvature), lambda out, _: out.mean(), (one, one))


@right
def a_zero_hessian():
    return case(nn.Linear(30, 2).double(), lambda out, y: (out * y).mean(), xy(inputs=30))


@right
def a_negative_definite_hessian():
    return quadratic(torch.linspace(-3, -1, 60))


@right
def one_eigenvalue_sixty_times():
    return quadratic(torch.full((60,), 2.0))


@right
def a_largest_eigenvalue_of_small_magnitude():
    return quadratic(torch.cat([torch.full((50,), -100.0), torch.tensor([0.1, 0.05])]))


class Answer(nn.Module):
    """Computes its own loss, as language models do; batches are dicts, and some entries are no tensors."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.head = nn.Embedding(7, 3), nn.Linear(3, 7, bias=False)
        self.head.weight = self.embed.weight
        self.double()

    def forward(self, input_ids, labels=None, mode=""):
        logits = self.head(torch.tanh(self.embed(input_ids)))
        loss = functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"loss": loss, "logits": logits}


@contextlib.contextmanager
def nothing():
    yield


CONTEXTS = {
    "plain": nothing,
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "anomaly": lambda: torch.autograd.set_detect_anomaly(mode=True),
}
