import numpy as np
import pytest
import torch
from PIL import Image

from steppe.core import DataError, DtypeError, InputError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.data import images_from_array, read_images


def save(folder, name, height, width, seed=0, mode="RGB"):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3) if mode == "RGB" else (height, width), dtype=np.uint8)
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels)


def test_a_folder_is_read_in_the_order_of_names_with_its_subfolders(tmp_path):
    b = save(tmp_path, "b.png", 4, 5, 1)
    a = save(tmp_path, "a.PNG", 4, 5, 2)
    c = save(tmp_path, "cats/c.bmp", 4, 5, 3)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._b.png").write_bytes(b"a file that a Macintosh leaves behind")
    images = read_images(tmp_path)
    assert [name.rsplit("/", 1)[1] for name in images.names] == ["a.PNG", "b.png", "c.bmp"]
    assert images.pixels.dtype == torch.uint8
    for row, picture in zip(images.pixels, (a, b, c), strict=True):
        assert torch.equal(row.permute(1, 2, 0), picture)
    assert images.rule == "3 image files, 1 other file passed over, colours"
    assert (len(images), images.channels, images.height, images.width) == (3, 3, 4, 5)


def test_colours_become_grey_and_grey_becomes_colours(tmp_path):
    grey = save(tmp_path, "grey.png", 3, 3, mode="L")
    assert torch.equal(read_images(tmp_path / "grey.png").pixels, grey.expand(1, 3, 3, 3))
    save(tmp_path, "colour.png", 3, 3)
    assert list(read_images(tmp_path, color="grey").pixels.shape) == [2, 1, 3, 3]


def test_other_modes_are_read(tmp_path):
    save(tmp_path, "a.png", 3, 4)
    picture = Image.open(tmp_path / "a.png")
    for mode in ("P", "1", "LA", "RGBA"):
        picture.convert(mode).save(tmp_path / f"mode {mode}.png")
    deep = np.array([[0, 257, 300, 65535]] * 3, dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert len(read_images(tmp_path)) == 6
    assert read_images([tmp_path / "deep.png"], color="grey").pixels[0, 0, 0].tolist() == [0, 1, 1, 255]


def test_the_orientation_of_the_camera_is_applied(tmp_path):
    pixels = save(tmp_path, "a.png", 2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.open(tmp_path / "a.png").save(tmp_path / "turned.png", exif=exif)
    turned = read_images(tmp_path / "turned.png").pixels[0].permute(1, 2, 0)
    assert torch.equal(turned, pixels.rot90(-1))


def test_a_crop_is_the_middle_square(tmp_path):
    a, b = save(tmp_path, "a.png", 6, 9), save(tmp_path, "b.png", 4, 5)
    images = read_images(tmp_path, crop=4)
    assert torch.equal(images.pixels[0].permute(1, 2, 0), a[1:5, 2:6])
    assert torch.equal(images.pixels[1].permute(1, 2, 0), b[:, 0:4])
    assert "the middle 4 × 4 pixels of each" in images.rule


def test_shrinking_takes_means_of_squares(tmp_path):
    a = save(tmp_path, "a.png", 7, 9)
    images = read_images(tmp_path, shrink=3)
    assert list(images.pixels.shape) == [1, 3, 2, 3]
    assert images.pixels[0, 1, 1, 2] == round(float(a[3:6, 6:9, 1].double().mean()))
    assert "shrunk by 3" in images.rule
    with pytest.raises(ShapeError, match=r"a\.png has 7 × 9 pixels, fewer than shrink=8"):
        read_images(tmp_path, shrink=8)


def test_tiles_lie_side_by_side_around_the_middle(tmp_path):
    a = save(tmp_path, "a.png", 7, 9)
    images = read_images(tmp_path, tile=3)
    assert len(images) == 6
    assert torch.equal(images.pixels[4].permute(1, 2, 0), a[3:6, 3:6])
    assert images.names[4].endswith("a.png tile 2, 2")
    assert "cut into 6 tiles of 3 × 3 pixels" in images.rule


def test_small_images_of_one_size_are_not_cut(tmp_path):
    for index in range(3):
        save(tmp_path, f"{index}.png", 28, 20, index)
    assert list(read_images(tmp_path, tile=32).pixels.shape) == [3, 3, 28, 20]


def test_a_limit_is_kept_and_said_and_follows_the_seed(tmp_path):
    for index in range(5):
        save(tmp_path, f"{index}.png", 8, 8, index)
    few = read_images(tmp_path, limit=2, seed=1)
    assert few.names == read_images(tmp_path, limit=2, seed=1).names
    assert {read_images(tmp_path, limit=2, seed=seed).names for seed in range(5)} != {few.names}
    assert "2 drawn at random" in few.rule
    tiles = read_images(tmp_path, tile=2, limit=17)
    assert len(tiles) == 15
    assert "at most 3 of each file, drawn at random" in tiles.rule


def test_arrays_of_either_layout():
    grey = np.arange(24).reshape(2, 3, 4)
    assert list(images_from_array(grey).pixels.shape) == [2, 1, 3, 4]
    last = torch.rand(2, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(images_from_array(last).pixels, last.permute(0, 3, 1, 2))
    first = last.permute(0, 3, 1, 2)
    assert torch.equal(images_from_array(first).pixels, first)
    assert list(images_from_array(torch.zeros(2, 3, 3, 3), channels="last").pixels.shape) == [2, 3, 3, 3]


def test_standardised_channels_have_mean_zero_and_variance_one():
    rng = torch.Generator().manual_seed(0)
    pixels = torch.rand(50, 6, 7, 3, generator=rng) * torch.tensor([1.0, 10.0, 0.0]) + 5
    rows = images_from_array(pixels, channels="last").standardized()
    channels = rows.reshape(50, 3, -1).double()
    assert channels.mean(dim=(0, 2)).abs().max() < 1e-5
    assert (channels.std(dim=(0, 2), correction=0) - torch.tensor([1.0, 1.0, 0.0])).abs().max() < 1e-5


def test_scikit_images_photographs_become_tiles():
    skimage_data = pytest.importorskip("skimage.data")
    import pathlib

    folder = pathlib.Path(skimage_data.__file__).parent
    images = read_images([folder / "chelsea.png", folder / "coffee.png"], tile=32)
    assert list(images.pixels.shape) == [9 * 14 + 12 * 18, 3, 32, 32]
    assert torch.equal(
        images.pixels[0].permute(1, 2, 0), torch.from_numpy(skimage_data.chelsea()[6 : 6 + 32, 1 : 1 + 32].copy())
    )


@pytest.mark.door
def test_folders_and_files_that_hold_no_image_are_named(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"empty holds no image; name a folder"):
        read_images(empty)
    (empty / "table.csv").write_text("1,2")
    with pytest.raises(DataError, match="only 1 file of other kinds"):
        read_images(empty)
    with pytest.raises(InputError, match=r"missing does not exist"):
        read_images(tmp_path / "missing")
    (empty / "broken.png").write_bytes(b"not a picture at all")
    with pytest.raises(InputError, match=r"broken\.png cannot be read as an image: .*; repair it or take it out"):
        read_images(empty)
    (empty / "broken.png").unlink()
    save(tmp_path, "whole.png", 64, 64)
    (empty / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    with pytest.raises(InputError, match=r"cut\.png cannot be read as an image: .*truncated"):
        read_images(empty)
    (empty / "zero.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"zero\.jpg cannot be read"):
        read_images(empty / "zero.jpg")
    with pytest.raises(DataError, match="empty list"):
        read_images([])
    with pytest.raises(KindError, match="use images_from_array"):
        read_images(np.zeros((2, 2)))


@pytest.mark.door
def test_a_picture_of_floats_and_a_bomb_are_refused(tmp_path, monkeypatch):
    Image.fromarray(np.full((2, 2), 0.5, dtype=np.float32)).save(tmp_path / "floats.tif")
    with pytest.raises(InputError, match=r"floats\.tif holds numbers that are no 8- or 16-bit grey values"):
        read_images(tmp_path)
    save(tmp_path, "large.png", 20, 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.raises(InputError, match=r"large\.png is too large to be opened safely"):
        read_images(tmp_path / "large.png")


@pytest.mark.door
def test_sizes_that_do_not_fit_are_named(tmp_path):
    save(tmp_path, "a.png", 6, 9)
    save(tmp_path, "b.png", 6, 7)
    with pytest.raises(ShapeError, match=r"6 × 9 pixels in .*a\.png and 6 × 7 in .*b\.png; pass crop="):
        read_images(tmp_path)
    with pytest.raises(ShapeError, match=r"a\.png has 6 × 9 pixels, fewer than crop=8; pass crop=6"):
        read_images(tmp_path, crop=8)
    with pytest.raises(ShapeError, match=r"a\.png has 6 × 9 pixels, fewer than tile=8; pass tile=6"):
        read_images(tmp_path, tile=8)
    with pytest.raises(UnknownNameError, match="did you mean 'grey'"):
        read_images(tmp_path, color="gray")
    with pytest.raises(ParameterError, match="`crop` must be ≥ 1"):
        read_images(tmp_path, crop=0)


@pytest.mark.door
@pytest.mark.parametrize(
    ("array", "error", "says"),
    [
        (np.zeros((2, 2)), ShapeError, r"got \[2, 2\]"),
        (np.zeros((2, 3, 4, 3)), ShapeError, "could have channels first or last"),
        (np.zeros((2, 5, 4, 7)), ShapeError, "has no axis of 1 or 3 channels"),
        (np.zeros((0, 5, 4)), DataError, "at least one image"),
        (np.full((1, 2, 2), np.nan), DataError, "must be finite"),
        (np.zeros((1, 2, 2), dtype=complex), DtypeError, "real numbers"),
        ([["a"]], KindError, "`array` must hold images as numbers"),
    ],
)
def test_arrays_that_are_no_images_are_named(array, error, says):
    with pytest.raises(error, match=says):
        images_from_array(array)
