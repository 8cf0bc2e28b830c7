"""Ten tables, every estimator untuned: cross-validated error and seconds per fit.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/tables.py

The six tables that ship with scikit-learn and four `make_*` problems with fixed seeds. Every estimator stands behind a
StandardScaler, with the parameters below and no others. Regression: root mean squared error in units of the
standard deviation of the target, averaged over the targets; classification: share of errors. Five shuffled folds, three
times on tables below 200 samples. Seconds are CPU seconds of one fit, on one thread, averaged over the folds.
`--ratios` instead shows the error of the variation estimators along alpha_ratio, which is how the default was settled.
"""

import argparse
import os
import platform
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import sklearn
from sklearn import datasets
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import steppe
from steppe.solvers import VariationClassifier, VariationRegressor, VariationRegressorCV

Table = tuple[str, bool, Any, Any]  # name, whether labels, X, y
RATIOS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.01, 0.005)


def tables() -> list[Table]:
    bundled = [
        ("diabetes", False, *datasets.load_diabetes(return_X_y=True)),
        ("linnerud", False, *datasets.load_linnerud(return_X_y=True)),
        ("iris", True, *datasets.load_iris(return_X_y=True)),
        ("wine", True, *datasets.load_wine(return_X_y=True)),
        ("breast_cancer", True, *datasets.load_breast_cancer(return_X_y=True)),
        ("digits", True, *datasets.load_digits(return_X_y=True)),
    ]
    made = [
        ("make_friedman1", False, *datasets.make_friedman1(300, 10, noise=1.0, random_state=0)),
        ("make_regression", False, *datasets.make_regression(200, 20, n_informative=8, noise=20.0, random_state=0)),
        ("make_moons", True, *datasets.make_moons(300, noise=0.3, random_state=0)),
        (
            "make_classification",
            True,
            *datasets.make_classification(400, 10, n_informative=5, n_classes=3, random_state=0),
        ),
    ]
    return bundled + made


class KernelRidgeLabels(ClassifierMixin, BaseEstimator):
    """Kernel ridge on indicators of the classes; the largest output wins."""

    def __init__(self, gamma: float | None = None):
        self.gamma = gamma

    def fit(self, X, y):
        """One indicator per class."""
        self.classes_ = np.unique(y)
        self._ridge = KernelRidge(kernel="rbf", gamma=self.gamma).fit(X, 1.0 * (y[:, None] == self.classes_))
        return self

    def predict(self, X):
        """The class of the largest output."""
        return self.classes_[self._ridge.predict(X).argmax(axis=1)]


def standardised(model: Any) -> TransformedTargetRegressor:
    return TransformedTargetRegressor(model, transformer=StandardScaler())


def regressors(d: int, outputs: int) -> dict[str, Any]:
    kernel = ConstantKernel() * RBF(d**0.5) + WhiteKernel()
    boosting = HistGradientBoostingRegressor(random_state=0)
    return {
        "steppe": VariationRegressor(),
        "steppe CV": VariationRegressorCV(),
        "MLP": MLPRegressor(random_state=0),
        "MLP, y standardised": standardised(MLPRegressor(random_state=0)),
        "hist. boosting": MultiOutputRegressor(boosting) if outputs > 1 else boosting,
        "random forest": RandomForestRegressor(random_state=0),
        "Gaussian process": GaussianProcessRegressor(kernel, normalize_y=True),
        "kernel ridge": standardised(KernelRidge(kernel="rbf")),
        "ridge": Ridge(),
    }


def classifiers(d: int, n: int) -> dict[str, Any]:
    optimizer = "fmin_l_bfgs_b" if n < 1000 else None  # hours on digits otherwise
    return {
        "steppe": VariationClassifier(),
        "MLP": MLPClassifier(random_state=0),
        "hist. boosting": HistGradientBoostingClassifier(random_state=0),
        "random forest": RandomForestClassifier(random_state=0),
        "Gaussian process": GaussianProcessClassifier(ConstantKernel() * RBF(d**0.5), optimizer=optimizer),
        "kernel ridge": KernelRidgeLabels(),
        "ridge": RidgeClassifier(),
    }


def folds(X, y, labels: bool) -> list[Any]:
    repeats = 3 if len(X) < 200 else 1
    kind = RepeatedStratifiedKFold if labels else RepeatedKFold
    return list(kind(n_splits=5, n_repeats=repeats, random_state=0).split(X, y))


def judged(table: Table, model: Any) -> tuple[float, float]:
    """Cross-validated error and CPU seconds per fit."""
    _, labels, X, y = table
    errors, seconds = [], []
    for train, test in folds(X, y, labels):
        pipe = make_pipeline(StandardScaler(), sklearn.clone(model))
        began = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # untuned networks do not converge in 200 epochs, and say so
            pipe.fit(X[train], y[train])
        seconds.append(time.process_time() - began)
        predicted = pipe.predict(X[test])
        if labels:
            errors.append(np.mean(predicted != y[test]))
        else:
            errors.append(np.mean(np.square((predicted - y[test]) / y.std(axis=0))))
    error = float(np.mean(errors))
    return (error if labels else error**0.5), float(np.mean(seconds))


def models_of(table: Table) -> dict[str, Any]:
    _, labels, X, y = table
    return classifiers(X.shape[1], len(X)) if labels else regressors(X.shape[1], y.size // len(y))


def row(table: Table, without: list[str], say: Callable[[str], Any]) -> dict[str, tuple[float, float]]:
    found = {}
    for name, model in models_of(table).items():
        if name in without:
            continue
        found[name] = judged(table, model)
        say(f"{table[0]:>20} {name:>20} {found[name][0]:.4f} {found[name][1]:8.3f} s")
    return found


def show(rows: dict[str, dict[str, tuple[float, float]]], sizes: dict[str, str]) -> None:
    names = list(dict.fromkeys(name for found in rows.values() for name in found))
    print(f"\n| table (n × d) | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for table, found in rows.items():
        least = min(error for error, _ in found.values())
        cells = []
        for name in names:
            if name not in found:
                cells.append("")
                continue
            error, seconds = found[name]
            cells.append(
                f"{'**' if error == least else ''}{error:.3f}{'**' if error == least else ''}, {seconds:.2g} s"
            )
        print(f"| {table} ({sizes[table]}) | {' | '.join(cells)} |")
    wins = sum(found["steppe"][0] <= found["MLP"][0] for found in rows.values())
    print(f"\nsteppe at least as good as the untuned MLP: {wins} of {len(rows)}")


def show_ratios(chosen: list[Table]) -> None:
    print(f"\n| table | {' | '.join(f'{ratio:g}' for ratio in RATIOS)} | MLP |")
    print("|---" * (len(RATIOS) + 2) + "|")
    for table in chosen:
        kind = VariationClassifier if table[1] else VariationRegressor
        found = [judged(table, kind(alpha_ratio=ratio)) for ratio in RATIOS]
        mlp = judged(table, models_of(table)["MLP"])
        cells = " | ".join(f"{error:.3f}, {seconds:.2g} s" for error, seconds in [*found, mlp])
        print(f"| {table[0]} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="names of tables")
    parser.add_argument("--without", nargs="*", default=[], help="names of models to leave out")
    parser.add_argument("--ratios", action="store_true", help="errors along alpha_ratio instead")
    options = parser.parse_args()
    chosen = [table for table in tables() if not options.only or table[0] in options.only]
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, 1 thread; Python {platform.python_version()}, "
        f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}, steppe {steppe.__version__}"
    )
    if options.ratios:
        show_ratios(chosen)
        return
    rows = {table[0]: row(table, options.without, lambda text: print(text, flush=True)) for table in chosen}
    show(rows, {table[0]: f"{table[2].shape[0]} × {table[2].shape[1]}" for table in chosen})


if __name__ == "__main__":
    main()
