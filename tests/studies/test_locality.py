"""The study of patches at quick size, and the promises its cells make."""

import math

import pytest
import torch

from steppe.harness import Diverged
from steppe.networks import PatchReLU, ShallowReLU
from steppe.studies import _locality_cells as cells
from steppe.studies.locality import STUDY
from steppe.workflow import run


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    return run("liang2026-locality", size="quick", out=tmp_path_factory.mktemp("quick"))


@pytest.mark.study
def test_theorems_hold_controls_are_rejected_and_locality_shows(quick):
    theorems = {v.id: v.state for v in quick.verdicts.values() if v.kind == "theorem"}
    assert len(theorems) == 8
    assert set(theorems.values()) == {"holds"}
    assert {c.id for c in quick.controls.values() if not c.rejected} == set()
    assert quick.exit_code(strict=True) == 0
    assert {row.status for row in quick.rows} == {"done"}
    for claim in ("shared-below-connected", "patchwise-memorises", "natural-above-shuffled"):
        assert quick.verdicts[claim].state == "holds"
    assert set(quick.figures) == {figure.id for figure in STUDY.figures} - {"images"}


def _found(**axes):
    return cells.row(STUDY.cell({"seed": 0} | axes), [])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("seen", [1, 4])
def test_extremal_networks_attain_the_patch_inequality(shared, seen):
    found = _found(
        experiment="inequality", patch=3, positions=4, seen=seen, shared=shared, residual=0.0, width=16
    )  # fmt: skip
    assert found["weighted_sum"] == pytest.approx(found["flatness_bound_sharper"], rel=1e-9)
    if seen == 1:
        assert found["connected_sum"] == pytest.approx(16 * found["weighted_sum"], rel=1e-9)


def test_the_flat_interpolant_has_the_sharpness_of_the_formula():
    found = _found(experiment="construction", n=30, d=24, patch=6)
    assert found["construction_sharpness"] == pytest.approx(1 + 2 * math.sqrt(2) / 120, abs=1e-11)
    assert found["interpolation_error"] < 1e-12


@pytest.mark.parametrize(("delta", "tail"), [(0.3, 0.067652), (0.2, 0.016796), (0.1, 0.0013032), (0.05, 0.00009037)])
def test_patches_of_a_sphere_have_the_radial_tail(delta, tail):
    found = _found(experiment="tail", patch=2, d=10, delta=delta, n=200_000)
    assert found["tail"] == pytest.approx(tail, rel=5e-5)
    assert found["tail_deviation"] < 5


def test_parts_have_the_parameters_they_promise():
    patches = torch.arange(100).view(10, 10)
    counts = {}
    for name, part in STUDY.slots["network"].parts.items():
        network = part(patches, 100, 1, 64, seed=0)
        assert isinstance(network, PatchReLU | ShallowReLU)
        counts[name] = sum(p.numel() for p in network.parameters())
    assert counts == {"shared": 769, "unshared": 7105, "connected": 6529, "connected-small": 817}


def test_cells_repeat_and_divergence_is_a_status():
    axes = {
        "experiment": "sphere", "network": "shared", "patch": 5, "d": 20, "width": 8, "noise": 1.0, "n": 20,
        "step_size": 0.4, "clip": 50.0, "steps": 30,
    }  # fmt: skip
    assert _found(**axes) == _found(**axes)
    assert isinstance(_found(**axes | {"step_size": 1e6, "clip": 1e9, "steps": 200}), Diverged)


def test_images_are_standardized_and_channels_come_first():
    x = cells.images(50, seed=0)
    assert x.shape == (50, 3 * 12 * 12)
    assert float(x.std()) == pytest.approx(1.0, rel=1e-3)
    planes = x.view(50, 3, 12, 12)
    smooth = (planes[..., 1:] - planes[..., :-1]).square().mean()
    assert float(smooth) < 0.5 * float((planes[:, 1:] - planes[:, :-1]).square().mean() + 1)
