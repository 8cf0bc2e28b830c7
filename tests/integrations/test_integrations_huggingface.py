"""The callback inside the real Hugging Face Trainer."""

import math
import os
import subprocess
import sys
from importlib import import_module
from types import SimpleNamespace

import pytest
import torch

from steppe.core import KindError, ParameterError
from steppe.curvature import preconditioned_sharpness, sharpness

os.environ.setdefault("HF_HUB_OFFLINE", "1")
transformers = pytest.importorskip("transformers", reason="needs steppe[hf]")
pytest.importorskip("accelerate", reason="needs steppe[hf]")
SharpnessCallback = import_module("steppe.integrations.huggingface").SharpnessCallback

VOCABULARY, LENGTH = 50, 16
NAMES = {"sharpness", "limit", "margin", "state", "layer"}


def gpt2(**options):
    """A tiny GPT-2 with its default attention and its default dropout."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0,
        loss_type="ForCausalLM", **options,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def tokens(count=40):
    rng = torch.Generator().manual_seed(1)
    return [{"input_ids": row, "labels": row} for row in torch.randint(0, VOCABULARY, (count, LENGTH), generator=rng)]


def trained(folder, callbacks=(), *, steps=6, model=None, resume=None, optimizers=(None, None), **options):
    settings = {
        "output_dir": str(folder), "max_steps": steps, "per_device_train_batch_size": 8, "logging_steps": 1, "seed": 3,
        "report_to": [], "disable_tqdm": True, "save_strategy": "no", "use_cpu": True, "learning_rate": 1e-2,
    }  # fmt: skip
    trainer = transformers.Trainer(
        model=model or gpt2(),
        args=transformers.TrainingArguments(**{**settings, **options}),
        train_dataset=tokens(),
        callbacks=list(callbacks),
        optimizers=optimizers,
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def checks(trainer):
    return [entry for entry in trainer.state.log_history if "sharpness" in entry]


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_two_lines_log_everything_and_change_nothing(tmp_path):
    callback = SharpnessCallback(every=2, strict=True)
    followed = trained(tmp_path, [callback])
    followed_state = torch.get_rng_state()
    plain = trained(tmp_path)
    assert same_weights(followed.model, plain.model)
    assert torch.equal(followed_state, torch.get_rng_state())
    assert losses(followed) == losses(plain)
    assert followed.model.training
    assert not followed.model._forward_pre_hooks
    assert [entry["step"] for entry in checks(followed)] == [2, 4, 6]
    assert all(set(entry) >= NAMES for entry in checks(followed)[:-1])
    assert set(checks(followed)[-1]) >= NAMES - {"limit"}  # infinite: the schedule ends at a rate of 0
    assert [row["step"] for row in callback.rows] == [2, 4, 6]
    for row in callback.rows:
        assert row["margin"] == pytest.approx(row["sharpness"] / row["limit"])
        assert row["state"] in ("below", "at", "beyond")
        assert row["layer"] in dict(followed.model.named_modules())
    assert "without dropout and outside of autocast" in callback.convention


@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"gradient_accumulation_steps": 2}], ids=str)
def test_numbers_are_those_of_a_direct_measurement(tmp_path, options):
    seen = []

    class Keep(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **more):
            keep = lambda _, __, named: seen.append({k: v.clone() for k, v in named.items() if torch.is_tensor(v)})  # noqa: E731
            self.handle = model.register_forward_pre_hook(keep, with_kwargs=True)

    callback = SharpnessCallback(every=4, strict=True, rtol=1e-3)
    trainer = trained(tmp_path, [Keep(), callback], steps=4, lr_scheduler_type="constant", **options)
    model = gpt2(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)  # the same weights, no dropout, no autocast
    model.load_state_dict(trainer.model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for name, parameter in trainer.model.named_parameters():
        optimizer.state[model.get_parameter(name)] = dict(trainer.optimizer.state[parameter])
    batch = {name: seen[0][name] for name in ("input_ids", "labels")}
    direct = preconditioned_sharpness(model, None, batch, optimizer=optimizer, rtol=1e-3)
    assert callback.rows[-1]["sharpness"] == pytest.approx(float(direct), rel=1e-3)
    assert callback.rows[-1]["limit"] == pytest.approx(38 / 1e-2)


def test_the_limit_follows_the_schedule(tmp_path):
    callback = SharpnessCallback(every=1, strict=True)
    trained(tmp_path, [callback], steps=4, lr_scheduler_type="linear", weight_decay=0.0)
    coming = [1e-2 * (1 - step / 4) for step in (1, 2, 3, 4)]
    assert [row["limit"] for row in callback.rows] == pytest.approx([38 / lr if lr else math.inf for lr in coming])
    assert callback.rows[-1]["state"] == "below"  # a rate of 0 moves nothing


def test_plain_gradient_descent_is_measured_without_a_preconditioner(tmp_path):
    model = gpt2(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    constant = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    probe = {name: torch.stack([row[name] for row in tokens(4)]) for name in ("input_ids", "labels")}
    callback = SharpnessCallback(every=3, strict=True, probe=probe, rtol=1e-3)
    trained(tmp_path, [callback], steps=3, model=model, optimizers=(optimizer, constant))
    assert callback.rows[-1]["sharpness"] == pytest.approx(float(sharpness(model, None, probe)), rel=1e-3)
    assert callback.rows[-1]["limit"] == pytest.approx(3.8 / 0.1)


def test_an_error_does_not_end_the_training_and_is_said_once(tmp_path):
    def broken(model, batch):
        raise RuntimeError("no such luck")

    callback = SharpnessCallback(every=1, objective=broken)
    with pytest.warns(RuntimeWarning, match="stopped measuring, and the training goes on: .*no such luck") as said:
        trainer = trained(tmp_path, [callback], steps=4)
    assert len(said) == 1
    assert trainer.state.global_step == 4
    assert checks(trainer) == []
    assert "no such luck" in callback.stopped
    assert same_weights(trainer.model, trained(tmp_path, steps=4).model)
    with pytest.raises(RuntimeError, match="no such luck"):
        trained(tmp_path, [SharpnessCallback(every=1, objective=broken, strict=True)], steps=2)


def test_a_loss_outside_of_the_model_is_named_as_the_reason(tmp_path):
    callback = SharpnessCallback(every=2)
    with pytest.warns(RuntimeWarning, match=r"must return an object with `\.loss`"):
        trained(tmp_path, [callback], steps=2, label_smoothing_factor=0.1)
    assert callback.rows == []


def test_a_resumed_run_goes_on_with_its_curve(tmp_path):
    trained(tmp_path, [SharpnessCallback(every=1, strict=True)], steps=4, save_strategy="steps", save_steps=2)
    callback = SharpnessCallback(every=1, strict=True)
    trainer = trained(tmp_path, [callback], steps=4, resume=str(tmp_path / "checkpoint-2"))
    assert [row["step"] for row in callback.rows] == [1, 2, 3, 4]
    assert [entry["step"] for entry in checks(trainer)] == [1, 2, 3, 4]
    assert [row["margin"] for row in callback.rows] == [entry["margin"] for entry in checks(trainer)]


def test_the_page_and_the_callable_get_every_check(tmp_path):
    told = []
    page = tmp_path / "page.html"
    callback = SharpnessCallback(
        every=2, samples=2, log=lambda numbers, step: told.append((step, numbers)), html=page, prefix="edge/"
    )
    trainer = trained(tmp_path, [callback], steps=4)
    assert [step for step, _ in told] == [2, 4]
    assert all(set(numbers) >= NAMES for _, numbers in told)
    assert [entry["step"] for entry in trainer.state.log_history if "edge/margin" in entry] == [2, 4]
    text = page.read_text(encoding="utf-8")
    assert f"<td>{callback.rows[0]['sharpness']:.6g}</td>" in text
    assert callback.rows[0]["layer"] in text
    assert "of the training time" in text
    assert "mean of 32 tokens" in callback.convention  # 2 of the 8 sequences


def test_without_a_period_it_keeps_to_a_share_of_the_time(tmp_path):
    callback = SharpnessCallback(strict=True)
    trained(tmp_path, [callback], steps=30)
    assert 1 <= len(callback.rows) < 20
    assert callback.rows[0]["step"] < 30


def test_forward_passes_are_enough(tmp_path):
    callback = SharpnessCallback(every=2, method="critical", strict=True)
    followed = trained(tmp_path, [callback], steps=4)
    assert [row["step"] for row in callback.rows] == [2, 4]
    assert all(row["sharpness"] > 0 and row["layer"] == "" for row in callback.rows)
    assert same_weights(followed.model, trained(tmp_path, steps=4).model)


def test_other_processes_do_not_measure():
    callback = SharpnessCallback(every=1, strict=True)
    state = SimpleNamespace(is_world_process_zero=False, global_step=4, log_history=[])
    model = gpt2()
    callback.on_train_begin(None, state, None, model=model)
    assert not model._forward_pre_hooks
    callback.on_step_end(None, state, None, model=model, optimizer=None)
    assert callback.rows == []


def test_sharded_models_are_left_alone():
    class FullyShardedDataParallel(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(2, 1)

    callback = SharpnessCallback(every=1, probe=(torch.ones(2, 2), torch.ones(2, 1)))
    state = SimpleNamespace(is_world_process_zero=True, global_step=1, log_history=[])
    model = FullyShardedDataParallel()
    with pytest.warns(RuntimeWarning, match="hold all its parameters on this process"):
        callback.on_step_end(None, state, None, model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1))


def test_the_door_loads_no_trainer():
    code = (
        "import sys, steppe.integrations\n"
        "print(*(name for name in ('transformers', 'lightning', 'pytorch_lightning') if name in sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert found.stdout.strip() == ""


@pytest.mark.door
def test_doors():
    with pytest.raises(KindError, match="every"):
        SharpnessCallback(evry=5)
    with pytest.raises(ParameterError, match="every"):
        SharpnessCallback(every=0)
    with pytest.raises(ParameterError, match="overhead"):
        SharpnessCallback(overhead=0.0)


@pytest.mark.gpu
def test_gradient_scaling_plays_no_part(tmp_path):
    callback = SharpnessCallback(every=2, strict=True)
    followed = trained(tmp_path, [callback], steps=4, use_cpu=False, fp16=True)
    assert [row["step"] for row in callback.rows] == [2, 4]
    assert all(math.isfinite(row["sharpness"]) for row in callback.rows)
    assert next(followed.model.parameters()).is_cuda
