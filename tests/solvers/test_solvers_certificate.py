"""Certificates: what they say, what confirms them, and that nothing false is confirmed."""

import copy
import dataclasses
import json
import math

import cvxpy
import numpy as np
import pytest
from attacks import DATA, DOCUMENT, attack, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from steppe.core import InputError, ParameterError
from steppe.solvers import Certificate, HuberFit, Maximum, Solution, VariationProblem, certify
from steppe.solvers.branching import bounded_maximum
from steppe.solvers.certificate_files import document
from steppe.solvers.exact_check import largest_correlation
from steppe.solvers.search_check import searched_correlation
from steppe.solvers.solve import solve
from steppe.solvers.verification import DataScaleWarning


def table(n, d, seed=0, fit="squared"):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    y = np.maximum(X.sum(axis=1) - 0.3, 0.0) - np.abs(X[:, 0]) + 0.3 * rng.normal(size=n)
    return X, (np.where(y > np.median(y), 1.0, -1.0) if fit == "logistic" else y)


def exactly(problem, solution):
    """The exact certificate of a solution, by the faces alone."""
    rho = problem.rho(problem.evaluate(solution))
    value = largest_correlation(problem.X, rho, bias=problem.bias)
    nothing = np.zeros((0, problem.d + 1))
    return certify(problem, solution, Maximum(value, np.zeros(problem.d + 1), value, "exact", nothing))


def zero(problem):
    """The best fit without neurons."""
    shape = problem.y.shape[1:]
    beta = problem.affine_start() if problem.skip else None
    return Solution(np.zeros((0, problem.d + 1)), np.zeros((0, *shape)), beta)


CASES = {
    "line": (40, 1, {"alpha": 0.01}),
    "plane": (30, 2, {"alpha": 0.02, "bias": "penalized", "skip": False}),
    "free bias": (25, 2, {"alpha": 0.02}),
    "logistic": (30, 2, {"alpha": 0.01, "bias": "penalized", "skip": False, "fit": "logistic"}),
    "huber": (25, 1, {"alpha": 0.01, "fit": HuberFit(0.3)}),
    "bound": (25, 3, {"alpha": 0.05, "bias": "penalized", "skip": False}),
    "search": (25, 5, {"alpha": 0.05, "bias": "penalized", "skip": False}),
}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    n, d, options = CASES[request.param]
    X, y = table(n, d, fit=options.get("fit", "squared"))
    problem = VariationProblem(X, y, **options)
    solution = solve(problem, tol=1e-7).solution
    if request.param == "bound":
        rho = problem.rho(problem.evaluate(solution))
        maximum = bounded_maximum(problem, rho, target=problem.alpha * (1 + 1e-5), max_cones=100_000)
        certificate = certify(problem, solution, maximum)
        assert certificate.kind == "bound"
    elif request.param == "search":
        value = largest = problem.alpha  # stands for the oracle: at the optimum M(ρ) = α
        found = searched_correlation(
            X,
            problem.rho(problem.evaluate(solution))[:, None],
            bias="penalized",
            rng=np.random.default_rng(1),
            known=solution.u,
        )
        value = max(largest, found)
        certificate = certify(problem, solution, Maximum(value, solution.u[0], value, "heuristic", solution.u[:0]))
    else:
        certificate = exactly(problem, solution)
    return certificate, X, y


def test_a_certificate_holds_on_its_data_and_after_a_file(case, tmp_path):
    certificate, X, y = case
    answer = certificate.check(X, y)
    assert answer, str(answer)
    assert 0 <= certificate.relative_gap <= certificate.claim < 2e-4
    path = tmp_path / "certificate.json"
    certificate.save(path)
    again = Certificate.load(path)
    assert document(again) == document(certificate)
    assert again.verify(X.tolist(), y.tolist())


def test_sentences_differ_by_what_was_proved(case):
    certificate, _, _ = case
    sentence = certificate.sentence()
    assert sentence.startswith("No ReLU network of any width")
    assert ("this is no proof" in sentence) == (certificate.kind == "heuristic")
    assert ("was found" in sentence) == (certificate.kind == "heuristic")
    worse = dataclasses.replace(certificate, claim=0.0123)
    assert "1.3 % lower" in worse.sentence()
    assert "Nothing is known" in dataclasses.replace(certificate, claim=1.0).sentence()


@pytest.mark.parametrize("seed", range(len(DOCUMENT + DATA)))
def test_attacks_are_refused(case, seed, tmp_path):
    certificate, X, y = case
    name, was_refused = attack(seed, document(certificate), X, y, tmp_path)
    assert was_refused, name


@pytest.mark.slow
def test_a_thousand_attacks_are_refused(case, tmp_path):
    certificate, X, y = case
    accepted = [
        (seed, name)
        for seed in range(1000)
        for name, was_refused in [attack(seed, document(certificate), X, y, tmp_path)]
        if not was_refused
    ]
    assert accepted == []


@pytest.mark.parametrize("seed", range(5))
def test_edits_of_the_file_are_seen_without_any_mathematics(case, seed, tmp_path):
    certificate, X, y = case
    rng = np.random.default_rng(seed)
    text = json.dumps(document(certificate))
    digits = [i for i, letter in enumerate(text) if letter in "123456789" and i > text.index('"problem"')]
    edited = text
    while json.loads(edited) == json.loads(text):  # the seventeenth digit may mean nothing
        i = int(rng.choice(digits))
        edited = text[:i] + ("5" if text[i] != "5" else "6") + text[i + 1 :]
    assert refused(json.loads(edited), X, y, tmp_path, resealed=False)


def test_a_kind_upgraded_by_hand_is_refused(case, tmp_path):
    certificate, X, y = case
    if certificate.kind != "heuristic":
        assert not dataclasses.replace(certificate, kind="heuristic").verify(X, y)  # the seal
        return
    for kind in ("exact", "bound"):
        forged = copy.deepcopy(document(certificate))
        forged["claim"]["kind"] = kind
        assert refused(forged, X, y, tmp_path, resealed=False)
        if kind == "exact":
            assert refused(forged, X, y, tmp_path, resealed=True)


def test_data_of_another_scale_ask_for_the_transformed_ones(case):
    certificate, X, y = case
    with pytest.warns(DataScaleWarning, match="did you mean the transformed X"):
        assert not certificate.verify(100 * X + 3, y)


def test_several_outputs_on_a_line_are_exact(tmp_path):
    X, _ = table(20, 1)
    Y = np.column_stack([np.sin(2 * X[:, 0]), np.abs(X[:, 0]), X[:, 0]])
    problem = VariationProblem(X, Y, alpha=10.0)
    certificate = exactly(problem, zero(problem))
    assert certificate.check(X, Y), str(certificate.check(X, Y))
    certificate.save(tmp_path / "c.json")
    assert Certificate.load(tmp_path / "c.json").verify(X, Y)
    Y[3, 1] += 1
    assert not certificate.verify(X, Y)


@pytest.mark.parametrize("sx", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize("sy", [1e-150, 1.0, 1e150])
@pytest.mark.parametrize(("bias", "skip"), [("free", True), ("penalized", False)])
def test_scales_at_the_edge_of_floating_point(sx, sy, bias, skip):
    X, y = table(15, 2)
    problem = VariationProblem(
        X * sx, y * sy, alpha=0.05 * sy * (sx if bias == "free" else max(sx, 1)), bias=bias, skip=skip
    )
    certificate = exactly(problem, solve(problem, tol=1e-6).solution)
    assert certificate.relative_gap < 1e-5
    assert certificate.check(X * sx, y * sy), str(certificate.check(X * sx, y * sy))
    y[0] += 1
    assert not certificate.verify(X * sx, y * sy)


DEGENERATE = {
    "one sample": (np.array([[1.0, 2.0]]), np.array([3.0])),
    "constant labels": (np.arange(6.0)[:, None], np.full(6, 5.0)),
    "zero labels": (np.arange(6.0)[:, None], np.zeros(6)),
    "duplicates": (np.repeat(np.arange(4.0), 3)[:, None], np.tile([0.0, 1.0, 5.0], 4)),
    "constant column": (np.column_stack([np.ones(8), np.arange(8.0)]), np.abs(np.arange(8.0) - 3)),
    "all equal": (np.full((5, 2), 7.0), np.arange(5.0)),
    "fewer samples than inputs": (np.eye(3, 6), np.array([1.0, -1.0, 2.0])),
    "far from zero": (1e6 + np.arange(9.0)[:, None], np.abs(np.arange(9.0) - 4)),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("alpha", [1e-12, 1e-3, 1e9])
def test_degenerate_data_have_true_certificates(name, alpha):
    X, y = DEGENERATE[name]
    problem = VariationProblem(X, y, alpha=alpha)
    if X.shape[1] > 3:
        maximum = Maximum(0.0, np.zeros(7), float(np.abs(y).max()) * 10, "bound", np.zeros((0, 7)))
        certificate = certify(problem, zero(problem), maximum)
        assert 0 <= certificate.gap <= certificate.primal
        return
    certificate = exactly(problem, zero(problem))
    assert certificate.check(X, y), str(certificate.check(X, y))
    if alpha == 1e9 or name in ("one sample", "constant labels", "zero labels", "all equal"):
        assert certificate.relative_gap < 1e-9  # no neuron can help


@pytest.mark.parametrize(("bias", "skip"), [("free", True), ("penalized", False)])
def test_exact_fits_and_zero_labels_survive_the_file(bias, skip, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 12)) if bias == "free" else rng.normal(size=(5, 2))
    y = rng.normal(size=5) if bias == "free" else np.zeros(5)
    problem = VariationProblem(X, y, alpha=0.01, bias=bias, skip=skip)
    none = np.zeros((0, X.shape[1] + 1))
    certificate = certify(problem, zero(problem), Maximum(0.0, none[:0].sum(axis=0), 0.0, "heuristic", none))
    certificate.save(tmp_path / "c.json")
    again = Certificate.load(tmp_path / "c.json")
    assert again.check(X, y), str(again.check(X, y))
    assert again.relative_gap < 1e-9


def test_nothing_smaller_than_what_was_found_can_be_claimed():
    X, y = table(10, 1)
    problem = VariationProblem(X, y, alpha=0.01)
    maximum = Maximum(1.0, np.zeros(2), 1.0, "exact", np.zeros((0, 2)))
    with pytest.raises(ParameterError, match="claim"):
        certify(problem, zero(problem), maximum, claim=1e-9)
    with pytest.raises(ParameterError, match="original units"):
        certify(problem.replaced(unit=0.5), zero(problem), maximum)


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("format", "else", "format"),
        ("version", 2, "version"),
        ("version", True, "version"),
        ("problem.samples", -1, "samples"),
        ("problem.samples", 10**30, "samples"),
        ("problem.inputs", 3, "must be"),
        ("problem.alpha", "1", "finite number"),
        ("problem.alpha", True, "finite number"),
        ("problem.alpha", 10**400, "finite number"),
        ("problem.fit", "cubic", "fit"),
        ("problem.fit_parameters", {"delta": 1.0}, "no parameter"),
        ("problem.skip", 1, "true or false"),
        ("problem.bias", "none", "bias"),
        ("network.w", [[1.0, [2.0]]], "lists of numbers"),
        ("network.w", "a", "lists of numbers"),
        ("network.v", [[True]], "lists of numbers"),
        ("network.b", [10**400], "rows of one length"),
        ("network.slope", None, "slope"),
        ("dual.theta", [[1.0]], "theta"),
        ("dual", [], "object"),
        ("claim.kind", "proved", "kind"),
        ("claim.primal", None, "primal"),
        ("digest", 5, "digest"),
        ("work", -1, "work"),
    ],
)
def test_files_that_are_no_certificates_are_refused_in_words(where, value, words, tmp_path):
    X, y = table(10, 1)
    problem = VariationProblem(X, y, alpha=0.05)
    doc = document(exactly(problem, Solution(np.array([[1.0, 0.0]]), np.array([0.1]), np.zeros(2))))
    *path, last = where.split(".")
    above = doc
    for step in path:
        above = above[step]
    above[last] = value
    file = tmp_path / "hostile.json"
    file.write_text(json.dumps(doc))
    with pytest.raises(InputError, match=words):
        Certificate.load(file)


@pytest.mark.parametrize("text", ["", "[]", "nul", "[" * 100_000, '{"format": NaN}', "\x00", '"x"'])
def test_files_that_are_no_json_are_refused(text, tmp_path):
    file = tmp_path / "hostile.json"
    file.write_text(text)
    with pytest.raises(InputError, match="is not a certificate"):
        Certificate.load(file)
    with pytest.raises(InputError, match="is no file"):
        Certificate.load(tmp_path / "none.json")


def optimum(problem):
    """The least objective, by CVXPY over all activation patterns of a few samples."""
    rng = np.random.default_rng(0)
    signs = (problem.Z @ rng.normal(size=(problem.d + 1, 20_000)) > 0).T
    patterns = np.unique(signs, axis=0).astype(float)
    norm_of = problem.d if problem.bias == "free" else problem.d + 1
    f, size, constraints = 0, 0, []
    for pattern in patterns:
        for sign in (1.0, -1.0):
            u = cvxpy.Variable(problem.d + 1)
            constraints.append(np.diag(2 * pattern - 1) @ problem.Z @ u >= 0)
            f += sign * (np.diag(pattern) @ problem.Z @ u)
            size += cvxpy.norm(u[:norm_of])
    if problem.skip:
        f += problem.free @ cvxpy.Variable(problem.d + 1)
    if problem.fit.name == "squared":
        loss = 0.5 * problem.weights @ cvxpy.square(f - problem.y)
    else:
        loss = problem.weights @ cvxpy.logistic(-cvxpy.multiply(problem.y, f))
    program = cvxpy.Problem(cvxpy.Minimize(loss + problem.alpha * size), constraints)
    return float(program.solve(solver=cvxpy.CLARABEL))


def weak_duality(seed):
    """D ≤ P* ≤ P for a random network's certificate, and for a solved one."""
    rng = np.random.default_rng(seed)
    d = int(rng.integers(1, 3))
    bias, skip = [("free", True), ("penalized", False), ("penalized", True)][seed % 3]
    fit = "logistic" if bias == "penalized" and not skip and rng.random() < 0.5 else "squared"
    X, y = table(5, d, seed=seed, fit=fit)
    if rng.random() < 0.3:
        X = np.round(X)
    weight = rng.uniform(0.2, 2.0, size=5)
    problem = VariationProblem(
        X, y, alpha=float(rng.choice([0.01, 0.1])), bias=bias, skip=skip, fit=fit, sample_weight=weight
    )
    best = optimum(problem)
    u = rng.normal(size=(3, d + 1))
    beta = problem.affine_start() if skip else None
    guess = Solution(u / problem.penalty_norms(u)[:, None], 0.1 * rng.normal(size=3), beta)
    for solution in (guess, zero(problem), solve(problem, tol=1e-7).solution):
        certificate = exactly(problem, solution)
        assert certificate.check(X, y, weight), str(certificate.check(X, y, weight))
        doubt = 1e-6 * (1 + best)
        assert certificate.dual <= best + doubt
        assert certificate.primal >= best - doubt
    assert certificate.primal - certificate.dual <= 2 * doubt  # the solved one


@pytest.mark.parametrize("seed", range(4))
def test_no_dual_value_exceeds_the_least_objective(seed):
    weak_duality(seed)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(min_value=10, max_value=10**6))
def test_no_dual_value_exceeds_the_least_objective_of_any_small_problem(seed):
    weak_duality(seed)


@pytest.mark.parametrize(("bias", "d"), [("free", 1), ("free", 2), ("free", 3), ("penalized", 1), ("penalized", 2)])
@pytest.mark.parametrize("rounded", [False, True])
def test_listed_maximum_is_never_below_a_search(bias, d, rounded):
    rng = np.random.default_rng(d)
    n = 10 if d == 3 else 25
    X = np.round(2 * rng.normal(size=(n, d))) / 2 if rounded else rng.normal(size=(n, d))
    theta = rng.normal(size=n)
    if bias == "free":
        S = np.column_stack([X, np.ones(n)])
        theta -= S @ np.linalg.lstsq(S, theta, rcond=None)[0]
    listed = largest_correlation(X, theta, bias=bias)
    none = np.zeros((0, d + 1))
    found = searched_correlation(X, theta[:, None], bias=bias, rng=np.random.default_rng(0), known=none)
    assert found <= listed * (1 + 1e-9)
    assert found >= listed * (1 - 1e-3)
    assert math.isfinite(listed)
