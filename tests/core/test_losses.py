import math

import pytest
import torch
from torch.nn import functional

from steppe.core import CrossEntropy, DtypeError, Logistic, ShapeError, SquaredLoss

F64 = torch.float64


def test_squared_loss_is_half_the_squared_norm_averaged_over_samples():
    outputs = torch.tensor([[1.0, 0.0], [0.0, 3.0]], dtype=F64)
    targets = torch.zeros(2, 2, dtype=F64)
    assert SquaredLoss()(outputs, targets).item() == (1 + 9) / 4


def test_logistic_is_binary_cross_entropy_with_logits():
    outputs = torch.tensor([[0.3], [-2.0], [1.5]], dtype=F64)
    signs = torch.tensor([[1.0], [1.0], [-1.0]], dtype=F64)
    expected = functional.binary_cross_entropy_with_logits(outputs, (signs + 1) / 2)
    assert Logistic()(outputs, signs).item() == pytest.approx(expected.item(), rel=1e-14)


def test_cross_entropy_of_equal_logits_is_log_k():
    assert CrossEntropy()(torch.zeros(3, 5, dtype=F64), torch.tensor([0, 1, 4])).item() == pytest.approx(math.log(5))


@pytest.mark.door
@pytest.mark.parametrize("loss", [SquaredLoss(), Logistic()])
def test_targets_that_would_broadcast_are_refused_with_the_remedy(loss):
    with pytest.raises(ShapeError, match=r"\[3, 1\], got \[3\]; pass targets.reshape\(3, 1\)"):
        loss(torch.zeros(3, 1), torch.ones(3))


@pytest.mark.door
def test_wrong_labels_are_refused():
    with pytest.raises(DtypeError, match="integer class labels"):
        CrossEntropy()(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ShapeError, match="one label per sample"):
        CrossEntropy()(torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.long))
    with pytest.raises(ShapeError, match="must be −1 or"):
        Logistic()(torch.zeros(3, 1), torch.zeros(3, 1))
