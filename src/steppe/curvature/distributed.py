"""Curvature of data that are spread over processes: every process holds a shard, products are summed."""

import json
import re
from typing import Any

import torch
from torch import Tensor, nn

from steppe.core import DataError, KindError, grouped

from .operators import CurvatureOperator
from .processes import Processes, parameter_hash, text_hash

_MEAN_OF = re.compile(r"(mean of|sum over) \S+( of \S+)? (samples?|tokens?)")


def sharded(operator: Any, *, group: Any = None) -> "ShardedOperator":
    """The curvature operator of all the data, from the operators of the shards that the processes hold.

    Every process of a `torch.distributed` group calls this with the operator of its own shard, and then the same
    quantities with the same seeds; all get the same numbers, those of one process with all the data:

        operator = sharded(hessian(model, loss, my_shard))
        print(sharpness(operator))

    A product is Σ_r w_r H_r v / Σ_r w_r, one all-reduce of the vector. w_r is the weight of the shard's batches, so
    that shards may differ in size; losses that sum are added. Shards must not overlap: a `DistributedSampler` repeats
    samples to even the shards out unless their number is divisible. Models wrapped in `DistributedDataParallel` may be
    passed to `hessian` as they are; their hooks do not run.

    Args:
        operator: The operator of this process's shard; or a callable that makes it, so that an error in one process
            becomes an error in all rather than a wait; or None where a process has no data, which then counts zero.
        group: A process group, None for the default one.

    Returns:
        An operator that every process must use in the same way.

    Raises:
        InputError: `torch.distributed` is not initialised, or the processes differ in their parameters or in the matrix
            that they ask for.
        DataError: No process has data.
        ComputationError: Another process failed, or asks for another product.
        KindError: It is no curvature operator.

    With `budget=` all processes stop as soon as the clock of one does. Tested with gloo on CPUs; NCCL takes the same
    path, untested.
    """
    processes = Processes(group)
    local: CurvatureOperator | None = None
    with processes.together("build its operator"):
        made = callable(operator) and not isinstance(operator, nn.Module)
        local = operator() if made else operator
        if local is not None and (not isinstance(local, CurvatureOperator) or isinstance(local, ShardedOperator)):
            raise KindError(
                f"`operator` must be the curvature operator of this shard, a callable that makes it or None, got "
                f"{type(local).__name__}; pass hessian(model, loss, shard)"
            )
    return ShardedOperator(local, processes)


class ShardedOperator(CurvatureOperator):
    """What `sharded` returns.

    Attributes:
        local: The operator of this process's shard, or None.
        weight: The weight of all shards together.
        processes: The processes that share the data.
    """

    def __init__(self, local: CurvatureOperator | None, processes: Processes) -> None:
        weight, sums = (0.0, False) if local is None else _weight(local)
        self.local, self.processes = local, processes
        self.weight = processes.sum(weight)
        if self.weight == 0:
            raise DataError("the shards need at least one sample together, got none; give a process data")
        facts = None if local is None else _facts(local)
        processes.same("the same matrix", None if facts is None else text_hash(facts["identity"]))
        processes.same("the same parameters", None if local is None else parameter_hash(local))
        exact = processes.sum(float(local is not None and local.exact_diagonal is None)) == 0
        facts = json.loads(processes.tell(None if facts is None else json.dumps(facts)))
        dtype, shapes = getattr(torch, facts["dtype"]), {name: torch.Size(s) for name, s in facts["shapes"].items()}
        device = processes.device if local is None else local.device
        size = sum(shape.numel() for shape in shapes.values())
        share = 1.0 if sums else weight / self.weight

        def product(block: Tensor) -> Tensor:
            image = torch.zeros_like(block)
            with processes.together("make its product", asked=block):
                if local is not None:
                    image = (local @ block) * share
            return processes.add(image)

        def diagonal() -> Tensor:
            part = torch.zeros(size, dtype=dtype, device=device)
            with processes.together("compute its diagonal"):
                if local is not None and local.exact_diagonal is not None:
                    part = local.exact_diagonal() * share
            return processes.add(part)

        super().__init__(
            _Empty(size, dtype, device, facts["backend"]) if local is None else local.source,
            facts["kind"],
            _words(facts["convention"], self.weight, processes.count),
            shapes=shapes,
            product=product,
            exact_diagonal=diagonal if exact else None,
        )
        self.agreement = lambda flag: processes.sum(float(flag)) > 0


class _Empty:
    """Stands for what makes products where there are no data."""

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device, backend: str) -> None:
        self.size, self.dtype, self.device, self.backend = size, dtype, device, backend


def _weight(local: CurvatureOperator) -> tuple[float, bool]:
    """What this shard counts, and whether its loss is a sum."""
    weighing = getattr(local.source, "weighing", None)
    if weighing is None:
        return float(local.source.samples), False
    return float(weighing.total), bool(weighing.sums)


def _facts(local: CurvatureOperator) -> dict[str, Any]:
    shapes = {name: list(shape) for name, shape in local.shapes.items()}
    dtype = str(local.dtype).removeprefix("torch.")
    return {
        "kind": local.kind,
        "convention": local.convention,
        "backend": local.backend,
        "shapes": shapes,
        "dtype": dtype,
        "identity": json.dumps([local.kind, _MEAN_OF.sub("", local.convention), shapes, dtype]),
    }


def _words(convention: str, weight: float, count: int) -> str:
    """The convention of one shard, with the weight of all."""
    number = grouped(int(weight)) if weight == int(weight) else f"{weight:g}"
    spread = f" on {count} processes" if count > 1 else ""
    found = _MEAN_OF.search(convention)
    if found is None:
        return f"{convention}{spread}"
    units = found[3] if found[3].endswith("s") or weight == 1 else f"{found[3]}s"
    return convention.replace(found[0], f"{found[1]} {number} {units}{spread}", 1)
