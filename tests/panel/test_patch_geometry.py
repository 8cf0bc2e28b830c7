import json
import pathlib
from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from steppe.core import DataError, InputError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.data import read_images, uniform_sphere
from steppe.networks import PATCH_SCHEMES
from steppe.panel import patch_geometry, principal_shares
from steppe.theory import patch_radial_tail

FEW = {"directions": 64, "references": 1500, "queries": 300}


def waves(n=150, side=16, seed=0):
    """Smooth pictures: sums of a few low frequencies, as natural images mostly are."""
    rng = np.random.default_rng(seed)
    grid = np.arange(side) / side
    z = np.zeros((n, side, side))
    for _ in range(4):
        a, b, phase = rng.uniform(0, 1.2, (3, n, 1, 1))
        height = rng.normal(size=(n, 1, 1))
        z += height * np.sin(2 * np.pi * (a * grid[None, :, None] + b * grid[None, None, :] + phase))
    return z + 0.05 * rng.normal(size=z.shape)


def test_smooth_pictures_have_deep_contiguous_patches_of_low_rank():
    found = patch_geometry(waves(), size=4, stride=2, **FEW)
    assert [(c.quantity, c.first, c.second) for c in found.comparisons] == [
        ("depth area", "convolution", "shuffled"), ("components", "convolution", "shuffled"),
        ("depth area", "shuffled", "full"), ("components", "shuffled", "full"),
    ]  # fmt: skip
    assert [c.verdict for c in found.comparisons[:2]] == ["holds", "holds"]
    assert found["convolution"].components <= 4


def test_white_noise_has_no_such_order_and_the_report_says_so():
    noise = np.random.default_rng(0).normal(size=(150, 16, 16))
    found = patch_geometry(noise, size=4, stride=2, **FEW)
    contiguous, shuffled = found["convolution"], found["shuffled"]
    assert abs(contiguous.area.value - shuffled.area.value) < 4 * contiguous.area.error
    assert "the order of natural images" in found.headline
    assert "throughout: depth area: convolution" in found.headline
    assert contiguous.components >= 13
    assert {c.verdict for c in found.comparisons if c.second == "shuffled"} & {"undecided", "fails"}


def test_all_schemes_are_measured_at_the_same_numbers():
    found = patch_geometry(waves(40), schemes="all", size=3, stride=2, **FEW)
    assert [scheme.name for scheme in found.schemes] == list(PATCH_SCHEMES)
    assert found.references == 40  # as many as there are whole images
    assert found.queries == 40
    assert found["full"].sample == 40
    assert found["convolution"].sample == 1500
    assert "only 40 references: no depth below 0.025 can be seen" in found.notes()
    assert all(0 < scheme.area.value <= 0.5 for scheme in found.schemes)
    assert all(1 <= scheme.components <= min(scheme.inputs, scheme.sample) for scheme in found.schemes)


def test_the_area_is_the_one_under_the_curve():
    found = patch_geometry(waves(), schemes=["convolution"], **FEW)
    scheme = found["convolution"]
    under = sum((a + b) / 2 * 0.01 for a, b in zip(scheme.curve, scheme.curve[1:], strict=False))
    assert under == pytest.approx(scheme.area.value, abs=0.005)
    assert scheme.curve[0] == 1
    assert found.references == 1500


def test_the_same_seed_gives_the_same_numbers_and_memory_bounds_the_references(monkeypatch):
    first, second = (patch_geometry(waves(30), **FEW).to_dict() for _ in range(2))
    assert first == second
    assert patch_geometry(waves(30), **FEW, seed=1).to_dict() != first
    monkeypatch.setattr(import_module("steppe.panel.patch_geometry"), "_NUMBERS", 256 * 20)
    few = patch_geometry(waves(30), **FEW)
    assert few.references == 20
    assert few["full"].sample == 20
    assert few["convolution"].sample == 320


def test_principal_shares_by_hand():
    x = torch.tensor([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(principal_shares(x + 7), torch.tensor([0.8, 0.2], dtype=torch.float64))
    wide = torch.cat([x, torch.zeros(4, 5, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(principal_shares(wide)[:2], torch.tensor([0.8, 0.2], dtype=torch.float64))
    assert principal_shares(torch.ones(3, 2)).tolist() == [1.0, 0.0]


def test_patches_of_the_sphere_have_the_stated_radii():
    x = uniform_sphere(20_000, 10, seed=0)[:, :2]
    squares = x.square().sum(dim=1)
    assert abs(squares.mean().item() - 2 / 10) < 5 * squares.std().item() / len(x) ** 0.5
    for delta in (0.3, 0.2, 0.1):
        tail = float(patch_radial_tail(2, 10, delta))
        seen = (squares.sqrt() > 1 - delta).double().mean().item()
        assert abs(seen - tail) < 5 * (tail / len(x)) ** 0.5


def test_folders_words_figures_page_and_json(tmp_path):
    for index, picture in enumerate(waves(12, 40)):
        pixels = (40 * picture + 128).clip(0, 255).astype(np.uint8)
        Image.fromarray(np.stack([pixels] * 3, axis=2)).save(tmp_path / f"{index}.png")
    found = patch_geometry(tmp_path, tile=8, schemes=["convolution", "voronoi", "shuffled"], **FEW)
    assert "12 image files, cut into 300 tiles of 8 × 8 pixels" in found.notes()[0]
    assert set(found.figures) == {"schemes", "curves", "rank", "patches"}
    assert str(found).splitlines()[2].split()[0] == "scheme"
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["schema"] == "steppe.patch-geometry/1"
    page = found.save(tmp_path / "page.html").read_text("utf-8")
    assert "Patch geometry" in page
    assert "heuristic: that a larger depth area" in page
    assert patch_geometry(read_images(tmp_path, tile=8), schemes=["convolution"], **FEW).images == 300
    files = sorted(tmp_path.glob("*.png"))[:3]
    assert patch_geometry(files, tile=8, schemes="convolution", **FEW).images == 75
    np.save(tmp_path / "stack.npy", waves(20))
    assert patch_geometry(tmp_path / "stack.npy", **FEW).images == 20


@pytest.mark.door
def test_bad_input_is_named(tmp_path):
    with pytest.raises(DataError, match="holds no image"):
        patch_geometry(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        patch_geometry(tmp_path / "missing.png")
    (tmp_path / "broken.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"broken\.npy cannot be read as an array"):
        patch_geometry(tmp_path / "broken.npy")
    with pytest.raises(UnknownNameError, match="did you mean 'convolution'"):
        patch_geometry(waves(20), schemes=["convolutional"])
    with pytest.raises(ParameterError, match="at least one scheme"):
        patch_geometry(waves(20), schemes=[])
    with pytest.raises(ParameterError, match="`size` must be at most 16"):
        patch_geometry(waves(20), size=17)
    with pytest.raises(ParameterError, match="at least 10 patches of every scheme, got 3 from 3 images"):
        patch_geometry(waves(3))
    with pytest.raises(KindError, match="pass `directions=4` instead"):
        patch_geometry(waves(20), direction=4)
    with pytest.raises(ShapeError, match="reshape it"):
        patch_geometry(np.zeros((3, 3)))


def photographs(**reading):
    skimage_data = pytest.importorskip("skimage.data")
    import sklearn.datasets

    folder = pathlib.Path(skimage_data.__file__).parent
    names = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "ihc.png",
             "hubble_deep_field.jpg", "motorcycle_left.png"]  # fmt: skip
    samples = pathlib.Path(sklearn.datasets.__file__).parent / "images"
    files = [*(folder / name for name in names), samples / "china.jpg", samples / "flower.jpg"]
    return patch_geometry(files, **reading)


def verdicts(found):
    return {(c.quantity, c.second): c.verdict for c in found.comparisons}


@pytest.mark.slow
def test_photographs_at_full_size_keep_the_order_of_depths_but_not_of_ranks():
    found = photographs()
    areas = [found[name].area.value for name in ("convolution", "shuffled", "full")]
    assert areas == pytest.approx([0.0397, 0.0319, 0.0293], abs=0.002)
    seen = verdicts(found)
    assert seen["depth area", "shuffled"] == "holds"
    assert seen["components", "shuffled"] == "holds"
    # tiles of large photographs are smooth: whole tiles vary in fewer directions (5) than shuffled patches (7)
    assert seen["components", "full"] == "fails"
    counts = [found[name].components for name in ("convolution", "shuffled", "full")]
    assert counts == pytest.approx([2, 7, 5], abs=0.5)


@pytest.mark.slow
def test_photographs_shrunk_by_four_keep_the_whole_order():
    found = photographs(shrink=4)
    assert set(verdicts(found).values()) == {"holds"}
    assert "As for natural images" in found.headline
    counts = [found[name].components for name in ("convolution", "shuffled", "full")]
    assert counts == pytest.approx([2, 13, 16], abs=1)


def test_faces_keep_the_whole_order():
    skimage_data = pytest.importorskip("skimage.data")
    faces = np.load(pathlib.Path(skimage_data.__file__).parent / "lfw_subset.npy")[:100]
    found = patch_geometry(faces)
    assert set(verdicts(found).values()) == {"holds"}
    assert [found[name].components for name in ("convolution", "shuffled", "full")] == [5, 14, 40]


def test_digits_do_not_keep_the_order_of_depths():
    from sklearn.datasets import load_digits

    found = patch_geometry(load_digits().images, size=3, stride=1)
    assert verdicts(found)["depth area", "shuffled"] != "holds"
    assert verdicts(found)["depth area", "full"] == "holds"
