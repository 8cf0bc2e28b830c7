import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sharded_worker import N, operators, problem, quantities
from torch import nn

from steppe.core import InputError, SquaredLoss
from steppe.curvature import diagonal, hessian, sharded, sharpness, trace
from steppe.networks import ShallowReLU

pytestmark = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()), reason="needs gloo"
)
WORKER = Path(__file__).with_name("sharded_worker.py")
LIMIT = 240  # seconds after which a group is taken for hung


def group(scenario, world, folder):
    """What every process of a group saw."""
    command = [sys.executable, str(WORKER), scenario]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, str(rank), str(world), str(folder)], stderr=subprocess.PIPE, env=environment)
        for rank in range(world)
    ]
    try:
        said = [process.communicate(timeout=LIMIT)[1].decode() for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * world, "\n".join(said)[-3000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_uneven_shards_give_the_numbers_of_one_process(world, tmp_path):
    model, x, y, labels = problem()
    expected = quantities(operators(model, x, y, labels), model)
    everyone = group("agreement", world, tmp_path)
    for found in everyone:
        for name, value in expected.items():
            torch.testing.assert_close(torch.tensor(found[name]), torch.tensor(value), rtol=1e-10, atol=1e-10)
        assert found == everyone[0]  # bit for bit the same in every process
        assert f"mean of {N} samples on {world} processes" in found["convention"]
    if world == 2:
        assert everyone[0]["hooks"] == 0  # gradients of curvature are not sent around
        assert everyone[0]["hooks after training"] > 0


@pytest.mark.slow
def test_closed_forms_sums_and_a_process_without_data(tmp_path):
    everyone = group("shallow", 3, tmp_path)
    model, x, y, _ = problem()
    network, target = ShallowReLU(3, 5, seed=1), y[:, :1].contiguous()
    operator = hessian(network, SquaredLoss(), (x, target))
    summed = hessian(model, nn.MSELoss(reduction="sum"), (x, y))
    for found in everyone:
        assert found == everyone[0]
        assert found["sharpness"] == pytest.approx(float(sharpness(operator, rtol=1e-10)), rel=1e-10)
        assert found["trace"] == pytest.approx(float(trace(operator)), rel=1e-12)
        torch.testing.assert_close(torch.tensor(found["diagonal"]).double(), diagonal(operator), rtol=1e-6, atol=1e-7)
        assert found["summed"] == pytest.approx(float(sharpness(summed, rtol=1e-10)), rel=1e-10)
        assert found["names"] == operator.names
        assert found["kind"] == "Hessian"
        assert found["backend"] == "closed form"
        assert found["weight"] == N
        assert found["agree"] == [True, False]
        assert f"mean of {N} samples on 3 processes" in found["convention"]


def test_errors_in_one_process_are_errors_in_all(tmp_path):
    first, second = group("failures", 2, tmp_path)
    assert first["one fails to build"].startswith("ComputationError: another process failed to build its operator")
    assert second["one fails to build"].startswith("DataError")
    for found in (first, second):
        assert "ask for different products" in found["different vectors"]
        assert "ask for different products" in found["different blocks"]
        assert found["works again"] == "no error"
        assert "InputError: all processes must have the same matrix" in found["different losses"]
        assert "InputError: all processes must have the same parameters" in found["different parameters"]
        assert "DataError: the shards need at least one sample" in found["no data anywhere"]
        assert "KindError: `operator` must be the curvature operator of this shard" in found["no operator"]
    assert first["one product fails"].startswith("ComputationError: another process failed to make its product")
    assert second["one product fails"].startswith("ZeroDivisionError")
    # The budget of the other is far from spent: both end when the first clock says so.
    assert first["stopped by the clock"] == second["stopped by the clock"] < 10**6


def test_without_a_group_the_remedy_is_named():
    model, x, y, _ = problem()
    with pytest.raises(InputError, match=r"call torch\.distributed\.init_process_group first"):
        sharded(hessian(model, SquaredLoss(), (x, y)))
