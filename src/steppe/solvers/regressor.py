"""Regression by certified shallow ReLU networks, as a scikit-learn estimator."""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import column_or_1d, validate_data

from steppe.core import DataError

from .estimators import VariationEstimator
from .fitting import Fitted, fit_rows, largest_alpha, reference_alpha
from .neurons import Neurons
from .tables import checked_weights, merged

MAX_ITER = 200


class VariationRegressor(RegressorMixin, MultiOutputMixin, VariationEstimator):  # type: ignore[misc]  # no annotations
    """The shallow ReLU network of least ½ mean squared error plus variation norm, with a certificate.

    Minimises (1/2n) Σ (y − f(x))² + α Σ_k |v_k| ‖w_k‖ over f(x) = Σ_k v_k max(w_kᵀx − b_k, 0) + cᵀx + β of any width:
    the global optimum of training with weight decay. The objective is on the scale of scikit-learn's `Lasso`. Columns
    are not scaled; put a `StandardScaler` before it unless all columns share one unit. The fit does not depend on the
    order of the rows, and a weight of two is a sample twice. Several targets share their neurons (Σ_k ‖v_k‖₂ ‖w_k‖).

    Args:
        alpha: Weight α > 0 of the norm; None takes `alpha_ratio` · α_max, where α_max is the least weight at which
            the optimum is affine (constant or zero without skip). Not tuned: `VariationRegressorCV` chooses it.
        alpha_ratio: Share of α_max, used if `alpha` is None.
        bias: `"free"` leaves thresholds b out of the norm, `"penalized"` takes ‖(w_k, b_k)‖.
        skip: Whether the affine part cᵀx + β is free; must be True with a free bias.
        tol: Relative duality gap at which to stop.
        max_iter: Rounds of the solver; a `ConvergenceWarning` tells the gap reached.
        time_budget: Seconds after which to return the best answer, with a weaker certificate; what it returns then
            depends on the machine and is not reproducible. None for no limit.
        random_state: Seed of the searches; None is a fixed one, so that fits are reproducible.

    Attributes:
        network_: The network, a `ShallowReLU`.
        objective_: The objective reached.
        dual_gap_: Objective minus dual value: no network of any width has an objective more than this lower.
        alpha_: The α used.
        alpha_max_: α_max of these data.
        certificate_: What a stranger needs to verify that; its `kind` says how far the dual value is proved.
        neurons_: A table of the neurons.
        n_iter_: Rounds of the solver.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the input had some.

    Example:
        >>> model = VariationRegressor(alpha=0.01).fit([[0.0], [1.0], [2.0], [3.0]], [0.0, 0.0, 1.0, 2.0])
        >>> model.network_.width, model.verify([[0.0], [1.0], [2.0], [3.0]], [0.0, 0.0, 1.0, 2.0])
        (1, True)
    """

    def __init__(
        self,
        alpha: float | None = None,
        *,
        alpha_ratio: float = 0.1,
        bias: str = "free",
        skip: bool = True,
        tol: float = 1e-4,
        max_iter: int = MAX_ITER,
        time_budget: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.alpha_ratio = alpha_ratio
        self.bias = bias
        self.skip = skip
        self.tol = tol
        self.max_iter = max_iter
        self.time_budget = time_budget
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "VariationRegressor":
        """Find the optimum and its certificate.

        Args:
            X: Inputs [n, d]: an array, or a pandas or Polars data frame.
            y: Targets [n] or [n, c].
            sample_weight: Weights ≥ 0 of the samples; only their ratios count.

        Raises:
            ParameterError: A parameter is out of range.
            DataError: A weight is negative, or all are zero.
        """
        options = self._options("squared")
        X, y, weights = self._checked(X, y, sample_weight)
        table = merged(X, y, weights)
        limit = largest_alpha(options, table)
        alpha = self.alpha_ratio * reference_alpha(limit, table) if self.alpha is None else float(self.alpha)
        self._keep(fit_rows(options, table, (X, y, weights), alpha, limit))
        return self

    def predict(self, X: Any) -> Float[np.ndarray, "n *c"]:
        """f(x) of every row, [n] or [n, c].

        Args:
            X: Inputs on the scale of the fit.
        """
        f = self.predict_outputs(X)
        return f[:, 0] if self._single else f

    def _checked(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        weights = checked_weights(sample_weight, len(X))
        y = self._targets(y)
        self._single = y.ndim == 1
        self._look_at(X, 1 if self._single else y.shape[1])
        return X, y, weights

    def _targets(self, y: Any) -> Float[np.ndarray, "n *c"]:
        y = np.asarray(y, dtype=np.float64)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not np.isfinite(y).all():
            raise DataError("`y` must be finite, got NaN or infinity; drop those samples")
        return y

    def _keep(self, fitted: Fitted) -> None:
        certificate = fitted.certificate
        self.network_ = fitted.solution.network(fitted.problem)
        self.objective_ = certificate.primal
        self.dual_gap_ = certificate.gap
        self.alpha_ = fitted.problem.alpha
        self.alpha_max_ = fitted.alpha_max
        self.certificate_ = certificate
        outputs = () if self._single else tuple(f"y{j}" for j in range(fitted.problem.outputs))
        self.neurons_ = Neurons.of(self.network_, fitted.problem.X, self._names(), outputs)
        self.n_iter_ = fitted.iterations
        self._warn_unless_converged(
            converged=fitted.converged, gap=certificate.gap, primal=certificate.primal, reason=fitted.reason
        )
