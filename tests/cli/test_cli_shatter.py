"""`steppe shatter`: tables and folders of images, on the terminal, as JSON and as a page."""

import json

import numpy as np
import pytest

from steppe.cli import main

pytestmark = pytest.mark.door


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    rows = [f"{a:.6f},{b:.6f},{'red' if a > 0 else 'blue'}" for a, b in rng.standard_normal((60, 2))]
    path = tmp_path / "data.csv"
    path.write_text("a,b,colour\n" + "\n".join(rows))
    return path


def test_a_table_is_answered_on_one_screen_and_on_a_page(table, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["shatter", str(table), "--target", "colour", "--html", str(page)]) == 0
    out = capsys.readouterr().out
    assert "60 rows, 2 columns" in out
    assert "label colour = red" in out
    assert "heuristic" in out
    assert page.read_text().startswith("<!")


def test_json_is_json(table, capsys):
    assert main(["shatter", str(table), "--drop", "colour", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 60
    assert found["exact"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data.csv"], "text in the column 'colour'"),
        (["none.csv"], "is no file"),
        (["a" * 300 + ".csv"], "shorter"),
        (["none.png"], "none.png"),
        (["none.xlsx"], ".csv, .tsv, .npy, .parquet"),
        (["data.csv", "--target", "y"], "known: 'a', 'b', 'colour'"),
        (["data.csv", "--target", "colour", "--shallow", "2"], "shallow"),
        (["data.csv", "--target", "colour", "--html", "."], "must be a file"),
        ([".", "--target", "y"], "name columns of a table"),
    ],
)
def test_misuse_ends_with_two_and_a_remedy(table, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(table.parent)
    assert main(["shatter", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_folder_of_images_is_answered_by_its_patches(tmp_path, capsys):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    smooth = np.cumsum(np.cumsum(rng.standard_normal((96, 96, 3)), axis=0), axis=1)
    smooth = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    image.fromarray(smooth).save(tmp_path / "one.png")
    options = ["--scheme", "convolution", "--scheme", "shuffled", "--directions", "20", "--size", "3"]
    assert main(["shatter", str(tmp_path), *options]) == 0
    out = capsys.readouterr().out
    assert "convolution" in out
    assert "shuffled" in out
    assert (
        main(["shatter", str(tmp_path), *options, "--tile", "12", "--shrink", "2", "--crop", "36", "--color", "grey"])
        == 0
    )
    words = " ".join(capsys.readouterr().out.split())
    assert "1 image file, shrunk by 2, the middle 36 × 36 pixels of each, cut into 9 tiles" in words
    assert "grey values" in words


def test_an_array_of_images_is_answered_by_its_patches(tmp_path, capsys):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((30, 8, 8)))
    assert main(["shatter", str(tmp_path / "images.npy"), "--directions", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"] == [8, 8, 1]
    assert [scheme["name"] for scheme in found["schemes"]] == ["convolution", "shuffled", "full"]


def test_an_empty_folder_is_refused(tmp_path, capsys):
    assert main(["shatter", str(tmp_path)]) == 2
    assert "image" in capsys.readouterr().err
