"""Small architectures of every kind, with data for them: what the engine is held against dense Hessians on."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional

F64 = torch.float64
N = 6
MODELS = {}


def model_of(make):
    MODELS[make.__name__] = make
    return make


def inputs(*shape, seed=1):
    return torch.randn(N, *shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def tokens(length=4, vocabulary=5, seed=1):
    return torch.randint(0, vocabulary, (N, length), generator=torch.Generator().manual_seed(seed))


class Calls(nn.Module):
    """A module whose forward is given as a function of itself and the inputs."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.does = forward

    def forward(self, *args, **kwargs):
        return self.does(self, *args, **kwargs)


def _image_net(norm):
    return nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), norm, nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 3))


@model_of
def dense():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)), inputs(3)


@model_of
def convolution():
    return _image_net(nn.Identity()), inputs(1, 4, 4)


@model_of
def batch_norm_in_evaluation():
    return _image_net(nn.BatchNorm2d(2)).eval(), inputs(1, 4, 4)


@model_of
def batch_norm_in_training():
    return _image_net(nn.BatchNorm2d(2)), inputs(1, 4, 4)


@model_of
def layer_norm():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 3)), inputs(3)


@model_of
def group_norm():
    return _image_net(nn.GroupNorm(2, 2)), inputs(1, 4, 4)


@model_of
def attention():
    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return self.out(functional.scaled_dot_product_attention(q, k, v, is_causal=True)).mean(dim=1)

    return Calls(forward, qkv=nn.Linear(3, 9), out=nn.Linear(3, 3)), inputs(4, 3)


@model_of
def tied():
    def forward(self, ids):
        return (torch.tanh(self.embed(ids)).mean(dim=1) @ self.embed.weight.T)[:, :3]

    return Calls(forward, embed=nn.Embedding(5, 3)), tokens()


@model_of
def tied_and_frozen():
    model = Calls(lambda self, x: self.c(torch.tanh(self.b(torch.tanh(self.a(x))))), a=nn.Linear(3, 3))
    model.b, model.c = nn.Linear(3, 3), nn.Linear(3, 3)
    model.b.weight = model.a.weight
    model.c.bias.requires_grad_(requires_grad=False)
    return model, inputs(3)


@model_of
def recurrent():
    model = Calls(lambda self, x: self.out(self.core(x)[0][:, -1]), core=nn.RNN(2, 3, batch_first=True))
    model.out = nn.Linear(3, 3)
    return model, inputs(4, 2)


@model_of
def lstm():
    model = Calls(lambda self, x: self.out(self.core(x)[0][:, -1]), core=nn.LSTM(2, 2, batch_first=True))
    model.out = nn.Linear(2, 3)
    return model, inputs(4, 2)


@model_of
def gru():
    model = Calls(lambda self, x: self.out(self.core(x)[0][:, -1]), core=nn.GRU(2, 2, batch_first=True))
    model.out = nn.Linear(2, 3)
    return model, inputs(4, 2)


@model_of
def residual():
    model = Calls(lambda self, x: self.out(x + torch.tanh(self.inner(x))), inner=nn.Linear(3, 3), out=nn.Linear(3, 3))
    return model, inputs(3)


@model_of
def embedding():
    model = Calls(lambda self, ids: self.out(torch.tanh(self.embed(ids)).sum(dim=1)), embed=nn.Embedding(5, 3))
    model.out = nn.Linear(3, 3)
    return model, tokens()


@model_of
def dictionary():
    def forward(self, *, left, right):
        return self.out(torch.tanh(self.a(left) * self.b(right)))

    model = Calls(forward, a=nn.Linear(2, 3), b=nn.Linear(3, 3), out=nn.Linear(3, 3))
    return model, {"left": inputs(2), "right": inputs(3, seed=2)}


def problem(name, dtype=F64):
    """Model, inputs as keyword or single tensor, in one dtype, always the same."""
    torch.manual_seed(0)
    model, x = MODELS[name]()
    model = model.to(dtype)
    given = x if isinstance(x, dict) else {"": x}
    given = {key: value.to(dtype) if value.is_floating_point() else value for key, value in given.items()}
    return SimpleNamespace(model=model, given=given)


def batches_of(given, y, ends):
    """The data as a list of batches that end at `ends`."""
    found = []
    for start, end in zip([0, *ends], ends, strict=False):
        part = {key: value[start:end] for key, value in given.items()}
        found.append((part[""], y[start:end]) if "" in part else {**part, "y": y[start:end]})
    return found


def call(model, state, part):
    return torch.func.functional_call(model, state, (part[""],) if "" in part else (), {} if "" in part else part)


def flat(model):
    """Names, the flat point, and a function from flat vectors to states."""
    named = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    point = torch.cat([value.reshape(-1) for value in named.values()])

    def state(vector):
        parts = vector.split([value.numel() for value in named.values()])
        own = {name: part.view_as(value) for part, (name, value) in zip(parts, named.items(), strict=True)}
        return {**own, **{name: buffer.clone() for name, buffer in model.named_buffers()}}

    return list(named), point, state


def dense_hessian(model, loss, given, y, ends):
    """Σ (n_b/n) ∇²L_b by torch.autograd.functional, or Σ ∇²L_b for a loss that sums."""
    _, point, state = flat(model)
    n = len(y)

    def value(vector):
        total = 0
        for start, end in zip([0, *ends], ends, strict=False):
            part = {key: value[start:end] for key, value in given.items()}
            scale = 1 if getattr(loss, "reduction", "mean") == "sum" else (end - start) / n
            total = total + scale * loss(call(model, state(vector), part), y[start:end])
        return total

    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.autograd.functional.hessian(value, point)


def dense_gauss_newton(model, loss, given, y, ends):
    _, point, state = flat(model)
    total = 0
    for start, end in zip([0, *ends], ends, strict=False):
        part, target = {key: value[start:end] for key, value in given.items()}, y[start:end]
        scale = 1 if getattr(loss, "reduction", "mean") == "sum" else (end - start) / len(y)

        def outputs(vector, part=part):
            return call(model, state(vector), part)

        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            z = outputs(point)
            jacobian = torch.autograd.functional.jacobian(outputs, point).reshape(z.numel(), -1)
        inner = torch.autograd.functional.hessian(lambda out, target=target: loss(out, target), z)
        total = total + scale * jacobian.T @ inner.reshape(z.numel(), -1) @ jacobian
    return total
