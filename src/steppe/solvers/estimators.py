"""What the estimators share: parameters checked at fit, warnings, prediction, the certificate and the neurons."""

import math
import warnings
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from steppe.core import KindError, ParameterError, check_choice, check_integer, check_number, duration
from steppe.networks import ShallowReLU
from steppe.plotting import Figure

from .fits import FitName
from .fitting import FitOptions, predicted_seconds
from .neurons import Neurons
from .tables import checked_weights, warn_if_apart

_PATIENCE = 600.0  # seconds; a fit predicted to take longer says so first


class VariationEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """Base of the three estimators; not for use by itself."""

    network_: ShallowReLU
    certificate_: Any
    neurons_: Neurons

    def predict_outputs(self, X: Any) -> Float[np.ndarray, "n c"]:
        """The outputs f(x) of the network, one column each.

        Args:
            X: Inputs on the scale of the fit.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        network = self.network_
        w, b, v, beta = (
            p.detach().cpu().double().numpy() for p in (network.w, network.b, network.v, network.output_bias)
        )
        f = np.maximum(X @ w.T - b, 0.0) @ v.T + beta
        if network.skip is not None:
            f += X @ network.skip.detach().cpu().double().numpy().T
        return np.asarray(f)

    def verify(self, X: Any, y: Any, sample_weight: Any = None) -> bool:
        """Whether the certificate holds on these data: primal, dual feasibility and gap are computed anew.

        Args:
            X: The inputs of the fit, in the same order and on the same scale.
            y: The targets of the fit.
            sample_weight: The weights of the fit.

        Warns:
            DataScaleWarning: `X` has another scale than at fit: did you mean the transformed X? In a pipeline that is
                `pipe[-1].verify(pipe[:-1].transform(X), y)`. The answer is then False.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        weights = checked_weights(sample_weight, len(X))
        targets = self._targets(np.asarray(y) if weights is None else np.asarray(y)[weights > 0])
        if weights is not None:
            X, weights = X[weights > 0], weights[weights > 0]
        if targets.ndim == 2 and targets.shape[1] == 1:
            targets = targets[:, 0]
        return bool(self.certificate_.verify(X, targets, sample_weight=weights))

    def plot_neurons(self) -> Figure:
        """The neurons as a figure: how large and how often active, and their directions by feature."""
        check_is_fitted(self)
        return self.neurons_.plot()

    def _targets(self, y: Any) -> Any:
        raise NotImplementedError

    def _options(self, fit: FitName) -> FitOptions:
        """The parameters of the constructor, checked."""
        if self.alpha is not None and check_number("alpha", self.alpha, minimum=0.0) == 0:
            raise ParameterError(
                "`alpha` must be > 0, got 0: without a penalty every interpolating network is an optimum and there is "
                "nothing to certify; pass a small alpha, or alpha=None with alpha_ratio=1e-4"
            )
        check_number("alpha_ratio", self.alpha_ratio, above=0.0)
        return self._common_options(fit)

    def _common_options(self, fit: FitName) -> FitOptions:
        check_choice("bias", self.bias, ["free", "penalized"])
        if not isinstance(self.skip, bool | np.bool_):
            raise KindError(f"`skip` must be True or False, got {self.skip!r}; pass a bool")
        if self.bias == "free" and not self.skip:
            raise ParameterError(
                '`skip` must be True with bias="free", got False: neurons far away are affine and cost no '
                'less, so the affine part must be free as well; pass skip=True, or bias="penalized"'
            )
        check_number("tol", self.tol, above=0.0, below=1.0)
        check_integer("max_iter", self.max_iter, minimum=1)
        if self.time_budget is not None:
            check_number("time_budget", self.time_budget, above=0.0)
        seed = 0  # None is a fixed seed: a fit is reproducible unless asked otherwise
        if self.random_state is not None:
            seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        return FitOptions(
            fit=fit,
            bias=self.bias,
            skip=bool(self.skip),
            tol=float(self.tol),
            max_iter=int(self.max_iter),
            budget=self.time_budget,
            seed=seed,
        )

    def _names(self) -> tuple[str, ...]:
        given = getattr(self, "feature_names_in_", None)
        return tuple(f"x{j}" for j in range(self.n_features_in_)) if given is None else tuple(map(str, given))

    def _look_at(self, X: Float[np.ndarray, "n d"], outputs: int, *, solves: int = 1) -> None:
        """Warn of columns far apart and of a long fit."""
        warn_if_apart(X, self._names())
        seconds = solves * predicted_seconds(len(X), X.shape[1], outputs)
        if seconds > _PATIENCE and (self.time_budget is None or self.time_budget > _PATIENCE):
            warnings.warn(
                f"this fit is predicted to take about {duration(seconds)} ({len(X)} samples, {X.shape[1]} features); "
                "pass time_budget=… for the best answer by then, a larger alpha_ratio or tol, or fewer samples",
                UserWarning,
                stacklevel=3,
            )

    def _warn_unless_converged(self, *, converged: bool, gap: float, primal: float, reason: str) -> None:
        if converged:
            return
        reached = gap / primal if primal > 0 else math.inf
        warnings.warn(
            f"the relative duality gap is {reached:.2g}, above tol={self.tol:g} ({reason or 'max_iter was reached'}): "
            f"the objective {primal:.6g} is at most {gap:.3g} above its optimum as far as the certificate says. Raise "
            f"max_iter (now {self.max_iter}), tol or alpha_ratio",
            ConvergenceWarning,
            stacklevel=4,
        )
