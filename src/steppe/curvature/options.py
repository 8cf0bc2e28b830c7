"""What every quantity asks about the problem: parameters, weights of batches, objective, memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from steppe.core import refuse_unknown_keywords


class ProblemOptions(TypedDict, total=False):
    """Keywords that every quantity takes beside (model, loss, data).

    Args:
        parameters: Which parameters are the variables: a name or glob such as `"layers.*.weight"`, a list of these,
            or None for all that require a gradient. Names are those of `model.named_parameters()`; the others are
            held fixed.
        weight: Of a batch: `"samples"` (default), `"tokens"` (labels other than −100; default where the model computes
            its own loss from `labels`) or a callable of the batch.
        objective: `objective(model, batch) -> scalar`, with loss None, for anything that a loss cannot say.
        memory: Bytes that retained graphs may take; what does not fit is rebuilt at every product. None is half of
            what is free.
    """

    parameters: str | Sequence[str] | None
    weight: Any
    objective: Callable[..., Any] | None
    memory: int | None


OPTIONS = tuple(ProblemOptions.__annotations__)


def refuse_unknown_options(function: str, options: Mapping[str, Any], *own: str) -> None:
    """Raise a helpful error if `options` holds more than the options of the problem.

    Args:
        function: Who was called.
        options: The keywords that were caught.
        *own: The other keywords of that function, to be suggested.

    Raises:
        KindError: A keyword is not known; the message names the value and the keyword to use instead.
    """
    unknown = {name: value for name, value in options.items() if name not in OPTIONS}
    refuse_unknown_keywords(function, unknown, [*own, *OPTIONS])
