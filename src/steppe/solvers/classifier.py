"""Classification by certified shallow ReLU networks, as a scikit-learn estimator."""

from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Float
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d, validate_data

from steppe.core import DataError
from steppe.networks import ShallowReLU

from .class_certificates import ClassCertificates
from .estimators import VariationEstimator
from .fitting import Fitted, fit_rows, largest_alpha, reference_alpha
from .neurons import Neurons
from .regressor import MAX_ITER
from .tables import checked_weights, merged


class VariationClassifier(ClassifierMixin, VariationEstimator):  # type: ignore[misc]  # scikit-learn has no annotations
    """The shallow ReLU network of least mean logistic loss plus variation norm, with a certificate.

    Two classes: minimises (1/n) Σ log(1 + exp(−y f(x))) + α Σ_k |v_k| ‖(w_k, b_k)‖, y = ±1, over networks of any width.
    Several classes: one such problem per class against the rest, all with one α; each is certified, and the sum of the
    gaps bounds the sum of the objectives. Probabilities are 1/(1 + exp(−f)), divided by their sum if there are
    several classes. Columns are not scaled; put a `StandardScaler` before it unless all columns share one unit.

    Args:
        alpha: Weight α > 0 of the norm; None takes `alpha_ratio` · α_max, with the largest α_max of the classes.
        alpha_ratio: Share of α_max, used if `alpha` is None.
        bias: `"penalized"` takes the norm ‖(w_k, b_k)‖, `"free"` leaves thresholds b out and needs `skip=True`.
        skip: Whether an affine part is free. On classes that an affine function separates there is then no minimizer,
            and the fit is refused.
        tol: Relative duality gap at which to stop.
        max_iter: Rounds of the solver per class; a `ConvergenceWarning` tells the gap reached.
        time_budget: Seconds after which to return the best answer, with a weaker certificate; what it returns then
            depends on the machine and is not reproducible. None for no limit.
        random_state: Seed of the searches; None is a fixed one, so that fits are reproducible.

    Attributes:
        classes_: The labels, sorted.
        network_: The network: one output for two classes (positive for `classes_[1]`), else one per class.
        objective_: The objective reached, summed over the classes against the rest.
        dual_gap_: Objective minus dual value: no networks of any width have an objective more than this lower.
        alpha_: The α used.
        alpha_max_: The least α at which the optimum needs no neuron.
        certificate_: A `Certificate`, or `ClassCertificates` for several classes.
        neurons_: A table of the neurons.
        n_iter_: Rounds of the solver, of the class that took most.
        n_features_in_: Number of features.
        feature_names_in_: Their names, if the input had some.
    """

    def __init__(
        self,
        alpha: float | None = None,
        *,
        alpha_ratio: float = 0.01,
        bias: str = "penalized",
        skip: bool = False,
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

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "VariationClassifier":
        """Find the optimum of every class against the rest and its certificate.

        Args:
            X: Inputs [n, d]: an array, or a pandas or Polars data frame.
            y: Labels [n], at least two different ones.
            sample_weight: Weights ≥ 0 of the samples; only their ratios count.

        Raises:
            ParameterError: A parameter is out of range.
            DataError: One class only, bad weights, or a free affine part that separates the classes.
        """
        options = self._options("logistic")
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weights = checked_weights(sample_weight, len(X))
        self._learn_classes(y if weights is None else y[weights > 0])
        if weights is not None:  # samples without weight may be of a class that is not there
            X, y, weights = X[weights > 0], y[weights > 0], weights[weights > 0]
        signs = self._targets(y)
        self._look_at(X, 1, solves=signs.shape[1])
        tables = [merged(X, column, weights) for column in signs.T]
        limits = [largest_alpha(options, table) for table in tables]
        limit = max(limits)
        alpha = self.alpha_ratio * reference_alpha(limit, tables[0]) if self.alpha is None else float(self.alpha)
        options = options.shared_by(len(tables))
        parts = zip(tables, signs.T, limits, strict=True)
        self._keep([fit_rows(options, table, (X, column, weights), alpha, own) for table, column, own in parts], limit)
        return self

    def decision_function(self, X: Any) -> Float[np.ndarray, "n *c"]:
        """The outputs of the network: [n] for two classes, positive for `classes_[1]`, else [n, c].

        Args:
            X: Inputs on the scale of the fit.
        """
        f = self.predict_outputs(X)
        return f[:, 0] if f.shape[1] == 1 else f

    def predict(self, X: Any) -> Any:
        """The label of the largest output.

        Args:
            X: Inputs on the scale of the fit.
        """
        f = self.decision_function(X)
        return self.classes_[(f > 0).astype(int) if f.ndim == 1 else f.argmax(axis=1)]

    def predict_proba(self, X: Any) -> Float[np.ndarray, "n c"]:
        """Probabilities [n, c] in the order of `classes_`; not calibrated beyond the logistic loss.

        Args:
            X: Inputs on the scale of the fit.
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> Float[np.ndarray, "n c"]:
        """Logarithms of the probabilities, without underflow.

        Args:
            X: Inputs on the scale of the fit.
        """
        f = self.decision_function(X)
        if f.ndim == 1:
            return -np.logaddexp(0.0, np.column_stack([f, -f]))
        logarithm = -np.logaddexp(0.0, -f)
        return logarithm - np.logaddexp.reduce(logarithm, axis=1, keepdims=True)

    def _learn_classes(self, y: Any) -> None:
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise DataError(
                f"`y` must hold at least two classes, got one class, {self.classes_[0]!r}; add samples of another class"
            )

    def _targets(self, y: Any) -> Float[np.ndarray, "n c"]:
        """1 in the column of the sample's class, −1 elsewhere; one column for two classes."""
        labels = column_or_1d(y)
        if not np.isin(labels, self.classes_).all():
            raise DataError("`y` must hold labels seen at fit, got others; pass the labels of the fit")
        columns = self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        return np.where(labels[:, None] == columns, 1.0, -1.0)

    def _keep(self, parts: list[Fitted], limit: float) -> None:
        networks = [part.solution.network(part.problem) for part in parts]
        single = len(parts) == 1
        self.network_ = networks[0] if single else side_by_side(networks)
        certificates = tuple(part.certificate for part in parts)
        self.certificate_ = certificates[0] if single else ClassCertificates(tuple(self.classes_), certificates)
        self.objective_, self.dual_gap_ = self.certificate_.primal, self.certificate_.gap
        self.alpha_, self.alpha_max_ = parts[0].problem.alpha, limit
        outputs = () if single else [str(label) for label in self.classes_]
        self.neurons_ = Neurons.of(self.network_, parts[0].problem.X, self._names(), outputs)
        self.n_iter_ = max(part.iterations for part in parts)
        worst = max(parts, key=lambda part: 0.0 if part.converged else part.certificate.relative_gap)
        self._warn_unless_converged(
            converged=all(part.converged for part in parts),
            gap=worst.certificate.gap,
            primal=worst.certificate.primal,
            reason=worst.reason,
        )


def side_by_side(networks: list[ShallowReLU]) -> ShallowReLU:
    """One network whose outputs are those of several networks of one output, neurons not shared.

    Args:
        networks: Networks on the same inputs.
    """
    w, b, beta = (np.concatenate([_numbers(p) for p in values]) for values in zip(*map(_inner, networks), strict=True))
    v = scipy.linalg.block_diag(*(_numbers(network.v) for network in networks))
    skips = [_numbers(network.skip) for network in networks if network.skip is not None]
    return ShallowReLU.from_weights(w, b, v, beta, np.concatenate(skips) if skips else None)


def _inner(network: ShallowReLU) -> tuple[Any, Any, Any]:
    return network.w, network.b, network.output_bias


def _numbers(parameter: Any) -> Float[np.ndarray, "..."]:
    return np.asarray(parameter.detach().cpu().numpy())
