"""Full-batch gradient descent on many shallow ReLU networks at once: closed form, batched products, any device."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import Logistic
from steppe.networks import ShallowReLU

from .history import History, Records, State
from .looks import Looks
from .observers import Schedule
from .plan import Plan, call_observers, explosion_limit, has_settled

_WARM_UP = 3  # steps before a graph is recorded


@dataclass
class _Run:
    """The state of one network in the batch."""

    records: Records
    schedule: Schedule
    looks: Looks | None = None
    limit: float = math.inf
    first: float = 0.0
    state: State | None = None
    reason: str = ""


class BatchedEngine:
    """r networks of one shape in one set of tensors.

    Divergence and settling are judged at records only, so that a GPU is not asked for a number at every step. A
    network that has ended keeps its last recorded parameters while the others go on.

    Args:
        networks: Networks of one shape, dtype and device.
        x: Inputs [r, n, d].
        y: Targets [r, n, k].
        plans: Checked options, one per network.
        loss: `SquaredLoss` or `Logistic`.
    """

    backend = "torch-batched"

    def __init__(
        self, networks: Sequence[ShallowReLU], x: Float[Tensor, "r n d"], y: Float[Tensor, "r n k"],
        plans: Sequence[Plan], loss: Any,
    ) -> None:  # fmt: skip
        self.networks, self.plans, self.loss = list(networks), list(plans), loss
        self.n = x.shape[1]
        like = networks[0].w
        self.x = torch.cat([x, x.new_ones(*x.shape[:2], 1)], dim=2)
        self.y = y.transpose(1, 2).contiguous()
        with torch.no_grad():
            self.W = torch.stack([torch.cat([net.w, -net.b[:, None]], dim=1) for net in networks])
            self.v = torch.stack([net.v for net in networks])
            self.beta = torch.stack([net.output_bias for net in networks])[:, :, None]
            skips = [net.skip for net in networks if net.skip is not None]
            self.skip = torch.stack(skips) if skips else None

        def column(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]

        self.step_size = column([p.step_size for p in plans])
        self.decay = column([p.decay_rate for p in plans])
        self.clip = column([math.inf if p.clip is None else p.clip for p in plans])
        self.active = torch.ones_like(self.step_size)
        self.clipped = torch.zeros_like(self.step_size)
        # Fixed places, so that a recorded step finds its gradient where the last one left it.
        self.gradient = [torch.zeros_like(p) for p in self.parameters]
        self.losses = like.new_zeros(len(self.networks))

    @property
    def parameters(self) -> list[Tensor]:
        """Stacked W̃ [r, m, d + 1], v, β and the skip matrix."""
        return [self.W, self.v, self.beta, *([] if self.skip is None else [self.skip])]

    def evaluate(self) -> Float[Tensor, " r"]:
        """Losses; the gradients are left in the engine."""
        A = torch.bmm(self.W, self.x.transpose(1, 2)).relu_()
        f = torch.baddbmm(self.beta, self.v, A)
        if self.skip is not None:
            f.baddbmm_(self.skip, self.x[:, :, :-1].transpose(1, 2))
        losses, r = self._residuals(f)
        mask = (A > 0).to(A.dtype)
        if self.v.shape[1] == 1:
            q = torch.bmm(mask, self.x * r.transpose(1, 2))
            gW, gv = q * self.v.transpose(1, 2), (q * self.W).sum(2)[:, None, :]
        else:
            gW = torch.bmm(torch.bmm(self.v.transpose(1, 2), r).mul_(mask), self.x)
            gv = torch.bmm(r, A.transpose(1, 2))
        found = [gW, gv, r.sum(2, keepdim=True)]
        if self.skip is not None:
            found.append(torch.bmm(r, self.x[:, :, :-1]))
        for place, g in zip(self.gradient, found, strict=True):
            place.copy_(g)
        return self.losses.copy_(losses)

    def _residuals(self, f: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.loss, Logistic):
            margin = -self.y * f
            return torch.nn.functional.softplus(margin).sum((1, 2)) / self.n, -self.y * torch.sigmoid(margin) / self.n
        r = f - self.y
        return 0.5 * r.square().sum((1, 2)) / self.n, r / self.n

    def gradient_norms(self, *, decay: bool) -> Float[Tensor, "r 1 1"]:
        """Norms of the last gradients."""
        total = torch.zeros_like(self.step_size)
        for g, p in zip(self.gradient, self.parameters, strict=True):
            total += (g + self.decay * p if decay else g).square().sum((1, 2), keepdim=True)
        return total.sqrt()

    def parameter_sizes(self) -> Float[Tensor, "r 1 1"]:
        """Root mean squares of the present parameters."""
        total = sum(p.square().sum((1, 2), keepdim=True) for p in self.parameters)
        count = sum(p[0].numel() for p in self.parameters)
        return torch.as_tensor(total / count).sqrt()

    def advance(self) -> None:
        """One update of every network that has not ended."""
        factor = self.step_size * self.active
        if any(p.clip is not None for p in self.plans):
            norms = self.gradient_norms(decay=False)
            short = norms > self.clip
            self.clipped += short * self.active
            factor = torch.where(short, factor * self.clip / norms, factor)
        keep = 1 - self.step_size * self.decay * self.active
        for g, p in zip(self.gradient, self.parameters, strict=True):
            p.mul_(keep).addcmul_(g, factor, value=-1)

    def publish(self, index: int) -> None:
        """Write the present parameters of one network into it."""
        network = self.networks[index]
        network.w.copy_(self.W[index, :, :-1])
        network.b.copy_(-self.W[index, :, -1])
        network.v.copy_(self.v[index])
        network.output_bias.copy_(self.beta[index, :, 0])
        if network.skip is not None and self.skip is not None:
            network.skip.copy_(self.skip[index])

    def end(self, index: int) -> None:
        """Take one network out of the batch; its slot holds zeros so that nothing overflows."""
        self.active[index] = 0
        for p in self.parameters:
            p[index] = 0


class _Steps:
    """Takes steps of an engine; on CUDA as one recorded graph, launched at once instead of kernel by kernel."""

    def __init__(self, engine: BatchedEngine) -> None:
        self._engine = engine
        self._graph: Any = None

    def take(self, count: int) -> None:
        """`count` updates, each followed by an evaluation."""
        if self._engine.W.is_cuda and self._graph is None and count > _WARM_UP:
            count -= _WARM_UP
            self._record()
        for _ in range(count):
            if self._graph is None:
                self._step()
            else:
                self._graph.replay()

    def _step(self) -> None:
        self._engine.advance()
        self._engine.evaluate()

    def _record(self) -> None:
        """Real steps beside the main stream first, as CUDA wants it, then one that is recorded and not done."""
        with torch.cuda.device(self._engine.W.device):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    self._step()
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._step()


@torch.no_grad()
def descend_batched(
    engine: BatchedEngine, observers: Sequence[Sequence[Any]], looks: Sequence[Looks | None]
) -> list[History]:
    """Run the batch to its end; every network holds the parameters of its last record afterwards."""
    began = time.perf_counter()
    plans = engine.plans
    runs = [
        _Run(Records(), Schedule(p.steps, p.log_every, own), look)
        for p, own, look in zip(plans, observers, looks, strict=True)
    ]
    steps, done = _Steps(engine), 0
    engine.evaluate()
    for step in sorted(frozenset().union(*(run.schedule.due for run in runs))):
        steps.take(step - done)
        done = step
        norms = engine.gradient_norms(decay=True).flatten()
        rows = torch.stack([engine.losses, norms, engine.parameter_sizes().flatten()], dim=1).tolist()
        for index, (loss, norm, size) in enumerate(rows):
            if runs[index].state is None:
                _record(engine, runs[index], index, step, (loss, norm, size))
        if all(run.state is not None for run in runs):
            break
    seconds = time.perf_counter() - began
    clipped = engine.clipped.flatten().tolist()
    return [_history(engine, run, index, int(clipped[index]), seconds) for index, run in enumerate(runs)]


def _record(engine: BatchedEngine, run: _Run, index: int, step: int, numbers: tuple[float, float, float]) -> None:
    loss, norm, size = numbers
    if step == 0:
        run.limit = explosion_limit(loss)
        run.first = norm
    if not loss <= run.limit:
        run.state, run.reason = "diverged", f"loss {loss:.3g} after {step} steps exceeds {run.limit:.3g}"
    elif step in run.schedule.due:
        run.records.open(step, loss)
        engine.publish(index)
        if run.looks:
            run.records.add(run.looks.found(gradient_norm=norm, clipped=int(engine.clipped[index])))
        with torch.enable_grad():
            stop = call_observers(run.schedule, step, engine.networks[index], run.records)
        if stop is not None:
            run.state, run.reason = "stopped", stop
        elif has_settled(norm, run.first, size, engine.plans[index].step_size, engine.W.dtype):
            run.state, run.reason = "settled", f"gradient norm {norm:.3g} after {step} steps"
    if run.state is not None:
        engine.end(index)


def _history(engine: BatchedEngine, run: _Run, index: int, clipped: int, seconds: float) -> History:
    plan, records = engine.plans[index], run.records
    return History(
        step=records.step, loss=records.loss, columns=records.columns, state=run.state or "finished",
        reason=run.reason or f"all {plan.steps} steps were done", steps=records.step[-1], clipped=clipped,
        seconds=seconds, backend=engine.backend, convention=engine.loss.convention, step_size=plan.step_size,
        weight_decay=plan.weight_decay, decay=plan.decay,
    )  # fmt: skip
