import math

import pytest
import torch
from torch import nn

from steppe.core import DataError, DtypeError, KindError, Logistic, ParameterError, ShapeError
from steppe.networks import ShallowReLU
from steppe.training import Every, gradient_descent, train_stacked

pytestmark = pytest.mark.door


def arguments(**changes):
    options = {
        "network": ShallowReLU(2, 3),
        "x": torch.ones(5, 2, dtype=torch.float64),
        "y": torch.ones(5, 1, dtype=torch.float64),
        "step_size": 0.1,
        "steps": 3,
    }
    return options | changes


BROKEN = ShallowReLU(2, 3)
with torch.no_grad():
    BROKEN.v[0, 0] = math.nan

CASES = [
    ({"x": torch.full((5, 2), math.nan).double()}, DataError, "`x` must be finite, got 10 NaN"),
    ({"y": torch.full((5, 1), math.inf).double()}, DataError, "`y` must be finite"),
    ({"x": torch.ones(5).double()}, ShapeError, r"`x` must have shape \[n, 2\], got \[5\]"),
    ({"x": torch.ones(5, 3).double()}, ShapeError, r"`x` must have shape \[n, 2\], got \[5, 3\]"),
    ({"x": torch.ones(5, 0).double()}, ShapeError, "at least one input column"),
    ({"x": torch.ones(0, 2).double(), "y": torch.ones(0, 1).double()}, DataError, "at least 1 sample, got 0"),
    ({"y": torch.ones(5).double()}, ShapeError, r"got \[5\]; pass y.reshape\(5, 1\)"),
    ({"y": torch.ones(4, 1).double()}, ShapeError, r"got \[4, 1\]; pass one row of targets per sample"),
    ({"x": [[1.0, 2.0]]}, KindError, "`x` must be a torch tensor, got list"),
    ({"y": None}, KindError, "`y` must be a torch tensor, got NoneType"),
    ({"network": ShallowReLU(2, 3, dtype=torch.float32)}, DtypeError, "got torch.float32 and torch.float64"),
    ({"network": lambda x: x}, KindError, "`network` must be a torch module, got function"),
    ({"network": BROKEN}, DataError, "finite parameters, got NaN or infinity in v"),
    ({"step_size": 0.0}, ParameterError, "`step_size` must be > 0, got 0"),
    ({"step_size": -1}, ParameterError, "`step_size` must be > 0, got -1"),
    ({"step_size": math.nan}, ParameterError, "`step_size` must be finite"),
    ({"step_size": "0.1"}, KindError, "`step_size` must be a number"),
    ({"steps": -1}, ParameterError, "`steps` must be ≥ 0, got -1"),
    ({"steps": 2.5}, KindError, "`steps` must be an integer, got 2.5"),
    ({"weight_decay": -0.1}, ParameterError, "`weight_decay` must be ≥ 0, got -0.1"),
    ({"clip": 0.0}, ParameterError, "`clip` must be > 0, got 0"),
    ({"log_every": 0}, ParameterError, "`log_every` must be ≥ 1, got 0"),
    ({"lr": 0.1}, KindError, "pass `step_size=0.1` instead"),
    ({"epochs": 3}, KindError, "pass `steps=3` instead"),
    ({"observers": [3]}, KindError, "`observers` must hold callables"),
    ({"observers": [lambda step, model: 3.0]}, KindError, "must return a dict or None, got float"),
    ({"loss": Logistic(), "y": torch.zeros(5, 1).double()}, ShapeError, "must be −1 or \\+1"),
    ({"x": torch.full((5, 2), 1e200, dtype=torch.float64)}, DataError, "loss before the first step must be finite"),
]


@pytest.mark.parametrize(("changes", "error", "says"), CASES)
def test_gradient_descent_names_what_is_wrong(changes, error, says):
    with pytest.raises(error, match=says):
        gradient_descent(**arguments(**changes))


@pytest.mark.parametrize(("changes", "error", "says"), CASES)
def test_train_stacked_names_what_is_wrong(changes, error, says):
    options = arguments(**changes)
    network = options.pop("network")
    with pytest.raises(error, match=says.replace("`network`", r"`networks\[0\]`")):
        train_stacked([network], **options)


def test_missing_options():
    options = arguments()
    del options["step_size"]
    with pytest.raises(KindError, match="`gradient_descent` needs `step_size`"):
        gradient_descent(**options)
    with pytest.raises(ParameterError, match="`n` must be ≥ 1, got 0"):
        Every(0, print)


def test_nothing_is_touched_when_input_is_refused():
    network = ShallowReLU(2, 3)
    before = [p.clone() for p in network.parameters()]
    with pytest.raises(ShapeError):
        gradient_descent(**arguments(network=network, y=torch.ones(5).double()))
    assert all(torch.equal(p, q) for p, q in zip(before, network.parameters(), strict=True))


def test_ordinary_modules_are_checked_too():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)).double()
    mse = nn.MSELoss()
    with pytest.raises(ShapeError, match=r"got \[5\], which would broadcast.*pass y.reshape\(5, 1\)"):
        gradient_descent(**arguments(network=model, y=torch.ones(5).double(), loss=mse))
    with pytest.raises(DtypeError, match=r"float64 and torch\.float32"):
        gradient_descent(**arguments(network=model, x=torch.ones(5, 2)))
    with pytest.raises(ShapeError, match="one row per sample, 5, got 4"):
        gradient_descent(**arguments(network=model, y=torch.ones(4, 1).double(), loss=mse))
    with pytest.raises(DataError, match="at least one sample"):
        gradient_descent(**arguments(network=model, x=torch.ones(0, 2).double()))
    with pytest.raises(ShapeError, match="must return a scalar tensor"):
        gradient_descent(**arguments(network=model, loss=nn.MSELoss(reduction="none")))
    with pytest.raises(KindError, match="parameters that require gradients, got none in ReLU"):
        gradient_descent(**arguments(network=nn.ReLU()))


def test_stacks_are_checked():
    options = arguments()
    network = options.pop("network")
    with pytest.raises(DataError, match="at least one network"):
        train_stacked([], **options)
    with pytest.raises(ShapeError, match="one class and shape"):
        train_stacked([network, ShallowReLU(2, 4)], **options)
    with pytest.raises(DtypeError, match="one dtype"):
        train_stacked([network, network.copy(dtype=torch.float32)], **options)
    with pytest.raises(DataError, match="got one twice"):
        train_stacked([network, network], **options)
    two = [network, network.copy()]
    with pytest.raises(ShapeError, match="`step_size` must be a number or 2 of them, one per network, got 3"):
        train_stacked(two, **options | {"step_size": [0.1, 0.1, 0.1]})
    with pytest.raises(ParameterError, match="`weight_decay` must be ≥ 0, got -1"):
        train_stacked(two, **options | {"weight_decay": [0.0, -1.0]})
    with pytest.raises(ShapeError, match=r"\[2, n, …\], one set per network, got \[3, 5, 2\]"):
        train_stacked(two, **options | {"x": torch.ones(3, 5, 2).double()})
    with pytest.raises(ShapeError, match="one per network, got 3 entries"):
        train_stacked(two, **options, observers=[[], [], []])
