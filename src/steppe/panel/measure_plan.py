"""What a measurement will cost, found out on a small piece of the data before it starts."""

import math
import re
import time
from dataclasses import dataclass
from typing import Any, Unpack

import psutil
import torch
from torch import Tensor, nn

from steppe.core import (
    ComputationError,
    InputError,
    KindError,
    NotDeterministicError,
    ParameterError,
    Part,
    check_number,
    duration,
    grouped,
)
from steppe.curvature import CurvatureOperator, ProblemOptions, hessian

from .measure_spectrum import STEPS
from .measure_words import batch_norms, size_in_words

_SECONDS, _PRODUCTS = 60.0, 200
_FIRST_PIECE = 16  # samples
_GROWTH = 4
_TELLING = 0.05  # seconds of a product from which its time grows in proportion to the samples
_ROWS, _BASIS = 4, 16  # vectors that are timed, and those that an iteration holds on average
_CALLS = 2e-3  # seconds of everything else in an iteration
_LEAST_VECTORS = 30  # that the shortest useful iteration keeps
_REPEATS, _LONG = 3, 0.15  # products that are timed, unless they take so many seconds together
_WORD = re.compile(
    r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*(s|sec|seconds?|min|minutes?|h|hours?|products?)\s*", re.IGNORECASE
)
_IN_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What a measurement may spend; None is any amount.

    Args:
        seconds: Wall time.
        products: Operator–vector products.
    """

    seconds: float | None
    products: int | None

    def __str__(self) -> str:
        words = [] if self.seconds is None else [f"{self.seconds:g} s"]
        words += [] if self.products is None else [f"{grouped(self.products)} products"]
        return " or ".join(words)


def read_budget(budget: Any) -> Budget:
    """A number of seconds, or words: `"90 s"`, `"5 min"`, `"500 products"`, `"5 min, 500 products"`.

    Naming one of the two lifts the other; None is 60 s or 200 products, whichever ends first.

    Raises:
        ParameterError: It cannot be read, or is not positive.
        KindError: It is neither a number nor a text.
    """
    if budget is None:
        return Budget(seconds=_SECONDS, products=_PRODUCTS)
    if isinstance(budget, Budget):
        return budget
    if isinstance(budget, bool) or not isinstance(budget, int | float | str):
        raise KindError(
            f"`budget` must be seconds or a text such as '500 products', got {type(budget).__name__}; pass a number"
        )
    if not isinstance(budget, str):
        return Budget(seconds=check_number("budget", budget, above=0.0), products=None)
    found: dict[str, float] = {}
    for part in budget.split(","):
        text = part.strip()
        match = _WORD.fullmatch(text if not _is_number(text) else f"{text} s")
        if match is None or not float(match[1]) > 0:
            raise ParameterError(
                f"`budget` must be like '90 s', '5 min', '500 products' or '5 min, 500 products', got {budget!r}; "
                "write one of these"
            )
        unit = match[2].lower()[0]
        found["products" if unit == "p" else "seconds"] = float(match[1]) * _IN_SECONDS.get(unit, 1.0)
    products = found.get("products")
    return Budget(seconds=found.get("seconds"), products=None if products is None else max(int(products), 1))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class MeasurementPlan:
    """What was predicted before the measurement; it prints as a sentence.

    Args:
        budget: What may be spent.
        products: Products that fit into it.
        seconds: Predicted wall time of the whole.
        product_seconds: Predicted time of one product, with the algebra of an iteration.
        setup_seconds: Predicted time until the first product.
        graph_bytes: Predicted memory of the derivative graphs, from above; 0 where there are none.
        basis_bytes: Predicted memory of the vectors that the iteration keeps.
        steps: Length of the chain that memory allows; 0 if it does not allow any.
        free_bytes: Memory that was free.
        retained: Whether the graphs are predicted to be retained; else they are rebuilt at every product.
        piece: Samples on which this was measured.
        samples: Samples of the measurement.
    """

    budget: Budget
    products: int
    seconds: float
    product_seconds: float
    setup_seconds: float
    graph_bytes: int
    basis_bytes: int
    steps: int
    free_bytes: int
    retained: bool
    piece: int
    samples: int

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {**vars(self), "budget": vars(self.budget), "text": str(self)}

    def __str__(self) -> str:
        memory = f"at most {size_in_words(self.graph_bytes)} of graphs and {size_in_words(self.basis_bytes)} of vectors"
        memory += f" ({size_in_words(self.free_bytes)} free)"
        memory += "" if self.retained else ", too much to keep: some are rebuilt at every product"
        return (
            f"predicted from {grouped(self.piece)} samples: {duration(self.product_seconds)} per product, {memory}, "
            f"{grouped(self.products)} products in {duration(self.seconds)}; budget {self.budget}"
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """One product on a piece of the data, timed.

    Args:
        operator: The operator of the piece.
        whole: Whether the piece is all the data.
        samples: Samples in the piece.
        setup_seconds: Time until the first product had been made, less one product.
        product_seconds: Time of one product.
        algebra_seconds: Time that an iteration takes beside its product.
        graph_bytes: Predicted bytes of the derivative graphs of all the data; 0 where there are none.
        products: Products spent, those on a piece counted as that part of a product on all the data.
    """

    operator: CurvatureOperator
    whole: bool
    samples: int
    setup_seconds: float
    product_seconds: float
    algebra_seconds: float
    graph_bytes: int
    products: int


def probe(
    model: nn.Module, loss: Any, part: Part, *, seconds: float | None, **options: Unpack[ProblemOptions]
) -> Probe:
    """Time one product on pieces of the data that grow until a product takes long enough to tell, or all is taken.

    Args:
        model: The module.
        loss: As everywhere.
        part: The data of the measurement.
        seconds: Stop growing after this time.
        **options: Those of the problem.
    """
    began, spent, size = time.perf_counter(), 0.0, min(_FIRST_PIECE, part.samples)
    while True:
        piece = _piece(part, size)
        whole = piece.samples >= part.samples
        try:
            operator, setup, product = _timed(model, loss, part if whole else piece, options)
        except (InputError, ComputationError) as error:
            # A piece may be to blame itself: no labelled token in it, too few samples for a batch norm.
            if whole or isinstance(error, NotDeterministicError):
                raise
            size *= _GROWTH
            continue
        spent += operator.products * min(piece.samples / part.samples, 1.0)
        late = seconds is not None and time.perf_counter() - began > seconds
        if whole or late or product >= _TELLING:
            break
        size *= _GROWTH
    samples = part.samples if whole else piece.samples
    graphs = getattr(operator.source, "graph_bytes", 0.0)  # closed forms have none
    return Probe(
        operator=operator,
        whole=whole,
        samples=samples,
        setup_seconds=setup,
        product_seconds=product,
        graph_bytes=int(graphs * part.samples / samples),
        algebra_seconds=_algebra_seconds(operator),
        products=math.ceil(spent),
    )


def _piece(part: Part, size: int) -> Part:
    """So many samples from the first batches, taken whole as far as they go, so that overheads are as in the whole."""
    taken = 0
    for index, batch in enumerate(part):
        taken += Part([batch], part.samples).samples
        if taken >= size:
            return Part(part[: index + 1], size) if index == 0 else Part(part[: index + 1], taken)
    return part


def _timed(model: nn.Module, loss: Any, data: Part, options: Any) -> tuple[CurvatureOperator, float, float]:
    """The operator, the time until its first product is done less one product, and the time of a product.

    Of products that are quick the fastest of three counts: a machine that is busy elsewhere only ever adds.
    """
    began = time.perf_counter()
    operator = hessian(model, loss, data, **options)
    vector = torch.ones(operator.shape[0], dtype=operator.dtype, device=operator.device)
    _wait(operator @ vector)
    ready = time.perf_counter()
    products: list[float] = []
    while len(products) < _REPEATS and sum(products) < _LONG:
        start = time.perf_counter()
        _wait(operator @ vector)
        products.append(time.perf_counter() - start)
    return operator, max(ready - began - min(products), 0.0), min(products)


def _algebra_seconds(operator: CurvatureOperator) -> float:
    """What an iteration spends beside the product: two passes of orthogonalisation against some dozen vectors."""
    rows = torch.zeros(_ROWS, operator.shape[0], dtype=torch.float64, device=operator.device)
    vector = rows[0].clone()
    times = []
    for _ in range(2):
        began = time.perf_counter()
        _wait(vector - rows.T @ (rows @ vector))
        times.append(time.perf_counter() - began)
    return _CALLS + 2 * _BASIS / _ROWS * min(times)


def _wait(image: Tensor) -> None:
    """A GPU computes behind one's back."""
    if image.is_cuda:
        torch.cuda.synchronize(image.device)


def free_bytes(device: torch.device) -> int:
    """Memory that is free where the model lives."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def check_memory(model: nn.Module, part: Part, plan: MeasurementPlan) -> None:
    """Refuse a batch whose graph exceeds what is free and that cannot be cut, because its samples are coupled.

    Raises:
        ParameterError: The message says how much is needed and what to do.
    """
    largest = max(Part([batch], part.samples).samples for batch in part)
    needed = plan.graph_bytes * largest / part.samples
    if needed > plan.free_bytes and batch_norms(model):
        fitting = max(int(largest * plan.free_bytes / needed / 2), 1)
        raise ParameterError(
            f"the graph of one batch of {largest} samples needs about {size_in_words(needed)}, and "
            f"{size_in_words(plan.free_bytes)} are free; batch normalisation in training mode keeps it from being cut: "
            f"pass samples={fitting}, batches of at most {fitting}, or model.eval()"
        )


def predict(
    found: Probe, part: Part, budget: Budget, *, spent: float, memory: int | None, wanted: int
) -> MeasurementPlan:
    """The plan: what was measured on the piece, scaled to all the samples.

    Args:
        found: The probe.
        part: The data of the measurement.
        budget: What may be spent.
        spent: Seconds gone already.
        memory: Bytes that retained graphs may take, None for half of what is free.
        wanted: Products that there is a use for.
    """
    scale = part.samples / found.samples
    free = free_bytes(found.operator.device)
    cap = free // 2 if memory is None else memory
    retained = found.graph_bytes <= cap
    setup = 0.0 if found.whole else found.setup_seconds * scale
    rebuilding = 0.0 if retained else found.setup_seconds * scale / 2
    product = found.product_seconds * scale + rebuilding + found.algebra_seconds
    vector = 8 * found.operator.shape[0]
    vectors = (free - (found.graph_bytes if retained else 0)) / 2 / vector
    steps = min(STEPS, int(vectors / 2)) if vectors >= _LEAST_VECTORS else 0
    products = wanted if budget.products is None else min(budget.products - found.products, wanted)
    if budget.seconds is not None:
        products = min(products, int((budget.seconds - spent - setup) / max(product, 1e-9)))
    products = max(products, 0) if steps else 0
    return MeasurementPlan(
        budget=budget,
        products=products,
        seconds=spent + setup + products * product,
        product_seconds=product,
        setup_seconds=setup,
        graph_bytes=found.graph_bytes,
        basis_bytes=vector * min(found.operator.shape[0], max(2 * steps, _LEAST_VECTORS)),
        steps=steps,
        free_bytes=free,
        retained=retained,
        piece=found.samples,
        samples=part.samples,
    )
