import pytest
import torch

from steppe.core import DtypeError, KindError, ParameterError, ShapeError, UnknownNameError
from steppe.networks import ShallowReLU

pytestmark = pytest.mark.door


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "says"),
    [
        ((0, 3), {}, ParameterError, "`inputs` must be ≥ 1, got 0"),
        ((2, 0), {}, ParameterError, "`width` must be ≥ 1, got 0"),
        ((2, 3, 0), {}, ParameterError, "`outputs` must be ≥ 1, got 0"),
        ((2.5, 3), {}, KindError, "`inputs` must be an integer, got 2.5"),
        ((2, 3), {"init": "hee"}, UnknownNameError, "did you mean 'he'"),
        ((2, 3), {"dtype": torch.int64}, DtypeError, "floating"),
        ((2, 3), {"random_state": 3}, KindError, "pass `seed=3` instead"),
    ],
)
def test_constructor_says_what_was_expected(arguments, keywords, error, says):
    with pytest.raises(error, match=says):
        ShallowReLU(*arguments, **keywords)


def test_forward_names_shapes_and_dtypes():
    network = ShallowReLU(3, 4)
    with pytest.raises(ShapeError, match=r"\[n, 3\], got \[5, 2\]"):
        network(torch.zeros(5, 2, dtype=torch.float64))
    with pytest.raises(DtypeError, match=r"float64 and torch\.float32"):
        network(torch.zeros(5, 3, dtype=torch.float32))
