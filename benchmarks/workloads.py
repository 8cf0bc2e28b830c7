"""The three models that every benchmark of curvature measures: `mlp`, `gpt`, `resnet`, each as (model, loss, data).

All are float32, seeded and made anew at each call (nothing is stored), in evaluation mode, with one batch (x, y):

* `mlp`: 10-1000-1 ReLU, 2,000 samples of a noisy smooth target, half squared error, 12,001 parameters, after 300 steps.
* `gpt`: 4 layers of width 160, 256 tokens, 16 sequences of 64 random tokens, 1,329,600 parameters, as initialised;
  attention is written out, because peers fail on the fused kernels. Logits come as [sequences, tokens, places], the
  layout of `nn.CrossEntropyLoss`.
* `resnet`: ResNet-20 of base width 8 with projection shortcuts, 68,786 parameters, ten synthetic classes of 3 x 32 x 32
  images, after 40 steps on the 128 samples.

`small=True` makes `gpt` and `resnet` small enough for products of at most 10 ms on one core.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from steppe.core import SquaredLoss, generator


class Workload(NamedTuple):
    """A model, `loss(outputs, targets)`, and one batch (x, y)."""

    model: nn.Module
    loss: Any
    data: tuple[Tensor, Tensor]


def mlp(*, seed: int = 0, small: bool = False, steps: int = 300, step_size: float = 0.02) -> Workload:
    """The two-layer ReLU network; `small` is taken for symmetry and changes nothing, since a product takes 10 ms."""
    rng = generator("core.test", seed)
    x = torch.randn(2000, 10, generator=rng)
    a, b = (x @ torch.randn(10, 2, generator=rng) / math.sqrt(10)).chunk(2, dim=1)
    y = 3 * a * b.tanh() + 0.5 * torch.randn(2000, 1, generator=rng)
    model = _initialised(nn.Sequential(nn.Linear(10, 1000), nn.ReLU(), nn.Linear(1000, 1)), rng)
    _train(model, SquaredLoss(), (x, y), torch.optim.SGD(model.parameters(), lr=step_size), steps)
    return Workload(model, SquaredLoss(), (x, y))


def gpt(*, seed: int = 0, small: bool = False) -> Workload:
    """A decoder-only transformer as GPT-2 initialises it, on random tokens."""
    rng = generator("core.test", seed)
    vocabulary, width, layers, sequences, places = (64, 32, 2, 8, 16) if small else (256, 160, 4, 16, 64)
    tokens = torch.randint(0, vocabulary, (sequences, places + 1), generator=rng)
    model = GPT(vocabulary, width, layers, places)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02, generator=rng)
            if getattr(module, "bias", None) is not None:
                nn.init.zeros_(module.bias)
    return Workload(model.eval(), nn.CrossEntropyLoss(), (tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()))


def resnet(*, seed: int = 0, small: bool = False, steps: int = 40, step_size: float = 0.1) -> Workload:
    """A residual network with batch normalisation, trained with its own statistics and then in evaluation mode."""
    rng = generator("core.test", seed)
    samples, side = (24, 12) if small else (128, 32)
    x, y = synthetic_classes(samples, side, rng)
    model = _initialised(ResNet(4, 1) if small else ResNet(8, 3), rng)
    optimizer = torch.optim.SGD(model.parameters(), lr=step_size, momentum=0.9)
    _train(model, nn.CrossEntropyLoss(), (x, y), optimizer, steps)
    return Workload(model, nn.CrossEntropyLoss(), (x, y))


WORKLOADS = {"mlp": mlp, "gpt": gpt, "resnet": resnet}


def synthetic_classes(samples: int, side: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ten smooth random templates under noise: images that a small network learns, but not at once."""
    templates = functional.interpolate(torch.randn(10, 3, 4, 4, generator=rng), size=(side, side), mode="bilinear")
    y = torch.arange(samples) % 10
    return templates[y] + torch.randn(samples, 3, side, side, generator=rng), y


class Attention(nn.Module):
    """Causal self-attention written out: softmax(QKᵀ/√s) V."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[n, places, width] to the same."""
        n, places, width = x.shape
        q, k, v = self.qkv(x).view(n, places, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-2, -1) / math.sqrt(width // self.heads)
        future = torch.ones(places, places, dtype=torch.bool, device=x.device).triu(1)
        mixed = scores.masked_fill(future, -math.inf).softmax(dim=-1) @ v
        return self.out(mixed.transpose(1, 2).reshape(n, places, width))


class Layer(nn.Module):
    """One transformer layer, normalised before attention and before the two linear maps."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads=4)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[n, places, width] to the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """Tokens [n, places] to logits [n, vocabulary, places]."""

    def __init__(self, vocabulary: int, width: int, layers: int, places: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(places, width)
        self.layers = nn.Sequential(*(Layer(width) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of token numbers."""
        x = self.tokens(ids) + self.places.weight[: ids.shape[1]]
        return self.head(self.norm(self.layers(x))).transpose(1, 2)


class Block(nn.Module):
    """Two convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 1 if inputs == outputs else 2
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Images to images, at half the size where the width doubles."""
        z = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (z + self.shortcut(x)).relu()


class ResNet(nn.Sequential):
    """ResNet-(6 blocks + 2) for small images: three stages of `blocks` blocks, width doubling."""

    def __init__(self, width: int, blocks: int) -> None:
        layers: list[nn.Module] = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
        for outputs in (width, 2 * width, 4 * width):
            for _ in range(blocks):
                layers.append(Block(inputs, outputs))
                inputs = outputs
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10))


def _initialised(model: nn.Module, rng: torch.Generator) -> nn.Module:
    """PyTorch's usual initial distributions, drawn from `rng` so that nothing depends on the global state."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            weight = module.weight
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=rng)
            if module.bias is not None:
                bound = 1 / math.sqrt(weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=rng)
    return model


def _train(model: nn.Module, loss: Any, data: tuple[Tensor, Tensor], optimizer: Any, steps: int) -> None:
    model.train()
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            loss(model(data[0]), data[1]).backward()
            optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    model.eval()
