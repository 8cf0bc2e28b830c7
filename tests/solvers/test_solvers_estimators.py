"""The estimators: scikit-learn's contract, pipelines, data frames, weights, warnings and certificates."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_friedman1
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from steppe.core import DataError, InputError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.solvers import ClassCertificates, VariationClassifier, VariationRegressor, VariationRegressorCV

QUICK = {"alpha_ratios": (0.5, 0.3)}


def table(n=40, d=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, np.abs(X[:, 0]) + 0.5 * X[:, 1] + 0.1 * rng.normal(size=n)


def labels(n=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return X, np.where(np.hypot(*X.T) + 0.2 * rng.normal(size=n) < 1.1, "in", "out")


# The checks take tables whose columns differ in scale and labels without any pattern: warnings are the right answer.
@pytest.mark.slow
@pytest.mark.door
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.filterwarnings("ignore:the columns have different scales:UserWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([VariationRegressor(), VariationClassifier(), VariationRegressorCV((0.5, 0.2), cv=3)])
def test_scikit_learn_finds_no_fault(estimator, check):
    check(estimator)


def test_a_fit_stores_network_objective_gap_and_certificate():
    X, y = table()
    model = VariationRegressor().fit(X, y)
    f = model.predict(X)
    penalty = sum(
        float(np.linalg.norm(w) * abs(v))
        for w, v in zip(model.network_.w.detach().numpy(), model.network_.v.detach().numpy()[0], strict=True)
    )
    assert model.objective_ == pytest.approx(0.5 * np.mean((y - f) ** 2) + model.alpha_ * penalty, rel=1e-9)
    assert model.alpha_ == pytest.approx(0.1 * model.alpha_max_)
    assert 0 <= model.dual_gap_ <= 1e-4 * model.objective_
    assert model.certificate_.gap == model.dual_gap_
    assert len(model.neurons_) <= model.network_.width
    assert model.n_iter_ >= 1


def test_nothing_beats_the_fit_along_random_directions():
    X, y = table()
    model = VariationRegressor(alpha=0.02).fit(X, y)
    state = [p.detach().numpy() for p in model.network_.parameters()]
    rng = np.random.default_rng(0)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(30):
            w, b, v, beta, skip = (p + size * rng.normal(size=p.shape) for p in state)
            f = np.maximum(X @ w.T - b, 0) @ v[0] + beta + X @ skip[0]
            value = 0.5 * np.mean((y - f) ** 2) + 0.02 * (np.linalg.norm(w, axis=1) @ np.abs(v[0]))
            assert value >= model.objective_ - model.dual_gap_


def test_a_penalty_beyond_alpha_max_gives_least_squares():
    X, y = table()
    model = VariationRegressor(alpha_ratio=1.5).fit(X, y)
    S = np.column_stack([X, np.ones(len(X))])
    assert np.allclose(model.predict(X), S @ np.linalg.lstsq(S, y, rcond=None)[0])
    assert len(model.neurons_) == 0
    assert len(VariationRegressor(alpha_ratio=0.9).fit(X, y).neurons_) > 0


def test_the_order_of_the_rows_does_not_matter_and_a_weight_is_a_repetition_bit_for_bit():
    X, y = table(40)
    counts = np.random.default_rng(1).integers(0, 3, 40)
    weighted = VariationRegressor().fit(X, y, sample_weight=counts)
    order = np.random.default_rng(2).permutation(int(counts.sum()))
    repeated = VariationRegressor().fit(np.repeat(X, counts, axis=0)[order], np.repeat(y, counts)[order])
    assert np.array_equal(weighted.predict(X), repeated.predict(X))
    assert weighted.verify(X, y, sample_weight=counts)
    assert repeated.verify(np.repeat(X, counts, axis=0)[order], np.repeat(y, counts)[order])


def test_the_certificate_is_verified_on_the_users_rows_and_refused_on_others():
    X, y = table()
    model = VariationRegressor().fit(X, y)
    assert model.verify(X, y)
    wrong = y.copy()
    wrong[3] += 1.0
    assert not model.verify(X, wrong)


def test_verify_on_data_of_another_scale_asks_for_the_transformed_ones():
    X, y = load_diabetes(return_X_y=True, scaled=False, as_frame=True)
    X, y = X[["age", "bmi"]].iloc[:40], y.iloc[:40]
    pipe = make_pipeline(StandardScaler(), VariationRegressor(alpha_ratio=0.3)).fit(X, y)
    assert pipe[-1].verify(pipe[:-1].transform(X), y)
    with pytest.warns(UserWarning, match="did you mean the transformed X"):
        assert not pipe[-1].verify(X.to_numpy(), y)


def test_data_frames_of_pandas_and_polars_give_names_and_equal_fits():
    X, y = table()
    names = ["age", "bmi"]
    array = VariationRegressor().fit(X, y)
    assert not hasattr(array, "feature_names_in_")
    assert array.neurons_.names == ("x0", "x1")
    for frame, target in [
        (pd.DataFrame(X, columns=names), pd.Series(y)),
        (pl.DataFrame(X, schema=names), pl.Series(y)),
    ]:
        model = VariationRegressor().fit(frame, target)
        assert list(model.feature_names_in_) == names
        assert np.array_equal(model.predict(frame), array.predict(X))
        assert any(name in model.neurons_.direction(0) for name in names)
        assert model.verify(frame, target)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.select(["bmi", "age"]))


def test_labels_of_polars_and_strings_come_back():
    X, y = labels()
    model = VariationClassifier().fit(pl.DataFrame(X, schema=["a", "b"]), pl.Series(y))
    assert set(model.predict(pl.DataFrame(X, schema=["a", "b"]))) == {"in", "out"}


def test_float32_and_column_targets_are_taken():
    X, y = table(40)
    with pytest.warns(DataConversionWarning):
        model = VariationRegressor(alpha_ratio=0.1).fit(X.astype(np.float32), y[:, None])
    assert model.predict(X).shape == (40,)
    assert np.allclose(model.predict(X), VariationRegressor(alpha_ratio=0.1).fit(X, y).predict(X), atol=1e-3)


def test_several_targets_share_their_neurons():
    X, y = table()
    model = VariationRegressor(alpha_ratio=0.1).fit(X, np.column_stack([y, 2 * y, -y]))
    assert model.predict(X).shape == (40, 3)
    assert model.neurons_.coefficients.shape[1] == 3
    single = VariationRegressor(alpha_ratio=0.1).fit(X, y)
    assert np.allclose(model.predict(X)[:, 0], single.predict(X), atol=0.05)
    assert model.verify(X, np.column_stack([y, 2 * y, -y]))


def test_random_state_none_is_reproducible():
    X, y = table()
    assert np.array_equal(VariationRegressor().fit(X, y).predict(X), VariationRegressor().fit(X, y).predict(X))
    assert np.allclose(
        VariationRegressor(random_state=1).fit(X, y).predict(X),
        VariationRegressor(random_state=2).fit(X, y).predict(X),
        atol=0.05,
    )


def test_columns_far_apart_warn_once_with_the_remedy():
    X, y = table(40)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        VariationRegressor(alpha_ratio=0.5).fit(X * [1, 100], y)
    told = [str(warning.message) for warning in caught if "different scales" in str(warning.message)]
    assert len(told) == 1
    assert "x1" in told[0]
    assert "StandardScaler" in told[0]


def test_a_constant_column_is_no_different_scale():
    X, y = table(40)
    VariationRegressor(alpha_ratio=0.3).fit(np.column_stack([X, np.full(40, 1e6)]), y)


def test_too_few_rounds_warn_with_the_gap_reached_and_still_certify():
    X, y = table(60, 4)
    with pytest.warns(ConvergenceWarning, match=r"relative duality gap is .* above tol=1e-10"):
        model = VariationRegressor(max_iter=1, tol=1e-10).fit(X, y)
    assert model.dual_gap_ > 0
    assert model.verify(X, y)


def test_a_time_budget_returns_the_best_answer_with_a_certificate():
    X, y = make_friedman1(150, 5, random_state=0)
    with pytest.warns(ConvergenceWarning, match="duality gap"):
        model = VariationRegressor(alpha_ratio=1e-2, tol=1e-9, time_budget=0.3).fit(X, y)
    assert model.dual_gap_ < model.objective_
    assert model.score(X, y) > 0.5


def test_a_fit_of_many_minutes_says_so_first():
    X = np.random.default_rng(0).normal(size=(50_000, 60))
    with pytest.raises(UserWarning, match=r"predicted to take about .*time_budget"):
        VariationRegressor().fit(X, X[:, 0])  # warnings are errors here, so that it stops where it says so


def test_two_classes_are_told_apart_with_probabilities():
    X, y = labels()
    model = VariationClassifier().fit(X, y)
    assert list(model.classes_) == ["in", "out"]
    assert model.score(X, y) > 0.9
    assert model.decision_function(X).shape == (60,)
    assert np.allclose(model.predict_proba(X)[:, 1], 1 / (1 + np.exp(-model.decision_function(X))))
    f = model.decision_function(X) * np.where(y == "out", 1, -1)
    w, b, v = (p.detach().numpy() for p in (model.network_.w, model.network_.b, model.network_.v))
    penalty = np.hypot(np.linalg.norm(w, axis=1), b) @ np.abs(v[0])
    assert model.objective_ == pytest.approx(np.mean(np.log1p(np.exp(-f))) + model.alpha_ * penalty)
    assert model.verify(X, y)
    assert not model.verify(X, np.where(y == "in", "out", "in"))


def test_several_classes_are_certified_one_against_the_rest(tmp_path):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X[:, 2:])
    model = VariationClassifier(alpha_ratio=0.05).fit(X, y)
    assert model.score(X, y) > 0.9
    assert model.predict_proba(X).sum(axis=1) == pytest.approx(1)
    assert isinstance(model.certificate_, ClassCertificates)
    assert len(model.certificate_) == 3
    assert model.dual_gap_ == pytest.approx(sum(one.gap for one in model.certificate_))
    assert model.verify(X, y)
    assert not model.verify(X, np.roll(y, 1))
    alone = VariationClassifier(alpha=model.alpha_).fit(X, y == 1)
    assert alone.objective_ == pytest.approx(model.certificate_[1].primal, rel=1e-3)
    assert [path.name for path in model.certificate_.save(tmp_path / "iris.json")] == [
        "iris-0.json", "iris-1.json", "iris-2.json",
    ]  # fmt: skip
    assert model.certificate_.sentence().startswith("0 against the rest:")


def test_a_free_skip_on_separable_classes_is_refused_with_the_remedy():
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X[:, 2:])
    with pytest.raises(DataError, match=r'separable .*bias="penalized" and skip=False'):
        VariationClassifier(bias="free", skip=True).fit(X[:100], y[:100])
    X, y = labels()
    assert VariationClassifier(bias="free", skip=True, alpha_ratio=0.3).fit(X, y).score(X, y) > 0.8


def test_cross_validation_chooses_along_a_certified_path():
    X, y = table(45)
    model = VariationRegressorCV((0.5, 0.2, 0.1), cv=3).fit(X, y)
    assert model.mse_path_.shape == (3, 3)
    best = int(model.mse_path_.mean(axis=1).argmin())
    assert model.alpha_ == pytest.approx(model.alphas_[best])
    assert model.alpha_ratio_ == (0.5, 0.2, 0.1)[best]
    assert len(model.path_) == best + 1
    assert all(one.relative_gap <= 1e-4 for one in model.path_)
    assert np.allclose(model.predict(X), VariationRegressor(alpha=model.alpha_).fit(X, y).predict(X), atol=0.05)
    assert model.verify(X, y)


def test_held_out_errors_are_those_of_fits_on_the_folds():
    X, y = table(45)
    folds = KFold(3)
    model = VariationRegressorCV((0.5, 0.2), cv=folds).fit(X, y)
    train, test = next(iter(folds.split(X)))
    alone = VariationRegressor(alpha=model.alphas_[1]).fit(X[train], y[train])
    assert model.mse_path_[1, 0] == pytest.approx(np.mean((alone.predict(X[test]) - y[test]) ** 2), rel=0.05)


def test_groups_reach_the_splitter_by_metadata_routing():
    X, y = table(40)
    groups = np.arange(40) // 10
    with pytest.raises(KindError, match="metadata routing"):
        VariationRegressorCV(**QUICK, cv=GroupKFold(2)).fit(X, y, groups=groups)
    with sklearn.config_context(enable_metadata_routing=True):
        model = VariationRegressorCV(**QUICK, cv=GroupKFold(2)).set_fit_request(sample_weight=True)
        model.fit(X, y, sample_weight=np.ones(40), groups=groups)
        pipe = make_pipeline(StandardScaler(), clone(model))
        pipe.fit(X, y, groups=groups)
    splits = list(GroupKFold(2).split(X, y, groups))
    assert np.array_equal(model.mse_path_, VariationRegressorCV(**QUICK, cv=splits).fit(X, y).mse_path_)


def test_sample_weights_are_routed_by_a_search():
    X, y = table(40)
    with sklearn.config_context(enable_metadata_routing=True):
        model = VariationRegressor().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"alpha_ratio": [0.3, 0.1]}, cv=2)
        search.fit(X, y, sample_weight=np.arange(40) + 1.0)
    assert search.best_params_["alpha_ratio"] in (0.3, 0.1)


def test_pipelines_clones_and_scores_work_together():
    X, y = table(45)
    pipe = make_pipeline(StandardScaler(), VariationRegressor(alpha_ratio=0.05))
    assert cross_val_score(clone(pipe), X, y, cv=3).mean() > 0.8
    assert pipe.set_params(variationregressor__alpha_ratio=0.2)[-1].alpha_ratio == 0.2


@pytest.mark.door
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"alpha": 0.0}, ParameterError),
        ({"alpha": -1.0}, ParameterError),
        ({"alpha": "much"}, KindError),
        ({"alpha_ratio": 0.0}, ParameterError),
        ({"bias": "none"}, UnknownNameError),
        ({"skip": "yes"}, KindError),
        ({"skip": False}, ParameterError),
        ({"tol": 0.0}, ParameterError),
        ({"tol": 1.0}, ParameterError),
        ({"max_iter": 0}, ParameterError),
        ({"max_iter": 1.5}, KindError),
        ({"time_budget": 0.0}, ParameterError),
    ],
)
def test_parameters_out_of_range_are_refused_at_fit_and_stored_before(change, error):
    model = VariationRegressor(**change)
    assert model.get_params()[next(iter(change))] == next(iter(change.values()))
    with pytest.raises(error, match=f"`{next(iter(change))}`"):
        model.fit(*table(20))


@pytest.mark.door
@pytest.mark.parametrize("ratios", [(), (0.0,), (2.0,), 0.1, "abc"])
def test_ratios_out_of_range_are_refused(ratios):
    with pytest.raises((InputError, KindError, ValueError)):
        VariationRegressorCV(ratios).fit(*table(20))


@pytest.mark.parametrize(
    ("weights", "error"), [(np.ones(3), ShapeError), (-np.ones(20), DataError), (np.full(20, np.nan), DataError)]
)
def test_bad_weights_are_refused(weights, error):
    with pytest.raises(error, match="sample_weight"):
        VariationRegressor().fit(*table(20), sample_weight=weights)


def test_nothing_is_predicted_or_verified_before_the_fit():
    X, y = table(20)
    for call in (
        lambda m: m.predict(X), lambda m: m.verify(X, y), lambda m: m.plot_neurons(),
    ):  # fmt: skip
        with pytest.raises(NotFittedError):
            call(VariationRegressor())
