"""The study at quick size, the recorded instances, and the pieces of its cells."""

import pytest
import torch

from steppe.core import InputError
from steppe.curvature import (
    deep_linear_sharpness,
    deep_linear_sharpness_bounds,
    deep_linear_spectrum,
    deep_linear_trace,
    flattest_sharpness,
)
from steppe.harness import Grid, Row, Rows
from steppe.networks import DeepLinear
from steppe.studies import _factorization_sharpness_cells as cells
from steppe.studies import _factorization_sharpness_noise as noise
from steppe.studies import _factorization_sharpness_relu as relu
from steppe.studies.factorization_sharpness import STUDY, chain_1, crossed
from steppe.testing import check_study
from steppe.workflow import run

SMALL = (
    Grid(experiment="spectrum", layers=["gaussian", "low-rank", "graded"], sizes=["2-3-2", "1-2-1"], n=[0, 3],
         scale=0.5, seed=range(2))
    + Grid(experiment="minimizers", sizes="2-3-3-2", spread=0.3, seed=0)
    + Grid(experiment="two-layers", kind=["spectral", "inflated"], seed=0)
    + Grid(experiment="escape", layers=["gaussian", "chain-1"], sizes="1-1-1", factor=[1.9, 2.5], radius=[1e-6, 1e-3],
           steps=60, seed=0)
    + Grid(experiment="map", layers="chain-2", sizes="1-1-1-1", radius=1e-3, steps=60, seed=0)
    + Grid(experiment="noise", sizes=["3-3-2", "3-1-2"], n=12, noise=0.5, steps=30, seed=0)
    + Grid(experiment="relu", images="digits", depth=2, n=30, width=8, step_size=0.1, steps=20, seed=0)
    + Grid(experiment="relu-escape", images="digits", depth=2, n=6, width=16, factor=2.5, radius=1e-6, steps=40,
           seed=0)
)  # fmt: skip


def row(**axes):
    cell = STUDY.cell(axes)
    return STUDY.row(**cell, parts=cell.parts)


# --- the whole ---


@pytest.mark.study
@pytest.mark.timeout(600)
def test_theorems_hold_and_controls_are_rejected_at_quick_size(tmp_path):
    quick = run("kamber2025-sharpness", size="quick", out=tmp_path)
    assert {row.status for row in quick.rows} == {"done"}
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) >= 14
    assert set(theorems.values()) == {"holds"}
    assert {v.id for v in quick.verdicts.values() if v.state == "fails"} == set()
    assert {c.id for c in quick.controls.values() if not c.rejected} == set()
    assert set(quick.figures) == {figure.id for figure in STUDY.figures}
    assert not quick.problems
    assert quick.figures["maps"].save(tmp_path / "maps.pdf").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_cells_do_not_depend_on_their_companions():
    check_study(STUDY.with_grid(SMALL))


# --- recorded instances ---


def test_three_layers_with_their_whole_spectrum():
    layers = [[[1.0, 2], [0, 1], [1, 0]], [[1.0, 0, 1], [2, 1, 0]], [[1.0, 1], [0, 2]]]
    spectrum = deep_linear_spectrum(layers)
    known = [195.08029957123975, 82.9197004287602, 72.8378486313773, 5.1621513686227]
    assert spectrum[:4].tolist() == pytest.approx(known, rel=1e-12)
    assert len(spectrum) == 16
    assert spectrum[4:].abs().max() < 1e-10
    assert deep_linear_trace(layers) == pytest.approx(356, rel=1e-14)
    assert float(deep_linear_sharpness_bounds(layers)[1]) == pytest.approx(195.24369806970293, rel=1e-13)


def test_norms_that_do_not_meet():
    layers = crossed([2, 2, 2, 2], seed=0)
    assert float(deep_linear_sharpness(layers)) == pytest.approx(48, rel=1e-12)
    assert float(deep_linear_sharpness_bounds(layers)[1]) == pytest.approx(68, rel=1e-12)


def test_flat_but_not_balanced_in_frobenius_norm_and_the_reverse():
    flat = [torch.diag(torch.tensor([2.0, 2.0])), torch.diag(torch.tensor([2.0, 0.5]))]
    assert float(deep_linear_sharpness(flat)) == pytest.approx(16)
    assert float(flattest_sharpness([[4.0, 0.0], [0.0, 1.0]], 2)) == pytest.approx(16)
    inflated = [[[100.0], [-0.99]], [[1.0, 100.0]]]
    assert float(deep_linear_sharpness(inflated)) == pytest.approx(40003.9602, rel=1e-12)


def test_a_balanced_factorization_is_flattest():
    network = DeepLinear.balanced([[3.0, 1.0], [0.0, 2.0], [1.0, 1.0]], [2, 4, 3, 5, 3])
    assert float(deep_linear_sharpness(network)) == pytest.approx(53.0940206298, abs=1e-9)


# --- pieces ---


@pytest.mark.parametrize("kind", ["spectral", "frobenius", "both", "inflated", "scaled"])
def test_two_layers_are_as_balanced_as_their_kind_says(kind):
    found = row(experiment="two-layers", kind=kind, seed=3)
    spectral, frobenius = found["spectral_norms_ratio"], found["frobenius_norms_ratio"]
    assert (spectral == pytest.approx(1)) == (kind in ("spectral", "both", "inflated"))
    assert (frobenius == pytest.approx(1)) == (kind in ("frobenius", "both", "inflated"))
    assert (found["flat_ratio"] == pytest.approx(1)) == (kind in ("spectral", "both"))


def test_with_data_the_bound_is_attained_on_whitened_inputs():
    network = DeepLinear.balanced([[3.0, 1.0], [0.0, 2.0]], [2, 3, 2])
    x = torch.linalg.qr(torch.randn(7, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    bound = cells.flattest(network.matrix().detach(), 2, x, 0.25)
    assert float(deep_linear_sharpness(network, data=x, scale=0.25)) == pytest.approx(bound, rel=1e-12)
    assert bound == pytest.approx(cells.flattest(network.matrix().detach(), 2, None, 0.25), rel=1e-12)


def test_the_fit_of_low_rank_is_the_best_of_its_rank():
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(30, d, generator=rng, dtype=torch.float64) for d in (4, 3))
    best = noise._least_squares(x, y, 2)

    def error(w):
        return float((x @ w.T - y).square().sum())

    assert torch.linalg.matrix_rank(best) == 2
    u, s, v = torch.linalg.svd(best, full_matrices=False)
    for _ in range(50):
        du, dv = (0.01 * torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((3, 2), (2, 4)))
        assert error((u[:, :2] + du) * s[:2] @ (v[:2] + dv)) > error(best)


def test_mean_masks_of_a_linear_network_give_the_deep_linear_formula():
    x = torch.rand(20, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = relu.network_of([3, 4, 2], 0)
    with torch.no_grad():
        network[0].weight.abs_()  # all neurons are active on all samples
    masks = relu._MeanMasks(network, x)
    closed = float(deep_linear_sharpness([network[0].weight, network[2].weight], data=x, scale=1 / 40))
    for activations in (True, False):
        assert masks.sharpness(1 / 40, activations=activations) == pytest.approx(closed, rel=1e-6)


def test_a_small_relu_network_is_trained_to_a_minimizer_and_left():
    found = row(
        experiment="relu-escape", images="digits", depth=3, n=8, width=16, factor=2.5, radius=1e-7, steps=60, seed=5
    )
    assert found["left"] == 1
    assert found["escape_error"] < 1


def test_layers_of_a_part_must_fit_the_sizes():
    wrong = STUDY.variant("wrong", parts={"layers": {"wrong": lambda sizes, *, seed: chain_1(sizes[:-1], seed=seed)}})
    cell = wrong.cell({"experiment": "spectrum", "layers": "wrong", "sizes": "1-1-1", "n": 0, "scale": 1.0, "seed": 0})
    with pytest.raises(InputError, match=r"must give float64 matrices of shapes \[\(1, 1\), \(1, 1\)\]"):
        wrong.row(**cell, parts=cell.parts)


def test_the_sum_of_norm_products_is_rejected_as_the_sharpness():
    control = next(control for control in STUDY.controls if control.id == "control-crossed")
    cell = {"experiment": "spectrum", "layers": "crossed", "sizes": "2-2-2-2", "n": 0, "scale": 1.0, "seed": 0}
    found = row(**cell)
    verdict = control.judge(Rows([Row(cell=cell, result=dict(found))], STUDY.slug))
    assert verdict.rejected
    assert found["norm_products_over_sharpness"] == pytest.approx(68 / 48)
