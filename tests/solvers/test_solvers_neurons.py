"""The table of neurons."""

import numpy as np
import pytest

from steppe.networks import ShallowReLU
from steppe.solvers import Neurons

X = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 4.0]])


def table():
    """Two neurons by hand, one that does nothing and one that is a constant."""
    network = ShallowReLU.from_weights(
        w=[[2.0, 0.0], [0.0, -3.0], [1.0, 1.0], [0.0, 0.0]], b=[2.0, -3.0, 0.0, -5.0], v=[1.5, 1.0, 0.0, 2.0]
    )
    return Neurons.of(network, X, ["age", "pressure"])


def test_rows_are_unit_directions_with_thresholds_shares_and_contributions_by_hand():
    found = table()
    assert len(found) == 3
    first, second, constant = range(3)
    assert found.direction(first) == "1 age"  # 1.5·relu(2·age − 2) = 3·relu(age − 1): outputs 0, 0, 3, 6
    assert (found.thresholds[first], found.coefficients[first, 0], found.active[first]) == (1.0, 3.0, 0.5)
    assert found.contributions[first] == pytest.approx(np.std([0, 0, 3, 6]))
    assert found.direction(second) == "−1 pressure"  # relu(3 − 3·pressure): 3, 3, 3, 0
    assert (found.thresholds[second], found.active[second]) == (-1.0, 0.75)
    assert found.direction(constant) == "constant"
    assert (found.thresholds[constant], found.coefficients[constant, 0]) == (-np.inf, 10.0)
    assert found.contributions[constant] == 0.0


def test_the_table_adds_up_to_the_network():
    found = table()
    place = X @ found.directions.T - np.where(np.isfinite(found.thresholds), found.thresholds, -1.0)
    assert np.allclose(np.maximum(place, 0) @ found.coefficients[:, 0], [13.0, 13.0, 16.0, 16.0])


def test_it_prints_names_thresholds_and_shares():
    text = str(table())
    lines = text.splitlines()
    assert "direction" in lines[0]
    assert "1 age" in lines[1]
    assert "50%" in lines[1]
    assert "−1 pressure" in lines[2]


def test_a_long_table_says_how_many_rows_are_not_shown():
    rng = np.random.default_rng(0)
    network = ShallowReLU.from_weights(w=rng.normal(size=(30, 2)), b=np.zeros(30), v=rng.normal(size=30))
    text = str(Neurons.of(network, X, ["a", "b"]))
    assert "… and 18 more" in text
    assert len(text.splitlines()) == 14


def test_a_long_direction_ends_in_an_ellipsis():
    network = ShallowReLU.from_weights(w=[[4.0, -3.0, 2.0, 1.0]], b=[0.0], v=[1.0])
    text = Neurons.of(network, np.eye(4), list("abcd")).direction(0)
    assert text == "0.73 a − 0.55 b + 0.37 c …"


def test_several_outputs_have_one_coefficient_each_and_pandas_has_every_column():
    network = ShallowReLU.from_weights(w=[[1.0, 0.0]], b=[0.0], v=[[2.0], [-1.0]])
    found = Neurons.of(network, X, ["age", "pressure"], ["low", "high"])
    frame = found.to_pandas()
    assert list(frame.columns)[:4] == ["direction", "threshold", "coefficient low", "coefficient high"]
    assert list(frame.columns)[4:] == ["active", "contribution", "w_age", "w_pressure"]
    assert frame["coefficient high"].tolist() == [-1.0]


def test_no_neurons_are_said_to_be_none():
    network = ShallowReLU.from_weights(w=[[0.0, 0.0]], b=[0.0], v=[0.0])
    found = Neurons.of(network, X, ["age", "pressure"])
    assert len(found) == 0
    assert "no neurons" in str(found)
    assert len(found.to_pandas()) == 0
    assert "0 neurons" in found.plot().title


def test_the_figure_has_a_point_per_neuron_and_a_row_of_weights(tmp_path):
    figure = table().plot()
    assert len(figure.panels[0].layers[0].x) == 3
    assert np.shape(figure.panels[1].layers[0].z) == (3, 2)
    assert figure.save(tmp_path / "neurons.svg").exists()
