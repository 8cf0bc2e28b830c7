"""The trace of an operator from random probes, with an honest error."""

import math
import time
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from steppe.core import Estimate, KindError, ParameterError, check_choice, check_integer, check_number, generator

from .krylov import KrylovBasis, check_finite
from .operators import SymmetricOperator
from .pace import Pace, Progress
from .probes import Probes, mean_and_error

_PROBES = 100
_PILOT = 10  # probes that decide on deflation and are then thrown away
_FIRST = 24  # probes whose spread fixes how many follow
_BLOCK = 5  # Lanczos steps between two looks at the pilot's spread
_DEEPEST = 60  # largest dimension that is deflated
_PRODUCTS = 10_000
_OVERLAP = 1.3  # the leave-one-out estimates of XTrace share probes: seen errors are up to 1.25 times their spread

TraceMethod = Literal["auto", "hutchinson", "deflated", "hutch++", "xtrace"]


def stochastic_trace(
    operator: SymmetricOperator,
    *,
    rtol: float | None = None,
    probes: int | None = None,
    method: TraceMethod = "auto",
    seed: int = 0,
    max_products: int | None = None,
    budget: float | None = None,
    progress: Progress = False,
) -> Estimate:
    """The trace by random probes z with independent signs: E zᵀAz = tr A.

    * `"hutchinson"`: the mean of zᵀAz; its variance is 2 Σ_{i≠j} A_ij² per probe.
    * `"deflated"`: a Krylov basis Q takes the large eigenvalues out; tr QᵀAQ is exact and probes see (I−QQᵀ)A(I−QQᵀ)
      only. Ten pilot probes are measured against the growing basis without further products, and it grows for as long
      as that saves more probes than it costs. They are then thrown away, so that the choice biases nothing.
    * `"hutch++"`: a third of the products each for a random sketch, its projection, and probes of the rest.
    * `"xtrace"`: the exchangeable form of it, for a fixed number of products; its error is 1.3 times
      what the spread of the leave-one-out estimates says, because these overlap: a rule of thumb.
    * `"auto"`: `"deflated"` with a tolerance, `"hutchinson"` without.

    With `rtol`, the number of probes follows from the spread of the first 24 (Stein's two stages, aiming at 0.9
    rtol), and a third more are drawn once the error is small enough: stopping at the first moment at which it happens
    to look small would understate it.

    Args:
        operator: The operator.
        rtol: Relative standard error to reach; None for a fixed number of products.
        probes: Number of products without `rtol`, ≥ 2; 100 if None.
        method: See above.
        seed: Seed of the probes (purpose `curvature.probe`) and of the start of Q (`linalg.start`).
        max_products: Products allowed, 10 000 if None.
        budget: Seconds allowed, None for any number.
        progress: True for a bar on stderr, or a callable (products done, expected, text).

    Returns:
        The estimate; `error_kind` is "standard error". For few probes the error is widened so that value ± 1.96 errors
        is the 95 % interval of Student's t.

    Raises:
        KindError: It is not an operator.
        ParameterError: A number is out of range, or `rtol` and `probes` are both given.
        ComputationError: A product is not finite.

    Cost: as said; memory for Q (at most 60 vectors, a third or half of the products for the sketches) and one product.
    References: Hutchinson 1990; Meyer, Musco, Musco & Woodruff 2021 (Hutch++); Epperly, Tropp & Webber 2024 (XTrace);
    Stein 1945 (all recalled).
    """
    if not isinstance(operator, SymmetricOperator):
        raise KindError(f"`operator` must be a SymmetricOperator, got {type(operator).__name__}; wrap its product")
    check_choice("method", method, ["auto", "hutchinson", "deflated", "hutch++", "xtrace"])
    rtol = None if rtol is None else check_number("rtol", rtol, above=0.0)
    if rtol is not None and probes is not None:
        raise ParameterError("`probes` must be None where `rtol` is given, got both; drop one")
    if rtol is not None and method in ("hutch++", "xtrace"):
        raise ParameterError(f"`rtol` must be None for `{method}`, whose products are fixed beforehand; pass probes=…")
    least = {"hutch++": 6, "xtrace": 4, "deflated": 8}.get(method, 2)
    number = check_integer("probes", _PROBES if probes is None else probes, minimum=least)
    limit = check_integer("max_products", _PRODUCTS if max_products is None else max_products, minimum=2)
    began, before = time.perf_counter(), operator.products
    if method == "auto":
        method = "hutchinson" if rtol is None else "deflated"
    with Pace(budget, progress, total=None if rtol else number, max_products=limit, agree=operator.agree) as pace:
        if method == "hutch++":
            found = _hutch_plus_plus(operator, number, seed, pace)
        elif method == "xtrace":
            found = _xtrace(operator, number, seed, pace)
        else:
            found = _by_probes(operator, rtol, number, seed, pace, deflate=method == "deflated")
    return replace(
        found,
        error_kind="standard error",
        products=operator.products - before,
        seconds=time.perf_counter() - began,
        backend=operator.backend,
        convention=operator.convention,
        quantity="trace",
    )


def _by_probes(
    operator: SymmetricOperator, rtol: float | None, number: int, seed: int, pace: Pace, *, deflate: bool
) -> Estimate:
    """Plain or deflated probes."""
    probes = Probes(operator, seed)
    basis, known = None, 0.0
    if deflate:
        basis, known = _deflation(operator, probes, rtol, number, seed, pace)
    if rtol is None:
        samples = probes.samples(number - pace.done, pace, away=basis)
    else:
        samples = _enough(probes, basis, known, rtol, pace)
    if len(samples) < 2:
        return Estimate(value=math.nan, converged=False, reason=pace.over or "no product is left for probes")
    mean, error = mean_and_error(samples)
    met = error <= rtol * abs(mean + known) if rtol is not None else pace.done >= number
    words = f"{len(samples)} probes"
    if basis is not None and len(basis):
        words += f", {len(basis)} directions taken out exactly"
    reason = words if met else f"{pace.over or 'too few products'}; {words}"
    return Estimate(value=mean + known, error=error, converged=met, reason=reason)


def _enough(probes: Probes, basis: Tensor | None, known: float, rtol: float, pace: Pace) -> list[float]:
    """Samples until the standard error is small, and a third more.

    Without these a run would end just when its spread looks small by luck, and its interval would be too short.
    """
    samples = probes.samples(_FIRST, pace, away=basis)
    confirmed = False
    while len(samples) >= _FIRST and not pace.over:
        mean, error = mean_and_error(samples)
        aim = rtol * abs(mean + known)
        if error == 0.0 or (error <= aim and confirmed):
            break
        more = len(samples) // 3
        if error > aim:
            wanted = math.ceil(len(samples) * (error / (0.9 * aim)) ** 2) if aim > 0 else 2 * len(samples)
            # A fivefold step at most: an early underestimate of the trace must not order millions of probes.
            more = min(max(wanted - len(samples), 4), 4 * len(samples))
        confirmed = confirmed or error <= aim
        pace.expect(pace.done + more)
        samples += probes.samples(more, pace, away=basis)
    return samples


def _deflation(
    operator: SymmetricOperator, probes: Probes, rtol: float | None, number: int, seed: int, pace: Pace
) -> tuple[Float[Tensor, "j p"] | None, float]:
    """A basis that is worth its products, and the trace on it; a third of a fixed number without a tolerance."""
    pilot = _Pilot(operator, probes, pace) if rtol is not None else None
    rng = generator("linalg.start", seed)
    start = torch.randn(1, operator.shape[0], generator=rng, dtype=torch.float64).to(operator.device)
    most = min(_DEEPEST, operator.shape[0] - 1, (pace.left or 0) // 2, number // 3 if rtol is None else _DEEPEST)
    krylov = KrylovBasis(operator, start, rng, keep=4)
    krylov.capacity = max(most, krylov.capacity)
    wanted = pilot.wanted(rtol) if pilot is not None and rtol is not None else math.inf
    best = 0
    while wanted > _FIRST and krylov.size < most and not pace.over:
        for _ in range(min(_BLOCK, most - krylov.size)):
            krylov.step()
            pace.advance(1, "deflation")
            if not krylov.advance():
                most = krylov.size
                break
        best = krylov.size
        if pilot is not None and rtol is not None:
            pilot.see(krylov)
            before, wanted = wanted, pilot.wanted(rtol)
            # The pilot's own noise is large: only a clear loss ends the growth, and what was spent is used.
            if before - wanted < _BLOCK and wanted < 2 * krylov.size:
                break
    return krylov.basis[:best], float(krylov.projection.trace())


class _Pilot:
    """A few plain samples, from which those of any deflated operator follow without products."""

    def __init__(self, operator: SymmetricOperator, probes: Probes, pace: Pace) -> None:
        self.plain = torch.tensor(probes.samples(_PILOT, pace), dtype=torch.float64)
        self.probes, self.known, self.now = probes, 0.0, self.plain
        self.shares = torch.zeros(0, len(self.plain), dtype=torch.float64)

    def see(self, krylov: KrylovBasis) -> None:
        """Samples of (I−QQᵀ)A(I−QQᵀ) for the basis Q as it is now."""
        vectors = [self.probes.vector(i) for i in range(len(self.plain))]
        new = krylov.basis[len(self.shares) :]
        self.shares = torch.cat([self.shares, torch.stack([new @ z for z in vectors], dim=1).cpu()])
        # (z−Qc)ᵀA(z−Qc) = zᵀAz − 2 cᵀ(AQ)ᵀz + cᵀHc with c = Qᵀz and AQ = QH + what sticks out.
        h, outlets = krylov.projection.cpu(), krylov.outlets.cpu()
        out = torch.stack([krylov.remainders @ z for z in vectors], dim=1).cpu()
        inside = (self.shares * (h @ self.shares)).sum(dim=0)
        self.now = self.plain - 2 * (inside + (self.shares * (outlets @ out)).sum(dim=0)) + inside
        self.known = float(h.trace())

    def wanted(self, rtol: float) -> float:
        """Probes that these samples say are needed."""
        if len(self.now) < 2:
            return 0.0
        mean = float(self.now.mean()) + self.known
        return (float(self.now.std()) / max(rtol * abs(mean), 1e-300)) ** 2


def _hutch_plus_plus(operator: SymmetricOperator, number: int, seed: int, pace: Pace) -> Estimate:
    """Hutch++: sketch, projection, and probes of the rest."""
    third = min(number // 3, operator.shape[0])
    probes = Probes(operator, seed)
    q = torch.linalg.qr(torch.stack([_image(operator, probes.vector(i), pace) for i in range(third)], dim=1))[0]
    known = sum(float(column @ _image(operator, column, pace)) for column in q.T)
    probes.next = third
    samples = probes.samples(number - 2 * third, pace, away=q.T)
    if len(samples) < 2:
        return Estimate(value=math.nan, converged=False, reason=pace.over)
    mean, error = mean_and_error(samples)
    enough = len(samples) == number - 2 * third
    reason = f"Hutch++ with {third} directions and {len(samples)} probes"
    return Estimate(value=known + mean, error=error, converged=enough, reason=reason if enough else pace.over)


def _xtrace(operator: SymmetricOperator, number: int, seed: int, pace: Pace) -> Estimate:
    """XTrace: every probe in turn is left out of the sketch and tested against it."""
    p, n = operator.shape[0], min(number // 2, operator.shape[0])
    probes = Probes(operator, seed)
    omega = torch.stack([probes.vector(i) for i in range(n)], dim=1)
    image = torch.stack([_image(operator, column, pace) for column in omega.T], dim=1)
    q, r = torch.linalg.qr(image)
    h = q.T @ torch.stack([_image(operator, column, pace) for column in q.T], dim=1)
    h = 0.5 * (h + h.T)
    # Unit vectors, in coordinates of Q, orthogonal to all columns of R but one.
    s = torch.linalg.pinv(r).T
    s = s / s.norm(dim=0).clamp(min=1e-300)
    w = q.T @ omega
    x = w - s * (s * w).sum(dim=0)
    rest = (w * r).sum(dim=0) - 2 * (x * r).sum(dim=0) + (x * (h @ x)).sum(dim=0)
    # The part of a probe that is left, rescaled to the length that it has on average.
    scale = (p - n + 1) / (p - x.square().sum(dim=0)).clamp(min=1e-12 * p)
    single = h.trace() - (s * (h @ s)).sum(dim=0) + rest * scale
    mean, error = mean_and_error(single.tolist())
    return Estimate(value=mean, error=_OVERLAP * error, reason=f"XTrace with {n} probes")


def _image(operator: SymmetricOperator, vector: Float[Tensor, " p"], pace: Pace) -> Float[Tensor, " p"]:
    image = operator @ vector.to(operator.dtype)
    check_finite(image)
    pace.advance(1, "trace")
    return image.to(torch.float64)
