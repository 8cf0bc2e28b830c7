"""Degenerate tables: the right answer or a clear error, never a crash or a false certificate."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from steppe.core import InputError
from steppe.solvers import VariationClassifier, VariationRegressor, VariationRegressorCV
from steppe.solvers.tables import merged

FEW = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
WAYS = [{"bias": "free", "skip": True}, {"bias": "penalized", "skip": True}, {"bias": "penalized", "skip": False}]


def certified(model, X, y, weights=None):
    """Fit; whatever the answer, it is finite, certified and no worse than the free part alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y, sample_weight=weights)
    assert np.isfinite(model.predict(X) if not hasattr(model, "classes_") else model.decision_function(X)).all()
    assert np.isfinite([model.objective_, model.dual_gap_, model.alpha_]).all()
    assert model.dual_gap_ >= 0
    assert model.certificate_.relative_gap <= 1e-3
    assert model.verify(X, y, sample_weight=weights)
    return model


@st.composite
def degenerate(draw):
    """A small table in which rows, columns and targets repeat, depend on each other or do not vary."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    n, d = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    kinds = draw(st.sets(st.sampled_from(["rows", "collinear", "constant", "zero", "grid", "labels", "rank"])))
    if "grid" in kinds:
        X = np.round(X)
    if "collinear" in kinds:
        X[:, -1] = 2 * X[:, 0]
    if "constant" in kinds:
        X[:, 0] = 3.0
    if "zero" in kinds:
        X[:, -1] = 0.0
    if "rank" in kinds:
        X = np.outer(X[:, 0], rng.normal(size=d))
    if "labels" in kinds:
        y[:] = 1.5
    if "rows" in kinds:
        chosen = rng.integers(0, n, n)
        X, y = X[chosen], y[chosen] if draw(st.booleans()) else y
    return X, y


@given(data=degenerate(), way=st.sampled_from(WAYS), ratio=st.sampled_from([1e-3, 0.1, 0.9, 1.0, 2.0]))
@FEW
def test_any_small_table_is_fitted_with_a_certificate(data, way, ratio):
    X, y = data
    model = certified(VariationRegressor(alpha_ratio=ratio, **way), X, y)
    null = np.mean(np.square(y - y.mean() * way["skip"])) / 2
    assert model.objective_ <= null * (1 + 1e-9) + 1e-300


@pytest.mark.slow
@given(data=degenerate(), way=st.sampled_from(WAYS), power=st.sampled_from([-150, -60, -8, 8, 60, 150]))
@FEW
def test_scaling_a_table_scales_the_answer(data, way, power):
    X, y = data
    scale = 2.0 ** round(power * np.log2(10))
    for model, inputs, targets in [
        (VariationRegressor(alpha_ratio=0.1, **way), 1.0, scale),
        (VariationRegressor(alpha_ratio=0.1), scale, 1.0),
    ]:
        large = certified(model, inputs * X, targets * y).predict(inputs * X)
        usual = certified(VariationRegressor(**model.get_params()), X, y).predict(X)
        assert np.allclose(large / targets, usual, atol=0.02 * max(1.0, np.abs(y).max()))


@given(data=degenerate(), seed=st.integers(0, 99))
@FEW
def test_merging_rows_keeps_every_weighted_mean(data, seed):
    X, y = data
    weights = np.random.default_rng(seed).integers(0, 3, len(X)).astype(float)
    weights[0] += 1.0
    table = merged(X, y, weights)
    rows = np.column_stack([table.X, table.y])
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert table.weights.sum() == weights.sum()
    for function in (lambda a, b: b, lambda a, b: a.sum(axis=1) * b, lambda a, b: np.abs(a).max(axis=1)):
        assert np.isclose(table.weights @ function(table.X, table.y), weights @ function(X, y), atol=1e-12)


@given(data=degenerate(), seed=st.integers(0, 99))
@FEW
def test_the_order_of_rows_changes_no_bit(data, seed):
    X, y = data
    order = np.random.default_rng(seed).permutation(len(X))
    first = certified(VariationRegressor(alpha_ratio=0.1), X, y)
    second = certified(VariationRegressor(alpha_ratio=0.1), X[order], y[order])
    assert np.array_equal(first.predict(X), second.predict(X))


@given(data=degenerate(), classes=st.integers(1, 3), way=st.sampled_from(WAYS))
@FEW
def test_any_small_table_is_classified_or_refused(data, classes, way):
    X, y = data
    labels = np.argsort(np.argsort(y, kind="stable")) % classes
    model = VariationClassifier(alpha_ratio=0.1, **way)
    if len(np.unique(labels)) == 1:
        with pytest.raises(InputError, match="one class"):
            model.fit(X, labels)
        return
    try:
        certified(model, X, labels)
    except InputError as error:
        if "separable" not in str(error) or not way["skip"]:
            raise


def test_constant_targets_are_their_constant():
    X = np.random.default_rng(0).normal(size=(20, 3))
    for way in WAYS[:2]:
        model = certified(VariationRegressor(**way), X, np.full(20, 7.0))
        assert np.allclose(model.predict(X), 7.0)
        assert len(model.neurons_) == 0
        assert model.objective_ == pytest.approx(0.0, abs=1e-20)


def test_one_sample_is_fitted_exactly_by_the_free_part():
    model = certified(VariationRegressor(), np.array([[1.0, 2.0]]), np.array([3.0]))
    assert model.predict([[1.0, 2.0]]) == pytest.approx([3.0])


def test_more_features_than_samples_leave_nothing_to_neurons():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 20)), rng.normal(size=8)
    model = certified(VariationRegressor(), X, y)
    assert np.allclose(model.predict(X), y)
    penalized = certified(VariationRegressor(bias="penalized", skip=False), X, y)
    assert len(penalized.neurons_) > 0


def test_contradicting_rows_are_fitted_by_their_mean():
    X, y = np.repeat([[0.0], [1.0], [2.0]], 2, axis=0), np.array([0.0, 2.0, 5.0, 7.0, 1.0, 1.0])
    model = certified(VariationRegressor(alpha=1e-6), X, y)
    assert np.allclose(model.predict([[0.0], [1.0], [2.0]]), [1.0, 6.0, 1.0], atol=1e-3)


@pytest.mark.parametrize("kind", [VariationRegressor, VariationRegressorCV, VariationClassifier])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_missing_and_infinite_entries_are_refused(kind, bad):
    X, y = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 2
    X[3, 1] = bad
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        kind().fit(X, y)


def test_missing_targets_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        VariationRegressor().fit(np.zeros((3, 1)), [0.0, np.nan, 1.0])


def test_one_class_left_by_weights_is_refused():
    X, y = np.random.default_rng(0).normal(size=(12, 2)), np.arange(12) % 2
    with pytest.raises(InputError, match="one class"):
        VariationClassifier().fit(X, y, sample_weight=y.astype(float))


def test_a_class_without_weight_is_left_out():
    X, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 3
    weights = np.where(y == 2, 0.0, 1.0)
    model = VariationClassifier(alpha_ratio=0.1).fit(X, y, sample_weight=weights)
    assert list(model.classes_) == [0, 1]
    assert model.verify(X, y, sample_weight=weights)


def test_a_tiny_alpha_interpolates_and_a_huge_one_is_affine():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(15, 1)), rng.normal(size=15)
    tiny = certified(VariationRegressor(alpha=1e-9), X, y)
    assert np.allclose(tiny.predict(X), y, atol=1e-4)
    huge = certified(VariationRegressor(alpha=1e6), X, y)
    assert len(huge.neurons_) == 0
