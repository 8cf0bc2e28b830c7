"""The penalty chosen by cross-validation along a warm path on which every point is certified."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn import get_config
from sklearn.model_selection import check_cv
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.parallel import Parallel, delayed

from steppe.core import KindError, ParameterError, check_number

from .fitting import FitOptions, fit_path, largest_alpha, path_outputs, reference_alpha
from .regressor import MAX_ITER, VariationRegressor
from .tables import Merged, merged

RATIOS = (0.7, 0.5, 0.3, 0.2, 0.1, 0.05)
_FOLD_TOL = 1e-2  # of a path on a fold: below the noise of a validation error


class VariationRegressorCV(VariationRegressor):
    """`VariationRegressor` with the penalty chosen by cross-validation: the one to start with.

    On every fold the problem is solved along a path of falling penalties, each solution starting from the one before.
    The penalty with the least mean squared error on the held-out samples, averaged over the folds, is taken, and the
    path to it on all data is solved to `tol`, every point with its certificate.

    Args:
        alpha_ratios: Shares of α_max of all data, each in (0, 1]; sorted from large to small.
        cv: Number of folds, a splitter, or splits, as everywhere in scikit-learn; None is 5 folds, not shuffled.
        bias: `"free"` leaves thresholds b out of the norm, `"penalized"` takes ‖(w_k, b_k)‖.
        skip: Whether the affine part cᵀx + β is free; must be True with a free bias.
        tol: Relative duality gap at which to stop on all data; paths on folds stop at 1e-2 or `tol` if larger.
        max_iter: Rounds of the solver per point; a `ConvergenceWarning` tells the gap reached at the chosen one.
        time_budget: Seconds for the path on all data and as many for the folds together; what comes back then depends
            on the machine and is not reproducible. None for no limit.
        random_state: Seed of the searches; None is a fixed one, so that fits are reproducible.
        n_jobs: Folds solved at the same time, as everywhere in scikit-learn.

    Attributes:
        alpha_ratio_: The share chosen; at the end of the grid a wider grid may do better.
        alpha_: The weight chosen.
        alphas_: The weights tried, falling.
        mse_path_: Mean squared error on the held-out samples [alphas, folds].
        path_: The certificates on all data from the largest weight to the chosen one.
        network_: The network, a `ShallowReLU`.
        objective_: The objective reached on all data.
        dual_gap_: Objective minus dual value.
        alpha_max_: The least weight at which the optimum needs no neuron.
        certificate_: The certificate of the network, on all data; cross-validation chose α, which it does not certify.
        neurons_: A table of the neurons.
        n_iter_: Rounds of the solver at the chosen weight.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the input had some.
    """

    def __init__(
        self,
        alpha_ratios: Sequence[float] = RATIOS,
        *,
        cv: Any = None,
        bias: str = "free",
        skip: bool = True,
        tol: float = 1e-4,
        max_iter: int = MAX_ITER,
        time_budget: float | None = None,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.alpha_ratios = alpha_ratios
        self.cv = cv
        self.bias = bias
        self.skip = skip
        self.tol = tol
        self.max_iter = max_iter
        self.time_budget = time_budget
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any, sample_weight: Any = None, **params: Any) -> "VariationRegressorCV":
        """Choose the penalty and find the optimum and its certificate.

        Args:
            X: Inputs [n, d]: an array, or a pandas or Polars data frame.
            y: Targets [n] or [n, c].
            sample_weight: Weights ≥ 0 of the samples, in the fits and in the held-out errors.
            params: Metadata for the splitter, such as `groups`, with scikit-learn's metadata routing enabled.

        Raises:
            ParameterError: A parameter is out of range.
            DataError: A weight is negative, or all are zero.
            KindError: Metadata without metadata routing.
        """
        options, ratios = self._common_options("squared"), self._ratios()
        routed = self._routed(sample_weight, params)
        X, y, weights = self._checked(X, y, sample_weight)
        folds = list(check_cv(self.cv).split(X, y, **routed))
        table = merged(X, y, weights)
        limit = largest_alpha(options, table)
        self.alphas_ = ratios * reference_alpha(limit, table)
        quick = options.shared_by(len(folds)).unproved(max(_FOLD_TOL, options.tol))
        errors = Parallel(n_jobs=self.n_jobs)(
            delayed(_held_out_errors)(quick, X, y, weights, train, test, self.alphas_) for train, test in folds
        )
        self.mse_path_ = np.column_stack(errors)
        best = int(np.argmin(self.mse_path_.mean(axis=1)))
        self.alpha_ratio_ = float(ratios[best])
        fitted = fit_path(options, table, (X, y, weights), self.alphas_[: best + 1], limit)
        self.path_ = [one.certificate for one in fitted]
        self._keep(fitted[-1])
        return self

    def get_metadata_routing(self) -> MetadataRouter:
        """Who asks for which metadata: this estimator for itself, and its splitter in `split`."""
        mapping = MethodMapping().add(caller="fit", callee="split")
        return MetadataRouter(owner=self).add_self_request(self).add(splitter=check_cv(self.cv), method_mapping=mapping)

    def _routed(self, sample_weight: Any, params: dict[str, Any]) -> dict[str, Any]:
        if not get_config()["enable_metadata_routing"]:
            if params:
                raise KindError(
                    f"`fit` got {', '.join(sorted(params))}, which reaches the splitter only with metadata routing; "
                    "call sklearn.set_config(enable_metadata_routing=True), or pass the splits as `cv`"
                )
            return {}
        if sample_weight is not None:
            params = {**params, "sample_weight": sample_weight}
        return dict(process_routing(self, "fit", **params).splitter.split)

    def _ratios(self) -> Float[np.ndarray, " r"]:
        try:
            given = [float(ratio) for ratio in self.alpha_ratios]
        except TypeError as error:
            raise KindError(
                f"`alpha_ratios` must be a sequence of numbers, got {type(self.alpha_ratios).__name__}; pass a list"
            ) from error
        if not given:
            raise ParameterError("`alpha_ratios` needs at least one share of alpha_max, got none; pass some")
        for ratio in given:
            check_number("alpha_ratios", ratio, above=0.0, maximum=1.0)
        return np.array(sorted(set(given), reverse=True))


def _held_out_errors(
    options: FitOptions,
    X: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "n *c"],
    weights: Float[np.ndarray, " n"] | None,
    train: Any,
    test: Any,
    alphas: Float[np.ndarray, " r"],
) -> Float[np.ndarray, " r"]:
    """Mean squared error on the held-out rows at every alpha, weighted, averaged over the outputs."""
    inside = None if weights is None else weights[train]
    table: Merged = merged(X[train], y[train], inside)
    outputs = path_outputs(options, table, alphas, X[test])
    outside = None if weights is None else weights[test]
    if outside is not None and not outside.any():
        outside = None  # held-out samples of weight zero still tell something; the mean of all is taken
    squares = [np.square(f - y[test]).reshape(len(test), -1).mean(axis=1) for f in outputs]
    return np.array([np.average(one, weights=outside) for one in squares])
