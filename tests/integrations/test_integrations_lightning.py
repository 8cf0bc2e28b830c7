"""The callback inside the real Lightning Trainer."""

import csv
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from torch import nn

from steppe.curvature import preconditioned_sharpness, sharpness

# What Lightning says about the machine, about workers for data, and through PyTorch's own deprecations.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*isinstance\\(treespec, LeafSpec\\).*"),
    pytest.mark.filterwarnings("ignore:.*number of training batches.*is smaller than the logging interval.*"),
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty.*"),
    pytest.mark.filterwarnings("ignore:.*resuming from a checkpoint that ended before the epoch ended.*"),
    pytest.mark.filterwarnings("ignore:.*litlogger.*"),
]
lightning = pytest.importorskip("lightning.pytorch", reason="needs steppe[lightning]")
torchmetrics = pytest.importorskip("torchmetrics", reason="comes with lightning")
loggers = import_module("lightning.pytorch.loggers")
SharpnessCallback = import_module("steppe.integrations.lightning").SharpnessCallback

STEPS = 6


class Classifier(lightning.LightningModule):
    """Everything that a training step may do beside computing a loss."""

    def __init__(self, *, dropout=0.2, norm=True, adam=True):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Linear(5, 12), nn.BatchNorm1d(12) if norm else nn.Identity(), nn.Tanh(), nn.Dropout(dropout),
            nn.Linear(12, 3),
        )  # fmt: skip
        self.accuracy = torchmetrics.Accuracy("multiclass", num_classes=3)
        self.seen, self.calls, self.adam = [], 0, adam

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        outputs = self(x)
        loss = nn.functional.cross_entropy(outputs, y)
        self.accuracy(outputs, y)
        self.log("accuracy", self.accuracy)
        self.log("train_loss", loss)
        self.seen.append(float(loss.detach()))
        self.calls += 1
        return {"loss": loss}

    def configure_optimizers(self):
        if not self.adam:
            return torch.optim.SGD(self.parameters(), lr=0.1)
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2, weight_decay=0.0)
        halved = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halved, "interval": "step"}}


def batches(count=8):
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(8 * count, 5, generator=rng), torch.randint(0, 3, (8 * count,), generator=rng)
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=8, shuffle=True)


def trained(folder, callbacks=(), *, module=None, steps=STEPS, logger=False, resume=None, data=None, **options):
    lightning.seed_everything(4, verbose=False)
    module = module or Classifier()
    settings = {"enable_checkpointing": False, **options}
    trainer = lightning.Trainer(
        max_steps=steps, accelerator="cpu", devices=1, callbacks=list(callbacks), logger=logger, log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **settings,
    )  # fmt: skip
    trainer.fit(module, data or batches(), ckpt_path=resume)
    return trainer, module


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_two_lines_log_everything_and_change_nothing(tmp_path):
    callback = SharpnessCallback(every=2, strict=True)
    logger = loggers.CSVLogger(tmp_path)
    trainer, followed = trained(tmp_path, [callback], logger=logger)
    state = torch.get_rng_state()
    _, plain = trained(tmp_path)
    assert same_weights(followed, plain)
    assert torch.equal(state, torch.get_rng_state())
    assert (followed.calls, followed.seen) == (plain.calls, plain.seen)
    assert followed.accuracy._update_count == plain.accuracy._update_count
    assert [row["step"] for row in callback.rows] == [2, 4, 6]
    assert {"sharpness", "limit", "margin", "edge", "layer_share"} <= set(trainer.callback_metrics)
    with open(f"{logger.log_dir}/metrics.csv", encoding="utf-8") as lines:
        logged = [row for row in csv.DictReader(lines) if row["sharpness"]]
    assert [float(row["sharpness"]) for row in logged] == pytest.approx([row["sharpness"] for row in callback.rows])
    assert all(row["layer"] in dict(followed.named_modules()) for row in callback.rows)


def test_the_limit_follows_the_schedule(tmp_path):
    callback = SharpnessCallback(every=1, strict=True)
    trained(tmp_path, [callback], steps=4)
    assert [row["limit"] for row in callback.rows] == pytest.approx([38 / 1e-2, 38 / 5e-3, 38 / 5e-3, 38 / 2.5e-3])


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2}], ids=str)
def test_numbers_are_those_of_a_direct_measurement(tmp_path, options):
    callback = SharpnessCallback(every=3, strict=True, rtol=1e-3)
    first = []

    class Keep(lightning.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            first.append([part.clone() for part in batch])

    trainer, module = trained(tmp_path, [Keep(), callback], steps=3, **options)
    module.train()
    module.net[3].eval()  # no dropout; BatchNorm as in training
    direct = preconditioned_sharpness(
        module, nn.CrossEntropyLoss(), tuple(first[0]), optimizer=trainer.optimizers[0], rtol=1e-3
    )
    assert callback.rows[-1]["sharpness"] == pytest.approx(float(direct), rel=1e-3)
    assert "BatchNorm with the statistics of the probe" in callback.convention


def test_a_bias_that_batch_norm_removes_does_not_count(tmp_path):
    callback = SharpnessCallback(every=STEPS, strict=True)
    trainer, module = trained(tmp_path, [callback])
    module.eval()  # here the bias has curvature, which Adam divides by a second moment of nearly zero
    x, y = next(iter(batches()))
    wrong = preconditioned_sharpness(module, nn.CrossEntropyLoss(), (x, y), optimizer=trainer.optimizers[0])
    assert float(wrong) > 50 * callback.rows[-1]["sharpness"]


def test_a_loss_of_ones_own(tmp_path):
    x, y = next(iter(batches()))
    callback = SharpnessCallback(every=2, strict=True, probe=(x, y), loss=nn.CrossEntropyLoss(), rtol=1e-3)
    _, module = trained(tmp_path, [callback], module=Classifier(dropout=0.0, norm=False, adam=False), steps=2)
    assert callback.rows[-1]["sharpness"] == pytest.approx(
        float(sharpness(module, nn.CrossEntropyLoss(), (x, y))), rel=2e-3
    )
    assert callback.rows[-1]["limit"] == pytest.approx(20.0)


def test_batches_of_any_shape(tmp_path):
    class Nested(Classifier):
        def training_step(self, batch):
            (x,), named = batch
            return nn.functional.cross_entropy(self(x), named["y"])

    def collate(samples):
        x, y = torch.utils.data.default_collate(samples)
        return (x,), {"y": y}

    loader = torch.utils.data.DataLoader(batches().dataset, batch_size=8, collate_fn=collate)
    callback = SharpnessCallback(every=2, strict=True, samples=6)
    trained(tmp_path, [callback], module=Nested(), data=loader, steps=2)
    assert len(callback.rows) == 1
    assert "mean of 6 samples" in callback.convention


def test_manual_optimization_needs_a_loss(tmp_path):
    class Manual(Classifier):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(nn.functional.cross_entropy(self(batch[0]), batch[1]))
            optimizer.step()

    with pytest.warns(RuntimeWarning, match=r"manual optimization; pass loss= or objective="):
        trained(tmp_path, [SharpnessCallback(every=1)], module=Manual(), steps=2)
    callback = SharpnessCallback(every=1, loss=nn.CrossEntropyLoss(), strict=True)
    trained(tmp_path, [callback], module=Manual(), steps=2)
    assert [row["step"] for row in callback.rows] == [1, 2]


def test_an_error_does_not_end_the_training(tmp_path):
    def broken(model, batch):
        raise RuntimeError("no such luck")

    callback = SharpnessCallback(every=1, objective=broken)
    with pytest.warns(RuntimeWarning, match="the training goes on: .*no such luck"):
        trainer, module = trained(tmp_path, [callback])
    assert trainer.global_step == STEPS
    assert same_weights(module, trained(tmp_path)[1])
    with pytest.raises(RuntimeError, match="no such luck"):
        trained(tmp_path, [SharpnessCallback(every=1, objective=broken, strict=True)])


def test_a_resumed_run_goes_on_with_its_curve(tmp_path):
    trainer, _ = trained(tmp_path, [SharpnessCallback(every=1, strict=True)], steps=8, enable_checkpointing=False)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    callback = SharpnessCallback(every=1, strict=True)
    trained(tmp_path, [callback], steps=10, resume=tmp_path / "half.ckpt")
    assert [row["step"] for row in callback.rows] == list(range(1, 11))


@pytest.mark.slow
def test_the_other_name_of_the_package_works_too():
    code = """
import warnings; warnings.simplefilter("ignore")
import pytorch_lightning, torch
from steppe.integrations.lightning import SharpnessCallback
class M(pytorch_lightning.LightningModule):
    def __init__(self):
        super().__init__(); self.net = torch.nn.Linear(3, 1)
    def training_step(self, batch, batch_idx): return self.net(batch[0]).square().mean()
    def configure_optimizers(self): return torch.optim.SGD(self.parameters(), lr=0.1)
data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(8, 3)), batch_size=4)
callback = SharpnessCallback(every=1, strict=True)
assert isinstance(callback, pytorch_lightning.Callback)
trainer = pytorch_lightning.Trainer(max_steps=2, accelerator="cpu", devices=1, callbacks=[callback], logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
trainer.fit(M(), data)
print([round(row["sharpness"], 6) for row in callback.rows])
"""
    pytest.importorskip("pytorch_lightning")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    assert found.returncode == 0, found.stderr[-2000:]
    assert found.stdout.strip().endswith("[8.0, 8.0]")  # 2 (1 + |x|²) for x = (1, 1, 1)
