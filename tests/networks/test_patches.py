import pytest
import torch
from torch import nn
from torch.nn.functional import unfold

from steppe.core import InputError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.networks import PATCH_SCHEMES, PatchReLU, patch_from_convolution, patch_indices, patch_to_convolution

SQUARES = ["convolution", "non-overlapping", "jittered", "random", "hexagonal", "radial"]


def pictures(n, channels, height, width, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, height, width, generator=rng, dtype=torch.float64)


@pytest.mark.parametrize(("size", "stride"), [(3, 1), (2, 2), (4, 3), (1, 1), (5, 1)])
def test_the_grid_is_torchs_unfold_of_the_image(size, stride):
    x = pictures(4, 3, 7, 9)
    patches = patch_indices(7, 9, 3, size, stride=stride)
    assert torch.equal(x.flatten(1)[:, patches], unfold(x, size, stride=stride).mT)


def test_sizes_of_the_usual_grids():
    assert list(patch_indices(32, 32, 3, 3).shape) == [900, 27]
    assert list(patch_indices(32, 32, 3, 4, stride=2).shape) == [225, 48]
    assert list(patch_indices(32, 32, 3, 4, scheme="non-overlapping").shape) == [64, 48]
    assert list(patch_indices(32, 32, 3, 4, scheme="full").shape) == [1, 3072]


@pytest.mark.parametrize("scheme", PATCH_SCHEMES)
@pytest.mark.parametrize(("height", "width", "channels", "size", "stride"), [(32, 32, 3, 4, 2), (9, 13, 1, 2, 1)])
def test_patches_lie_inside_are_distinct_pixels_and_follow_the_seed(scheme, height, width, channels, size, stride):
    patches = patch_indices(height, width, channels, size, stride=stride, scheme=scheme, seed=3)
    inputs = channels * height * width
    assert patches.dtype == torch.long
    assert patches.min() >= 0
    assert patches.max() < inputs
    assert patches.shape[1] == (inputs if scheme == "full" else channels * size**2)
    assert (patches.sort(dim=1).values.diff(dim=1) > 0).all()  # no input twice in a patch
    pixels = patches.reshape(len(patches), channels, -1) - torch.arange(channels)[:, None] * height * width
    assert (pixels == pixels[:, :1]).all()  # the same pixels in every channel
    again = patch_indices(height, width, channels, size, stride=stride, scheme=scheme, seed=3)
    assert torch.equal(patches, again)
    PatchReLU(patches, 2, inputs=inputs)  # it is what the network takes


@pytest.mark.parametrize("scheme", ["jittered", "random", "voronoi", "random-local", "shuffled"])
def test_schemes_that_draw_differ_between_seeds(scheme):
    first, second = (patch_indices(16, 16, 1, 3, stride=2, scheme=scheme, seed=seed) for seed in (0, 1))
    assert first.shape != second.shape or not torch.equal(first, second)


@pytest.mark.parametrize("scheme", SQUARES)
def test_square_schemes_take_square_windows(scheme):
    patches = patch_indices(20, 24, 1, 3, stride=2, scheme=scheme, seed=1)
    windows = {tuple(row) for row in patch_indices(20, 24, 1, 3).tolist()}
    assert {tuple(row) for row in patches.tolist()} <= windows


def test_windows_move_by_at_most_half_a_stride_when_jittered():
    grid, moved = (patch_indices(40, 40, 1, 3, stride=6, scheme=scheme)[:, 0] for scheme in ("convolution", "jittered"))
    rows, columns = (moved // 40 - grid // 40).abs(), (moved % 40 - grid % 40).abs()
    assert rows.max() <= 3
    assert columns.max() <= 3
    assert rows.sum() + columns.sum() > 0


def test_neighbours_on_the_triangular_lattice_are_a_stride_apart():
    corners = patch_indices(203, 203, 1, 3, stride=20, scheme="hexagonal")[:, 0]
    places = torch.stack([corners // 203, corners % 203], dim=1).double()
    distances = torch.cdist(places, places).fill_diagonal_(torch.inf)
    nearest = distances.min(dim=1).values
    assert (nearest - 20).abs().max() < 1.5  # places are rounded to pixels
    assert ((distances < 21.5).sum(dim=1) == 6).any()


def test_rings_are_a_stride_apart():
    corners = patch_indices(103, 103, 1, 3, stride=10, scheme="radial")[:, 0]
    radii = torch.stack([corners // 103 - 50, corners % 103 - 50], dim=1).double().norm(dim=1)
    assert ((radii / 10 - (radii / 10).round()).abs() < 0.1).all()
    assert (radii < 1).sum() == 1
    assert ((radii - 10).abs() < 1).sum() == 6


def test_shuffling_moves_every_channel_alike_and_keeps_all_pixels():
    patches = patch_indices(8, 8, 3, 2, scheme="shuffled", stride=2)
    assert patches.flatten().sort().values.tolist() == list(range(192))
    straight = patch_indices(8, 8, 3, 2, stride=2)
    assert not torch.equal(patches.sort(dim=1).values, straight.sort(dim=1).values)


def test_shapes_of_cross_and_sparse_kernel():
    cross = patch_indices(9, 9, 1, 3, stride=1, scheme="cross")[0]
    assert sorted((i // 9, i % 9) for i in cross.tolist()) == [
        (0, 2), (1, 2), (2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (3, 2), (4, 2),
    ]  # fmt: skip
    sparse = patch_indices(12, 12, 1, 3, scheme="large-sparse")
    assert sparse[0].tolist() == [0, 4, 8, 48, 52, 56, 96, 100, 104]
    scales = patch_indices(12, 12, 1, 3, scheme="multi-scale", stride=2)
    assert {int(row[1] - row[0]) for row in scales} == {1, 2, 4}


def test_random_local_pixels_stay_in_a_window_of_twice_the_side():
    patches = patch_indices(20, 20, 1, 3, stride=2, scheme="random-local")
    rows, columns = patches // 20, patches % 20
    assert (rows.amax(dim=1) - rows.amin(dim=1)).max() <= 5
    assert (columns.amax(dim=1) - columns.amin(dim=1)).max() <= 5


def test_voronoi_patches_are_near_pixels():
    patches = patch_indices(32, 32, 1, 4, stride=4, scheme="voronoi")
    rows, columns = (patches // 32).double(), (patches % 32).double()
    spread = (rows.std(dim=1) ** 2 + columns.std(dim=1) ** 2).sqrt()
    assert spread.median() < 2.5  # a 4 × 4 square has 1.6
    assert spread.max() < 5


@pytest.mark.parametrize(("size", "stride", "channels"), [(3, 1, 1), (2, 2, 3), (3, 2, 2)])
def test_a_convolution_and_a_patch_network_are_the_same_function(size, stride, channels):
    x = pictures(5, channels, 7, 8)
    network = PatchReLU(
        patch_indices(7, 8, channels, size, stride=stride), 6, 2, inputs=channels * 56, init="torch", seed=1
    )
    module = patch_to_convolution(network, 7, 8, channels, size, stride=stride)
    assert [type(layer) for layer in module][1:3] == [nn.Conv2d, nn.ReLU]
    torch.testing.assert_close(module(x.flatten(1)), network(x.flatten(1)), rtol=1e-12, atol=1e-12)
    back = patch_from_convolution(module, 7, 8)
    for p, q in zip(network.parameters(), back.parameters(), strict=True):
        assert torch.equal(p, q)
    assert torch.equal(back.patches, network.patches)
    without = nn.Sequential(nn.Conv2d(channels, 3, size, bias=False), *list(module)[2:5], nn.Linear(3, 1)).double()
    torch.testing.assert_close(patch_from_convolution(without, 7, 8)(x.flatten(1)), without(x), rtol=1e-12, atol=1e-12)


@pytest.mark.door
@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "says"),
    [
        ((3, 8, 1, 4), {}, ParameterError, "`size` must be at most 3 to fit into an image of 3 × 8 pixels, got 4"),
        ((8, 8, 1, 0), {}, ParameterError, "`size` must be ≥ 1, got 0"),
        ((8, 8, 1, 2), {"stride": 0}, ParameterError, "`stride` must be ≥ 1"),
        ((8, 8, 1.5, 2), {}, KindError, "`channels` must be an integer"),
        ((8, 8, 1, 2), {"scheme": "convolutoin"}, UnknownNameError, "did you mean 'convolution'"),
        ((8, 8, 1, 4), {"scheme": "cross"}, ParameterError, "makes a cross of 9 × 8 pixels"),
        ((8, 8, 1, 2), {"scheme": "random", "seed": -1}, ParameterError, "`seed` must be ≥ 0"),
    ],
)
def test_bad_windows_are_named(arguments, keywords, error, says):
    with pytest.raises(error, match=says):
        patch_indices(*arguments, **keywords)


@pytest.mark.door
def test_networks_that_are_no_convolution_are_named():
    network = PatchReLU(patch_indices(6, 6, 1, 3), 2, inputs=36)
    with pytest.raises(ShapeError, match="the 16 patches of a 3 × 3 convolution with stride 1 on 2 × 6 × 6 inputs"):
        patch_to_convolution(network, 6, 6, 2, 3)
    with pytest.raises(InputError, match="shared"):
        patch_to_convolution(PatchReLU(network.patches, 2, shared=False), 6, 6, 1, 3)
    padded = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)
    )
    with pytest.raises(KindError, match="without padding"):
        patch_from_convolution(padded, 6, 6)
    with pytest.raises(KindError, match="AdaptiveAvgPool2d"):
        patch_from_convolution(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 1)), 6, 6)
