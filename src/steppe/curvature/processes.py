"""What processes of a `torch.distributed` group tell each other: sums, whether they agree, whether one failed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from steppe.core import ComputationError, InputError

from .likelihoods import GOLDEN, bits_of, mixed
from .operators import CurvatureOperator

_ABSENT = -(2**62)
_APART = 1e-6  # relative difference of checksums beyond which processes ask for different things


class Processes:
    """The processes of a group; every method is called by all of them at the same point.

    Args:
        group: A process group, None for the default one.

    Raises:
        InputError: There is none.
    """

    def __init__(self, group: Any = None) -> None:
        if not dist.is_available() or not dist.is_initialized():
            raise InputError(
                "`sharded` needs torch.distributed to be initialised; call torch.distributed.init_process_group first, "
                "or use the operator without it in a single process"
            )
        self.group = group
        self.count = dist.get_world_size(group)
        self.rank = dist.get_rank(group)
        cuda = dist.get_backend(group) == "nccl"
        self.device = torch.device("cuda", torch.cuda.current_device()) if cuda else torch.device("cpu")

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over processes, of a tensor that may be overwritten."""
        if tensor.dtype in (torch.float16, torch.bfloat16):
            return self.add(tensor.float()).to(tensor.dtype)
        tensor = tensor.contiguous()
        dist.all_reduce(tensor, group=self.group)
        return tensor

    def sum(self, number: float) -> float:
        """The sum over processes."""
        return float(self.add(torch.tensor([number], dtype=torch.float64, device=self.device)))

    def largest(self, numbers: list[float]) -> list[float]:
        """The largest over processes, number by number."""
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.group)
        return [float(number) for number in tensor]

    def same(self, words: str, value: int | None) -> None:
        """Raise an InputError in all processes unless those that have a value have the same."""
        pair = [_ABSENT, _ABSENT] if value is None else [value % 2**61, -(value % 2**61)]
        tensor = torch.tensor(pair, dtype=torch.int64, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=self.group)
        high, low = int(tensor[0]), -int(tensor[1])
        if high != low:
            raise InputError(
                f"all processes must have {words}, got different ones; broadcast the model's state from one process, "
                "and pass the same loss and options"
            )

    def tell(self, text: str | None) -> str:
        """The text of the first process that has one, in all of them."""
        first = self.count - int(self.largest([-1.0 if text is None else float(self.count - self.rank)])[0])
        source = first if self.group is None else dist.get_global_rank(self.group, first)
        content = (text or "").encode()
        length = torch.tensor([len(content)], dtype=torch.int64, device=self.device)
        dist.broadcast(length, source, group=self.group)
        data = torch.zeros(int(length), dtype=torch.uint8, device=self.device)
        if self.rank == first:
            data.copy_(torch.tensor(list(content), dtype=torch.uint8))
        dist.broadcast(data, source, group=self.group)
        return bytes(data.tolist()).decode()

    @contextmanager
    def together(self, words: str, *, asked: Tensor | None = None) -> Iterator[None]:
        """A context that raises in all processes if its body does in one, or if they ask for different products."""
        error: Exception | None = None
        try:
            yield
        except Exception as caught:  # whatever it is, the other processes must not wait
            error = caught
        columns = 0.0 if asked is None else float(asked.shape[1])
        check = 0.0 if asked is None else float(asked.double().abs().sum())
        failed, most, fewest, high, low = self.largest([float(error is not None), columns, -columns, check, -check])
        if error is not None:
            raise error
        if failed:
            raise ComputationError(f"another process failed to {words}; its own error says why")
        if most != -fewest or high + low > _APART * high:
            raise ComputationError(
                "the processes ask for different products; call the same quantities with the same seeds in all of "
                "them, and stop by products rather than by the clock"
            )


def text_hash(text: str) -> int:
    """A hash that does not depend on the process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def parameter_hash(operator: CurvatureOperator) -> int:
    """A hash of the bits of all parameters of the model behind an operator; 0 if they cannot be told."""
    source = operator.source
    module = getattr(source, "model", None) or getattr(source, "network", None)
    if module is None:
        return 0
    total = 0
    for index, parameter in enumerate(module.parameters()):
        bits = bits_of(parameter.detach().reshape(-1))
        places = torch.arange(1, bits.numel() + 1, device=bits.device) * GOLDEN + index
        total += int(mixed(bits + mixed(places)).sum())
    return total
