import math

import pytest
import torch

from steppe.core import DataError, KindError, ParameterError, UnknownNameError
from steppe.data import handwritten_digits, image_patches, into_unit_ball, smooth_label_map, tabular, uniform_ball


@pytest.mark.parametrize(("name", "n", "d"), [("diabetes", 442, 10), ("digits", 1797, 61), ("breast-cancer", 569, 30)])
def test_tables(name, n, d):
    data = tabular(name)
    assert (data.n, data.d) == (n, d)
    assert data.y.shape == (n, 1)
    assert data.x.dtype == data.y.dtype == torch.float64
    assert len(data.features) == d
    norms = data.x.norm(dim=1)
    assert math.isclose(norms.max().item(), 1.0)
    assert data.x.mean(dim=0).abs().max() < 1e-12
    spread = data.x.std(dim=0, correction=0)
    torch.testing.assert_close(spread, spread[:1].expand(d))
    assert "standardised" in data.rule


def test_tables_hold_what_scikit_learn_holds():
    from sklearn.datasets import load_breast_cancer, load_diabetes

    raw = load_diabetes(scaled=False)
    data = tabular("diabetes")
    correlation = torch.corrcoef(torch.stack([data.x[:, 2], torch.as_tensor(raw.data[:, 2])]))[0, 1]
    assert math.isclose(correlation.item(), 1.0)
    assert data.features[2] == "bmi"
    assert torch.equal(tabular("breast-cancer").y[:, 0] > 0, torch.as_tensor(load_breast_cancer().target == 1))


def test_rows_are_a_seeded_subset():
    whole, part = tabular("diabetes"), tabular("diabetes", rows=50, seed=3)
    assert part.n == 50
    where = [(whole.x == row).all(dim=1).nonzero().flatten().tolist() for row in part.x]
    indices = [index for found in where for index in found]
    assert len(set(indices)) == len(indices) == 50
    assert torch.equal(whole.y[indices], part.y)
    assert not torch.equal(part.x, tabular("diabetes", rows=50, seed=4).x)


def test_unit_ball_rule_by_hand():
    x = torch.tensor([[0.0, 7.0, 10.0], [2.0, 7.0, 30.0]], dtype=torch.float64)
    ball, kept = into_unit_ball(x)
    assert kept == [0, 2]
    torch.testing.assert_close(ball, torch.tensor([[-1.0, -1.0], [1.0, 1.0]], dtype=torch.float64) / math.sqrt(2))


@pytest.mark.parametrize("image", ["both", "china"])
def test_image_patches(image):
    data = image_patches(100, size=3, image=image, seed=0)
    assert (data.n, data.d) == (100, 27)
    assert math.isclose(data.x.norm(dim=1).max().item(), 1.0)
    assert math.isclose(data.y.var(correction=0).item(), 1.0)
    assert data.features[0] == "row 0 column 0 red"
    # Neighbouring pixels agree: the middle row's last pixel predicts the target.
    last = data.x[:, [15, 16, 17]].mean(dim=1)
    assert torch.corrcoef(torch.stack([last, data.y[:, 0]]))[0, 1] > 0.8
    assert torch.equal(data.x, image_patches(100, size=3, image=image, seed=0).x)
    assert not torch.equal(data.x, image_patches(100, size=3, image=image, seed=1).x)


def test_smooth_label_map_keeps_signal_and_drops_noise():
    x = uniform_ball(300, 2, seed=0)
    clean = torch.sin(2 * x[:, :1])
    rough = torch.randn(300, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    signal, rest = smooth_label_map(x, clean), smooth_label_map(x, rough)
    assert (signal - clean).square().mean() < 0.01 * clean.var()
    assert rest.var() < 0.1 * rough.var()
    torch.testing.assert_close(smooth_label_map(x, clean + 5), signal + 5)
    constant = torch.full((300, 1), 2.0, dtype=torch.float64)
    torch.testing.assert_close(smooth_label_map(x, constant), constant)


@pytest.mark.door
@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: tabular("diabetis"), UnknownNameError, "did you mean 'diabetes'"),
        (lambda: tabular("diabetes", rows=443, seed=0), ParameterError, "`rows` must be ≥ 1 and ≤ 442, got 443"),
        (lambda: tabular("diabetes", rows=5), KindError, "`seed` is needed with `rows`"),
        (lambda: image_patches(1, seed=0), ParameterError, "`n` must be ≥ 2, got 1"),
        (lambda: image_patches(9, image="lena", seed=0), UnknownNameError, "`image` must be one of"),
        (lambda: into_unit_ball(torch.ones(1, 2)), DataError, "at least 2 samples, got 1"),
        (lambda: into_unit_ball(torch.ones(3, 2)), DataError, "a column that varies"),
        (lambda: into_unit_ball(torch.tensor([[1.0], [math.nan]])), DataError, "finite"),
        (lambda: smooth_label_map(torch.ones(3, 2), torch.ones(3, 1)), DataError, "different rows"),
        (lambda: smooth_label_map(torch.rand(3, 2), torch.ones(3)), ValueError, r"pass y.reshape\(3, 1\)"),
    ],
)
def test_bad_input_is_named(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_handwritten_digits_are_the_table_as_it_is():
    x, labels = handwritten_digits()
    assert x.shape == (1797, 64)
    assert x.min() == 0
    assert x.max() == 16
    assert labels.bincount().tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert torch.equal(1.0 - 2.0 * (labels % 2), tabular("digits").y[:, 0])
