"""Escape experiments: does gradient descent leave a minimizer that is too sharp for its step, and when?"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from steppe.core import check_number, refuse_unknown_keywords
from steppe.networks import DeepLinear

from .escape_descent import Escape, descend
from .escape_landscapes import DeepLinearLandscape, ModelLandscape

_KEYWORDS = ["data", "scale", "start", "radius", "steps", "log_every"]


def escape_experiment(
    layers: DeepLinear | Sequence[Tensor],
    factors: Sequence[float],
    *,
    data: Float[Tensor, "n d"] | None = None,
    scale: float = 1.0,
    start: float = 1e-9,
    radius: float = 1e-3,
    steps: int = 20_000,
    log_every: int | None = None,
    **unknown: Any,
) -> Escape:
    """Gradient descent on scale · ‖T − W_L ⋯ W_1 X‖_F² from next to the minimizer `layers`, once per factor.

    The target is what the layers compute, T = W X, so that they are a global minimizer. Its sharpness S is known in
    closed form; a run with factor c takes the step c/S, starts at distance `start` along the top eigenvector and is
    linearly stable iff c ≤ 2. For c > 2 it escapes, however near it starts, after about
    ln(radius/start)/ln(c − 1) updates; then it settles where step · sharpness ≤ 2, if there is such a minimizer.

    The plane of the result is spanned by the top eigenvector and the drift: the direction in the kernel of the Hessian
    (eigenvalue 0, the smallest) along which the sharpness falls fastest.

    Args:
        layers: W_1 first; a network or matrices, taken exactly into float64 on the CPU.
        factors: Values c = step · sharpness, above 0.
        data: Inputs X, one row per sample; None means X = I. Only XᵀX matters.
        scale: Factor of the loss; 1/(2n) makes it the mean of ½ squared errors.
        start: Distance from the minimizer at the start.
        radius: Distance from the minimizer that counts as escape.
        steps: Updates of a run, unless before it diverges or settles: comes a hundred times nearer to a minimizer than
            it started.
        log_every: Period of the records; None records the first 200 updates and 200 later ones.
        **unknown: Refused.

    Returns:
        The runs with their predictions; it prints one line per run.

    Raises:
        KindError: The wrong kind of object, or a keyword that is not known.
        ShapeError: There are fewer than two layers, they do not multiply, or the data do not fit.
        DataError: Layers or data are not finite, there is no factor, or the Hessian vanishes.
        ParameterError: A number is out of range.

    Cost: per update two products of L matrices for each run; for the drift one diagonalisation of size
    d_L · min(n, d_0).

    Example:
        >>> layers = [torch.tensor([[0.83]], dtype=torch.float64), torch.tensor([[1 / 0.83]], dtype=torch.float64)]
        >>> found = escape_experiment(layers, [1.9, 2.1])
        >>> [run.escape_step for run in found.runs]
        [None, 145]
    """
    refuse_unknown_keywords("escape_experiment", unknown, _KEYWORDS)
    network = layers if isinstance(layers, DeepLinear) else DeepLinear.from_layers(layers)
    landscape = DeepLinearLandscape(network, data, check_number("scale", scale, above=0.0))
    return descend(landscape, factors, start=start, radius=radius, steps=steps, log_every=log_every)


def escape_from(
    model: nn.Module,
    loss: Any,
    data: Any,
    factors: Sequence[float],
    *,
    start: float = 1e-9,
    radius: float = 1e-3,
    steps: int = 20_000,
    log_every: int | None = None,
) -> Escape:
    """`escape_experiment` for any model in float64 that has been trained to a minimizer.

    Sharpness and eigenvector come from Lanczos iterations, gradients from autograd; the drift is the direction along
    which the sharpness falls fastest, orthogonal to the top eigenvector. What theory says is exact for quadratics
    only: with ReLU it holds while no neuron switches within the radius.

    Args:
        model: A module, left as found; all parameters take part.
        loss: `loss(outputs, targets) -> scalar`.
        data: One batch (x, y).
        factors: As in `escape_experiment`.
        start: Likewise; updates at the model's own parameters must be shorter than a tenth of it.
        radius: Likewise.
        steps: Likewise.
        log_every: Likewise.

    Raises:
        KindError: Model or data are of another kind.
        DtypeError: The parameters are not float64.
        ParameterError: A number is out of range, or the model is not at a minimizer.
        DataError: There is no factor, or the largest eigenvalue is not positive.

    Cost: a gradient per update and run; a few dozen Hessian products for the eigenvector and for each settled run.
    """
    landscape = ModelLandscape(model, loss, data)
    return descend(landscape, factors, start=start, radius=radius, steps=steps, log_every=log_every)
