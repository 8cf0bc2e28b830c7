"""One call: every number against a dense float64 Hessian, budgets kept, and the model as it was found."""

import json
import math
import re

import pytest
import torch
from measured_models import dense_hessian, problem
from torch import nn

from steppe.core import ComputationError, DataError, KindError, ParameterError, SquaredLoss, UnknownNameError
from steppe.networks import ShallowReLU
from steppe.norms import path_norm, variation_norm, weighted_variation_norm
from steppe.panel import Measurement, measure

pytestmark = pytest.mark.door


@pytest.fixture(scope="module")
def measured():
    model, loss, data = problem()
    return model, loss, data, measure(model, loss, data)


class TestTruth:
    def test_both_ends_of_the_spectrum_lie_within_their_bounds(self, measured):
        model, loss, data, found = measured
        values = torch.linalg.eigvalsh(dense_hessian(model, loss, data))
        assert abs(found.sharpness.value - float(values[-1])) <= found.sharpness.error + 1e-9
        assert abs(found.smallest.value - float(values[0])) <= found.smallest.error + 1e-9
        assert found.sharpness.error < 1e-2 * found.sharpness.value

    def test_the_trace_lies_within_five_of_its_errors(self, measured):
        model, loss, data, found = measured
        trace = float(dense_hessian(model, loss, data).trace())
        error = found.trace.error if found.trace.error_kind != "none" else 1e-9 * abs(trace)
        assert abs(found.trace.value - trace) <= 5 * error + 1e-9

    def test_a_small_matrix_is_taken_whole_and_everything_is_exact(self, measured):
        model, loss, data, found = measured
        values = torch.linalg.eigvalsh(dense_hessian(model, loss, data))
        assert found.density.exact
        assert torch.allclose(found.density.nodes[0].sort().values, values, atol=1e-9)
        assert found.trace.value == pytest.approx(float(values.sum()), abs=1e-9)

    def test_a_larger_one_from_one_chain_and_probes(self):
        model, loss, data = problem(hidden=60)
        found = measure(model, loss, data)
        values = torch.linalg.eigvalsh(dense_hessian(model, loss, data))
        assert not found.density.exact
        assert abs(found.sharpness.value - float(values[-1])) <= found.sharpness.error + 1e-9
        assert abs(found.smallest.value - float(values[0])) <= found.smallest.error + 1e-9
        assert abs(found.trace.value - float(values.sum())) <= 5 * found.trace.error
        assert found.trace.error > 0
        count = found.density.eigenvalue_count(-0.01 * found.sharpness.value, 0.01 * found.sharpness.value)
        inside = int((values.abs() <= 0.01 * found.sharpness.value).sum())
        assert abs(count.value - inside) <= 5 * count.error + 0.05 * len(values)

    @pytest.mark.parametrize("name", ["sharpness", "smallest", "trace", "density"])
    def test_each_alone_is_that_of_the_whole(self, name):
        model, loss, data = problem(hidden=60)
        found = measure(model, loss, data, quantities=[name], budget="120 products")
        values = torch.linalg.eigvalsh(dense_hessian(model, loss, data))
        expected = {"sharpness": values[-1], "smallest": values[0], "trace": values.sum(), "density": values.mean()}
        part = found.density.moment(1) if name == "density" else getattr(found, name)
        assert abs(part.value - float(expected[name])) <= 5 * part.error + 1e-9
        others = {"sharpness", "smallest", "trace", "density"} - {name}
        assert all(getattr(found, other) is None for other in others)

    def test_float32_claims_no_more_than_its_rounding(self):
        model, loss, data = problem(hidden=60, dtype=torch.float32)
        found = measure(model, loss, data)
        exact = float(torch.linalg.eigvalsh(dense_hessian(model, loss, data))[-1])
        assert abs(found.sharpness.value - exact) <= found.sharpness.error
        assert found.sharpness.error >= 64 * torch.finfo(torch.float32).eps * found.sharpness.value

    def test_the_share_is_the_squared_top_eigenvector_per_parameter(self, measured):
        model, loss, data, found = measured
        vector = torch.linalg.eigh(dense_hessian(model, loss, data)).eigenvectors[:, -1]
        parts = vector.split([p.numel() for p in model.parameters()])
        expected = {n: float(v.square().sum()) for (n, _), v in zip(model.named_parameters(), parts, strict=True)}
        assert found.share == pytest.approx(expected, abs=2e-2)
        assert sum(found.share.values()) == pytest.approx(1)
        assert list(found.share) == [name for name, _ in model.named_parameters()]

    def test_the_loss_is_the_loss(self, measured):
        model, loss, data, found = measured
        assert found.loss == pytest.approx(float(loss(model(data[0]), data[1]).detach()), rel=1e-12)

    def test_limits_are_those_of_linear_stability(self, measured):
        found = measured[3]
        top = found.sharpness.value
        assert found.limits["gradient descent"] == pytest.approx(2 / top)
        assert found.limits["heavy ball 0.9"] == pytest.approx(3.8 / top)
        assert found.limits["Nesterov 0.9"] == pytest.approx(3.8 / 2.8 / top)
        assert "limits of linear stability here, on these samples" in str(found)
        assert "usually sharpens until it meets its limit" in str(found)

    def test_a_part_of_the_parameters_is_a_block_of_the_hessian(self, measured):
        model, loss, data, _ = measured
        found = measure(model, loss, data, parameters="2.*", quantities=["sharpness"])
        block = dense_hessian(model, loss, data)[-14:, -14:]
        assert found.sharpness.value == pytest.approx(float(torch.linalg.eigvalsh(block)[-1]), rel=1e-3)
        assert found.size.measured == 14

    def test_batches_give_what_one_batch_gives(self, measured):
        model, loss, (x, y), whole = measured
        found = measure(model, loss, [(x[:37], y[:37]), (x[37:], y[37:])], quantities=["sharpness"])
        assert found.sharpness.value == pytest.approx(whole.sharpness.value, rel=1e-3)
        assert found.loss == pytest.approx(whole.loss)


class TestOptimizers:
    def test_sgd_is_compared_with_its_own_limit(self):
        model, loss, data = problem()
        top = measure(model, loss, data, quantities=["sharpness"]).sharpness.value
        for factor, state in ((0.5, "below"), (1.0, "at"), (1.5, "beyond")):
            optimizer = torch.optim.SGD(model.parameters(), lr=factor * 3.8 / top, momentum=0.9)
            found = measure(model, loss, data, optimizer=optimizer, quantities=["optimizer"])
            assert found.optimizer.state == state
            assert found.optimizer.margin == pytest.approx(factor, rel=1e-3)
            assert any("Beyond the limit" in warning for warning in found.warnings) == (state == "beyond")

    def test_adam_meets_preconditioned_sharpness(self):
        model, loss, (x, y) = problem()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(5):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
        found = measure(model, loss, (x, y), optimizer=optimizer)
        v = torch.cat([optimizer.state[p]["exp_avg_sq"].flatten() for p in model.parameters()]) / (1 - 0.999**5)
        root = 1 / (v.sqrt() + 1e-8).sqrt()
        matrix = root[:, None] * dense_hessian(model, loss, (x, y)) * root
        assert found.optimizer.curvature.value == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-3)
        assert found.optimizer.limit == pytest.approx(38 / 1e-2)
        assert found.optimizer.quantity == "preconditioned sharpness"

    def test_adam_before_its_first_step_is_absent_with_the_reason(self):
        model, loss, data = problem()
        found = measure(model, loss, data, optimizer=torch.optim.Adam(model.parameters()), quantities=["optimizer"])
        assert found.optimizer is None
        assert "step" in found.absent["optimizer"]


class TestShallow:
    def test_norms_of_a_sequential_are_those_of_its_shallow_form(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).double()
        _, _, (x, y) = problem()
        found = measure(model, SquaredLoss(), (x, y[:, :1]))
        network = ShallowReLU.from_sequential(model)
        assert found.norms == pytest.approx(
            {
                "path norm": path_norm(network),
                "variation norm": variation_norm(network),
                "weighted variation norm": weighted_variation_norm(network, x),
            }
        )
        assert found.theorem.startswith("applies: weighted norm")

    def test_a_shallow_network_has_everything_exactly(self):
        network = ShallowReLU(3, 8, seed=1)
        _, _, (x, y) = problem()
        found = measure(network, SquaredLoss(), (x, y[:, :1]))
        assert found.trace.error_kind == "none"
        assert found.backend == "closed form"
        assert found.activations[0].units == 8

    def test_other_architectures_have_no_norm_and_say_why(self, measured):
        assert measured[3].norms == {}
        assert "one hidden ReLU layer" in measured[3].absent["norms"]

    def test_the_theorem_is_silent_about_a_part_of_the_parameters(self):
        network = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1)).double()
        _, _, (x, y) = problem()
        assert measure(network, SquaredLoss(), (x, y[:, :1]), parameters="0.*").theorem is None


class TestActivations:
    def test_fractions_and_dead_units_are_counted(self):
        model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 0], [0, 0]]))
            model[0].bias.copy_(torch.tensor([0.0, 0, 1, -1]))
        x = torch.tensor([[1.0, 0], [2, 0], [-1, 0], [-3, 5]], dtype=torch.float64)
        (layer,) = measure(model, nn.MSELoss(), (x, x[:, :1]), quantities=["activations"]).activations
        assert layer.unit_fractions == (0.5, 0.5, 1.0, 0.0)
        assert (layer.fraction, layer.dead, layer.units, layer.name, layer.kind) == (0.5, 1, 4, "1", "ReLU")

    def test_channels_are_units_and_in_place_does_no_harm(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(20, 2)).double()
        x = torch.randn(10, 1, 4, 4, dtype=torch.float64)
        found = measure(model, nn.MSELoss(), (x, torch.zeros(10, 2, dtype=torch.float64)), quantities=["activations"])
        expected = (model[0](x) > 0).double().mean(dim=(0, 2, 3)).tolist()
        assert found.activations[0].unit_fractions == pytest.approx(tuple(expected))

    def test_most_units_dead_is_a_warning(self):
        model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
        with torch.no_grad():
            model[0].bias.fill_(-1e3)
        found = measure(model, *problem()[1:], quantities=["activations"])
        assert any("4 of 4 units" in warning for warning in found.warnings)

    def test_a_model_without_modules_for_them_says_so(self, measured):
        assert "functional calls are not seen" in measured[3].absent["activations"]


def trace_left(model):
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules()]
    modes = [m.training for m in model.modules()]
    flags = [(p.requires_grad, None if p.grad is None else p.grad.clone().tolist()) for p in model.parameters()]
    state = {name: value.clone().tolist() for name, value in model.state_dict().items()}
    return hooks, modes, flags, state, torch.get_rng_state().tolist()


class TestNoTrace:
    def model(self):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)).double()
        model[0].bias.requires_grad_(False)
        model[3].weight.grad = torch.ones(2, 6, dtype=torch.float64)
        return model

    def test_hooks_modes_flags_buffers_gradients_and_generators_stay(self):
        model, before = (m := self.model()), trace_left(m)
        found = measure(model, *problem()[1:])
        assert trace_left(model) == before
        assert any("Batch normalisation is in training mode (1)" in warning for warning in found.warnings)
        assert any("do not require a gradient" in warning for warning in found.warnings)

    @pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
    def test_also_after_an_error_in_the_middle(self, count):
        model, before = (m := self.model()), trace_left(m)
        calls = []

        def breaks(outputs, targets):
            calls.append(1)
            if len(calls) > count:
                raise ArithmeticError("no more")
            return (outputs - targets).square().mean()

        with pytest.raises((ArithmeticError, ComputationError)):
            measure(model, breaks, problem()[2])
        assert trace_left(model) == before


class TestResult:
    def test_json_there_and_back(self, measured):
        said = measured[3].to_dict()
        assert json.loads(json.dumps(said, allow_nan=False)) == said
        assert said["schema"] == "steppe.measurement/1"
        assert {
            "loss",
            "sharpness",
            "smallest",
            "trace",
            "density",
            "limits",
            "share",
            "absent",
            "warnings",
            "plan",
        } <= set(said)

    def test_every_field_is_there_or_has_a_reason(self, measured):
        found = measured[3]
        for name in ("sharpness", "smallest", "limits", "share", "trace", "density", "norms", "theorem", "activations"):
            assert getattr(found, name) or name in found.absent, name

    def test_it_prints_a_line_for_everything(self, measured):
        text = str(measured[3])
        for word in (
            "parameters",
            "loss",
            "sharpness",
            "smallest eigenvalue",
            "trace",
            "top eigenvector",
            "heavy ball",
        ):
            assert word in text

    def test_the_page_needs_no_network(self, measured, tmp_path):
        page = measured[3].save_html(tmp_path / "m.html").read_text(encoding="utf-8")
        own = page[: page.index("<script>")] + page[page.rindex("<script>") :]
        assert not re.search(r"(src|href)=\"(?!data:)", own)
        assert "default-src" in own
        assert "largest stable step, heavy ball 0.9" in own

    def test_figures_have_the_numbers(self, measured):
        figures = measured[3].figures
        assert set(figures) >= {"density", "share"}
        assert figures["share"].title.startswith(f"{max(measured[3].share.values()):.0%}")

    def test_only_what_was_asked_for(self):
        found = measure(*problem(), quantities=["sharpness"])
        assert isinstance(found, Measurement)
        assert found.trace is None
        assert found.limits == {}
        assert found.absent == {}


class TestDegenerate:
    def test_one_parameter(self):
        x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
        found = measure(nn.Linear(1, 1, bias=False).double(), nn.MSELoss(), (x, x))
        assert found.sharpness.value == pytest.approx(5.0)  # 2 · mean of x²
        assert found.smallest.value == found.trace.value == found.sharpness.value

    @pytest.mark.parametrize(("curvature", "expected"), [(0.0, 0.0), (-1.0, -2.0)])
    def test_no_positive_curvature_is_said(self, curvature, expected):
        class Bowl(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(torch.ones(50, dtype=torch.float64))

            def forward(self, x):
                return curvature * self.w.square().sum() + self.w.sum() * x

        x = torch.ones(10, 1, dtype=torch.float64)
        found = measure(Bowl(), lambda outputs, targets: outputs.mean(), (x, x))
        assert found.sharpness.value == pytest.approx(expected, abs=1e-9)
        assert found.limits == {}
        assert found.absent["limits"] == "the sharpness is not positive"
        assert any("no direction of positive curvature" in warning for warning in found.warnings)
        assert json.dumps(found.to_dict(), allow_nan=False)


class TestBadInput:
    def test_each_is_refused_by_its_name(self):
        model, loss, data = problem()
        with pytest.raises(UnknownNameError, match="'sharpnes'; did you mean 'sharpness'"):
            measure(model, loss, data, quantities=["sharpnes"])
        with pytest.raises(KindError, match="pass \\['trace'\\]"):
            measure(model, loss, data, quantities="trace")
        with pytest.raises(KindError, match="`model` must be a torch module"):
            measure(lambda x: x, loss, data)
        with pytest.raises(KindError, match="does not know the keyword `sample`"):
            measure(model, loss, data, sample=3)
        with pytest.raises(ParameterError, match="samples"):
            measure(model, loss, data, samples=0)
        with pytest.raises(DataError):
            measure(model, loss, (data[0] * math.nan, data[1]))
        with pytest.raises(ComputationError, match="loss is nan"):
            measure(model, lambda o, y: (o - y).mean() * math.nan, data)
