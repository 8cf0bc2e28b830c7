"""Real networks that train, explode, become NaN or are dead from the start."""

import torch

from steppe.harness import Control, Diverged, Grid, PowerLaw, Study
from steppe.networks import ShallowReLU
from steppe.training import gradient_descent

STEPS = {"fine": 0.1, "explodes": 50.0, "overflows": 1e200, "becomes-nan": 0.1, "dead": 0.1}
DEAD = 100.0  # a bias that no input of norm below ten reaches


def _nan_after_a_while():
    calls = 0

    def loss(outputs, targets):
        nonlocal calls
        calls += 1
        value = ((outputs - targets) ** 2).mean()
        return value * float("nan") if calls > 30 else value

    return loss


def row(n: int, seed: int, kind: str) -> dict | Diverged:
    """Half the cells train; the others end as they must. `gap` is n^(-1/2) by construction for those that train."""
    generator = torch.Generator().manual_seed(1000 * n + seed)
    x = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    y = torch.sin(x[:, :1])
    network = ShallowReLU(2, 8, seed=seed)
    if kind == "dead":
        with torch.no_grad():
            network.b.fill_(DEAD)
            network.output_bias.zero_()
        y = y - y.mean()
    loss = {"loss": _nan_after_a_while()} if kind == "becomes-nan" else {}
    history = gradient_descent(network, x, y, step_size=STEPS[kind], steps=60, log_every=10, **loss)
    columns = {"gap": n**-0.5 * (1 + 0.01 * seed), "loss": history.final_loss, "steps": history.steps}
    if history.state == "diverged":
        return Diverged(history.reason, {**columns, "gap": 1e9})
    if history.state == "settled" and not history.steps:
        return Diverged(f"zero gradient: {history.reason}", {**columns, "gap": 1e9})
    return columns


BROKEN = [kind for kind in STEPS if kind != "fine"]
CLAIM = PowerLaw("rate", "the gap shrinks like n^(-1/2)", x="n", y="gap", low=-0.51, high=-0.49)
CONTROL = Control(
    PowerLaw("faster", "the gap shrinks like 1/n", x="n", y="gap", low=-1.01, high=-0.99), "rate", "twice the exponent"
)
STUDY = Study(
    slug="diverging",
    columns={"gap": "1", "loss": "1", "steps": "1"},
    grid=Grid(n=(8, 16, 32, 64), seed=range(3), kind="fine") + Grid(n=(8, 16, 32, 64), seed=3, kind=tuple(BROKEN)),
    row=row,
    claims=(CLAIM,),
    controls=(CONTROL,),
)
