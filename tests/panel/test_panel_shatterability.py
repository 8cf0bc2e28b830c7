"""What a table is said to let flat networks do, and that every table that cannot be judged is refused with a remedy."""

import importlib.util
import json
import math

import numpy as np
import pytest
import torch

import steppe
from steppe.activations import half_space_depth
from steppe.core import DataError, InputError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.curvature import hessian
from steppe.data import mixture_of_subspaces, uniform_ball, uniform_sphere
from steppe.networks import ShallowReLU
from steppe.panel import shatterability
from steppe.theory import rates

QUICK = {"directions": 100}


def gaussian(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(found, name):
    return next(entry for entry in found.lines() if entry[0].startswith(name))


def test_it_is_a_word_of_the_library():
    assert steppe.shatterability is shatterability


def test_two_columns_are_judged_exactly():
    x = gaussian(200, 2)
    found = shatterability(x, **QUICK)
    assert found.exact
    torch.testing.assert_close(found.depth, half_space_depth(x, x))
    assert found.shallow_share == float((half_space_depth(x, x) <= 0.05 + 1e-12).double().mean())
    assert "at least" not in found.headline
    assert "exact" in str(found)


def test_tables_that_lie_in_a_plane_are_judged_exactly_too():
    x, spread = gaussian(200, 2), gaussian(2, 5, 1)
    found = shatterability(x @ spread, **QUICK)
    assert (found.rank, found.exact) == (2, True)
    torch.testing.assert_close(found.depth, half_space_depth(x, x))


def test_the_line_has_the_largest_area_and_tiny_shares():
    found = shatterability(gaussian(1000, 1), **QUICK)
    assert found.area.value == pytest.approx(0.25 + 1 / 2000)
    assert found.alone_share == pytest.approx(2 / 1000)
    assert found.shallow_share == pytest.approx(0.1)


def test_sphere_ball_and_lines_are_told_apart():
    sphere = shatterability(uniform_sphere(600, 5, seed=0), scaling="none", **QUICK)
    ball = shatterability(uniform_ball(600, 5, seed=0), scaling="none", **QUICK)
    lines = shatterability(mixture_of_subspaces(600, 20, pieces=5, dim=1, seed=0), scaling="none", **QUICK)
    assert sphere.alone_share > 0.9
    assert lines.alone_share < 0.1 < 0.3 < ball.alone_share < sphere.alone_share
    assert sphere.radius.alpha == 0
    low, high = ball.radius.interval
    assert low < 1 < high
    assert lines.dimension.value == pytest.approx(1, abs=0.2)
    assert lines.rank == 5
    assert ball.references[0].area.value == pytest.approx(ball.area.value, rel=0.15)


def test_exponents_are_those_of_the_theory():
    found = shatterability(mixture_of_subspaces(500, 8, pieces=6, dim=1, seed=1), scaling="none", **QUICK)
    exponents = {exponent.law: exponent for exponent in found.exponents}
    d = found.rank
    assert float(found.exponents[0].fact) == 1 / (2 * d + 4)
    assert float(found.exponents[-1].fact) == rates.low_norm_gap(d)
    mixture = next(e for law, e in exponents.items() if "mixture" in law)
    assert float(mixture.fact) == pytest.approx(rates.mixture_upper(1))
    assert mixture.rows_to_halve == pytest.approx(64)
    radial = [e for law, e in exponents.items() if "radial" in law]
    for exponent, kind in zip(radial, ("published", "valid"), strict=True):
        assert float(exponent.fact) == pytest.approx(float(rates.radial_upper(d, found.radius.alpha, kind=kind)))
        assert exponent.interval[0] <= exponent.fact <= exponent.interval[1]


def test_rows_that_stand_alone_are_memorised_at_the_sharpness_that_is_said():
    x, y = gaussian(30, 6), gaussian(30, 1, 1).clamp(-1, 1)
    found = shatterability(x, scaling="none", **QUICK)
    z = x - x.mean(dim=0)
    outward = torch.nn.functional.normalize(z @ torch.linalg.inv(z.T @ z), dim=1)
    projected = outward @ x.T
    own = projected.diagonal().clone()
    projected.fill_diagonal_(-math.inf)
    alone = own > projected.amax(dim=1)
    assert 0 < alone.double().mean() <= found.alone_share
    threshold = (own + projected.amax(dim=1))[alone] / 2
    value = (y[alone].abs().flatten() * (1 + found.longest**2) ** 0.5).sqrt()  # balances v² (1 + R²) with a²
    scale = value / (own[alone] - threshold)
    network = ShallowReLU.from_weights(
        outward[alone] * scale[:, None], threshold * scale, (y[alone].flatten() / value)[None], torch.zeros(1).double()
    )
    assert float((network(x) - y)[alone].detach().abs().max()) < 1e-10
    sharpness = torch.linalg.eigvalsh(hessian(network, steppe.core.SquaredLoss(), (x, y)).to_dense())[-1]
    assert float(sharpness) <= 1 + 2 * math.sqrt(1 + found.longest**2) * float(y[alone].abs().max()) / 30 + 1e-9


def test_scaling_of_columns_does_not_matter_when_they_are_standardised():
    x = gaussian(150, 3)
    one, other = shatterability(x, **QUICK), shatterability(x * torch.tensor([1.0, 1e3, 1e-6]) + 5, **QUICK)
    torch.testing.assert_close(one.depth, other.depth)
    assert one.radius.alpha == pytest.approx(other.radius.alpha)


def test_arrays_frames_and_files_are_one(tmp_path):
    pandas = pytest.importorskip("pandas")
    x = gaussian(60, 3).numpy()
    frame = pandas.DataFrame(x, columns=["a", "b", "c"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    np.savetxt(tmp_path / "plain.csv", x, delimiter=";")
    np.save(tmp_path / "t.npy", x)
    sources = [
        x,
        torch.from_numpy(x),
        x.tolist(),
        frame,
        *(tmp_path / f for f in ("t.csv", "t.tsv", "plain.csv", "t.npy")),
    ]
    if importlib.util.find_spec("pyarrow"):
        frame.to_parquet(tmp_path / "t.parquet")
        sources.append(tmp_path / "t.parquet")
    first, *others = [shatterability(source, directions=20) for source in sources]
    for other in others:
        torch.testing.assert_close(other.depth, first.depth)
    assert shatterability(frame, directions=20).columns == ("a", "b", "c")


def test_constant_columns_incomplete_rows_and_repeated_rows_are_said(tmp_path):
    x = gaussian(50, 3)
    rows = [[*map(str, row), "7"] for row in x.tolist()]
    rows[3][1] = "NA"
    rows.append(rows[0])
    (tmp_path / "t.csv").write_text("a,b,c,always\n" + "\n".join(",".join(row) for row in rows))
    found = shatterability(tmp_path / "t.csv", missing="drop", **QUICK)
    assert (found.rows, found.left_out, found.repeated, found.dropped) == (50, 1, 1, ("always",))
    said = line(found, "table")
    assert "1 incomplete rows left out" in said[2]
    assert "1 constant columns dropped" in said[2]
    assert "1 rows repeat" in said[2]


def test_labels_by_class_and_by_rank_and_never_as_inputs(tmp_path):
    x = gaussian(80, 2)
    far = x.norm(dim=1)
    text = "a,b,kind\n" + "\n".join(
        f"{a},{b},{'far' if r > 1.5 else 'near'}" for (a, b), r in zip(x.tolist(), far, strict=True)
    )
    (tmp_path / "t.csv").write_text(text)
    classes = shatterability(tmp_path / "t.csv", target="kind", **QUICK)
    assert classes.columns == ("a", "b")
    shares = {name: float(value.split("%")[0]) for name, value, _ in classes.labels}
    assert shares["label kind = far"] > shares["label kind = near"]
    numbers = shatterability(x, target=far, **QUICK)
    assert "rank correlation" in numbers.labels[0][1]


def test_part_of_the_rows_is_used_and_said():
    found = shatterability(gaussian(300, 3), samples=100, **QUICK)
    assert (found.rows, found.total, len(found.depth)) == (100, 300, 100)
    assert "of 300" in line(found, "table")[2]


def test_it_fits_one_screen_and_saves_a_page(tmp_path):
    found = shatterability(gaussian(100, 4), **QUICK)
    assert len(str(found).splitlines()) < 36
    assert set(found.figures) == {"concentration", "depth", "radius", "rates"}
    page = found.save(tmp_path / "t.html").read_text()
    assert "<title>" in page
    assert "heuristic" in page
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert values["schema"] == "steppe.shatterability/1"
    assert values["data"]["area"]["value"] == found.area.value
    assert len(values["references"]) == 4


def test_heavy_tails_and_spheres_have_no_radial_exponent():
    heavy = shatterability(gaussian(2000, 1) ** -3, **QUICK)
    assert not [e for e in heavy.exponents if "radial" in e.law]
    assert "no end" in line(heavy, "radius tail")[2]
    json.dumps(heavy.to_dict(), allow_nan=False)
    for figure in heavy.figures.values():
        figure.to_plotly()


def test_few_rows_for_the_dimension_are_told():
    found = shatterability(gaussian(25, 20), **QUICK)
    assert found.alone_share == 1
    assert "extreme under any law" in str(found)


def test_tables_on_a_lattice_have_no_dimension_and_still_an_answer():
    side = torch.arange(8, dtype=torch.float64)
    found = shatterability(torch.cartesian_prod(side, side), **QUICK)
    assert found.dimension is None
    assert "lattice" in line(found, "intrinsic dimension")[2]


REFUSED = [
    ("a,b\n1,red\n" + "2,blue\n" * 30, DataError, "text in the column 'b' .*'red'.*--drop b"),
    ("a,b\n1,\n" + "2,3\n" * 30, DataError, "1 missing values in 1 of 31 rows.*missing='drop'"),
    ("a,b\n1,inf\n" + "2,3\n" * 30, DataError, "1 infinite values in 'b'"),
    ("a,b\n" + "1,2\n" * 30, DataError, "column that varies"),
    ("a,b\n" + "1,2\n" * 5, DataError, "at least 20 rows, got 5"),
    ("a,b\n1\n", DataError, "line 2: 1 fields, expected 2"),
    ("a,a\n1,2\n", DataError, "'a' twice"),
    ("", DataError, "empty file"),
]


@pytest.mark.door
@pytest.mark.parametrize(("text", "error", "words"), REFUSED)
def test_files_that_cannot_be_judged_are_refused_with_a_remedy(tmp_path, text, error, words):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(error, match=words):
        shatterability(tmp_path / "t.csv")


@pytest.mark.door
def test_other_misuse_is_refused(tmp_path):
    x = gaussian(30, 2)
    with pytest.raises(InputError, match="no file"):
        shatterability(tmp_path / "none.csv")
    (tmp_path / "t.xyz").write_text("1")
    with pytest.raises(InputError, match="convert it"):
        shatterability(tmp_path / "t.xyz")
    (tmp_path / "t.npy").write_text("no array")
    with pytest.raises(InputError, match="cannot be read"):
        shatterability(tmp_path / "t.npy")
    np.save(tmp_path / "o.npy", np.array([["a", "b"]] * 30))
    with pytest.raises(DataError, match="text"):
        shatterability(tmp_path / "o.npy")
    with pytest.raises(ShapeError, match=r"x\[:, None\]"):
        shatterability(x[:, 0])
    with pytest.raises(ShapeError, match="flatten"):
        shatterability(x.reshape(10, 3, 2))
    with pytest.raises(ShapeError, match="one label per row"):
        shatterability(x, target=[1, 2])
    with pytest.raises(DataError, match=r"2 rows without a label.*--missing drop"):
        shatterability(x, target=[math.nan, ""] + ["a"] * 28)
    with pytest.raises(UnknownNameError, match="column"):
        shatterability(x, target="y")
    with pytest.raises(UnknownNameError, match="column"):
        shatterability(x, drop=["y"])
    with pytest.raises(DataError, match="none that is left"):
        shatterability(x, drop=["column 1", "column 2"])
    with pytest.raises(KindError, match="array of numbers"):
        shatterability(object())
    with pytest.raises(ParameterError, match="shallow"):
        shatterability(x, shallow=0.7)
    with pytest.raises(UnknownNameError, match="scaling"):
        shatterability(x, scaling="rows")
