"""Several processes and compiled models: shown in processes of their own, where the trainers set up what they need."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import sys, tempfile, warnings
warnings.simplefilter("ignore")
import torch, transformers
from steppe.integrations.huggingface import SharpnessCallback

transformers.logging.set_verbosity_error()

def train(callbacks):
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=16, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    tokens = torch.randint(0, 50, (40, 16), generator=torch.Generator().manual_seed(1))
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=transformers.GPT2LMHeadModel(config),
            args=transformers.TrainingArguments(
                output_dir=folder, max_steps=4, per_device_train_batch_size=4, report_to=[], disable_tqdm=True,
                save_strategy="no", use_cpu=True, learning_rate=1e-2, seed=3, {options}),
            train_dataset=[{"input_ids": row, "labels": row} for row in tokens],
            callbacks=callbacks)
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return trainer

callback = SharpnessCallback(every=2, strict=True)
followed, plain = train([callback]), train([])
weights = zip(followed.model.state_dict().values(), plain.model.state_dict().values(), strict=True)
same = all(torch.equal(a, b) for a, b in weights)
wrapper = type(followed.model_wrapped).__name__
sys.stdout.write(f"{torch.distributed.is_initialized()} {wrapper} {[row['step'] for row in callback.rows]} {same}\\n")
"""


def printed(tmp_path, *launcher, options=""):
    pytest.importorskip("transformers", reason="needs steppe[hf]")
    pytest.importorskip("accelerate", reason="needs steppe[hf]")
    script = tmp_path / "train.py"
    script.write_text(SCRIPT.replace("{options}", options), encoding="utf-8")
    command = [sys.executable, *launcher, str(script)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    found = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    assert found.returncode == 0, found.stderr[-3000:]
    return sorted(line for line in found.stdout.splitlines() if line.startswith(("True", "False")))


def test_the_first_of_two_processes_measures_and_both_end_with_the_same_weights(tmp_path):
    found = printed(tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    assert found == ["True DistributedDataParallel [2, 4] True", "True DistributedDataParallel [] True"]


def test_a_compiled_model_is_measured_without_its_compiled_code(tmp_path):
    found = printed(tmp_path, options="torch_compile=True, torch_compile_backend='eager'")
    assert found == ["False OptimizedModule [2, 4] True"]
