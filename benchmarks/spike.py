"""Does sharpness see a loss spike coming? A small GPT in the Hugging Face Trainer whose step is raised past the edge.

Usage: OMP_NUM_THREADS=1 python benchmarks/spike.py [--seeds 20] [--html spike.html]

What is fixed before any run:

* The model is GPT-2 from a config (2 layers, width 64, default attention), the tokens come from a random Markov chain,
  so that there is something to learn, and the optimizer is AdamW with its defaults and without clipping. The learning
  rate warms up to 3e-3; from step 60 on it grows by a tenth per step. In half of the runs it grows to 20 times its
  value, which takes the optimizer past its stability limit; in the control runs, near misses, to 3 times.
* `SharpnessCallback(every=4, samples=8, rtol=0.1)` measures preconditioned sharpness on the first 8 of the 32 sequences
  of the first training batch, to a few percent, from below: enough for an alarm.
* Alarm: sharpness above the limit in two checks in a row; the alarm is raised at the second.
* Spike: the training loss is above 1.5 times its lowest value so far, in two steps in a row; it begins at the first.
* Lead: steps from alarm to spike. Missed: a spike without an earlier alarm. False: an alarm without a later spike.

What it cannot show: here the schedule alone brings the instability, at about the same step in every run. The runs tell
how long before the spike sharpness crosses the limit, and that a near miss raises no alarm; not how often spikes of
other causes (bad batches, rounding) come without a crossing.
"""

import argparse
import math
import os
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from torch import Tensor

from steppe.integrations.huggingface import SharpnessCallback

VOCABULARY, LENGTH, SEQUENCES, BATCH, PROBE = 64, 32, 2048, 32, 8
STEPS, WARM_UP, RAISE_AT, GROWTH, RATE = 112, 10, 60, 1.1, 3e-3
HIGHEST, NEAR_MISS = 20.0, 3.0
EVERY, RTOL, SPIKE = 4, 0.1, 1.5


@dataclass
class Run:
    """What one training showed."""

    seed: int
    raised: bool
    losses: list[float]
    rows: list[dict[str, Any]]
    seconds: float
    convention: str = ""
    overhead: float = math.nan
    alarm: int | None = field(init=False)
    spike: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.alarm, self.spike = alarm_of(self.rows), spike_of(self.losses)

    @property
    def lead(self) -> int | None:
        """Steps from the alarm to the spike."""
        return None if self.alarm is None or self.spike is None else self.spike - self.alarm

    @property
    def at_alarm(self) -> dict[str, Any]:
        """The check that raised the alarm."""
        return next((row for row in self.rows if row["step"] == self.alarm), {})


def alarm_of(rows: list[dict[str, Any]]) -> int | None:
    """The step of the second check in a row whose margin is above 1."""
    for before, row in pairwise(rows):
        if before["margin"] > 1 and row["margin"] > 1:
            return int(row["step"])
    return None


def spike_of(losses: list[float]) -> int | None:
    """The first of two steps in a row (counted from 1) with a loss above SPIKE times the lowest so far."""
    lowest = math.inf
    high = 0
    for step, loss in enumerate(losses, start=1):
        high = high + 1 if not loss <= SPIKE * lowest else 0  # NaN is high
        if high == 2:
            return step - 1
        lowest = min(lowest, loss) if high == 0 else lowest
    return None


def tokens(seed: int) -> Tensor:
    """Sequences of a Markov chain; every token has a few likely successors."""
    rng = torch.Generator().manual_seed(seed)
    chain = torch.softmax(2 * torch.randn(VOCABULARY, VOCABULARY, generator=rng), dim=1)
    found = torch.randint(0, VOCABULARY, (SEQUENCES, 1), generator=rng)
    for _ in range(LENGTH - 1):
        found = torch.cat([found, torch.multinomial(chain[found[:, -1]], 1, generator=rng)], dim=1)
    return found


def rate(step: int, *, raised: bool) -> float:
    """The learning rate of step + 1, relative to RATE."""
    growth = min(GROWTH ** max(0, step - RAISE_AT), HIGHEST if raised else NEAR_MISS)
    return min(1.0, (step + 1) / WARM_UP) * growth


def train(seed: int, *, raised: bool, every: int = EVERY, html: str | None = None) -> Run:
    torch.manual_seed(seed)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4, resid_pdrop=0.0, embd_pdrop=0.0,
            attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, raised=raised))
    callback = SharpnessCallback(every=every, samples=PROBE, rtol=RTOL, html=html)
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder, max_steps=STEPS, per_device_train_batch_size=BATCH, logging_steps=1, seed=seed,
                max_grad_norm=0.0, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
                logging_nan_inf_filter=False,
            ),
            train_dataset=[{"input_ids": row, "labels": row} for row in tokens(seed)],
            optimizers=(optimizer, schedule),
            callbacks=[callback],
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    overhead = callback.rows[-1]["overhead"] if callback.rows else math.nan
    return Run(seed, raised, losses, callback.rows, seconds, callback.convention, overhead)


def line(run: Run) -> str:
    row = run.at_alarm
    steps = ["" if step is None else step for step in (run.alarm, run.spike, run.lead)]
    top = max((row["margin"] for row in run.rows), default=math.nan)
    after = max(run.losses[RAISE_AT:])
    carried = f"{row['layer']} ({100 * row['layer_share']:.0f} %)" if row else ""
    numbers = [f"{top:.2f}", f"{min(run.losses):.2f}", f"{after:.2f}", carried, f"{100 * run.overhead:.0f} %"]
    return "| " + " | ".join(map(str, [run.seed, "raised" if run.raised else "control", *steps, *numbers])) + " |"


def summary(runs: list[Run]) -> list[str]:
    raised, controls = [r for r in runs if r.raised], [r for r in runs if not r.raised]
    spiked = [r for r in raised if r.spike is not None]
    leads = sorted(r.lead for r in spiked if r.lead is not None)
    missed = [r for r in runs if r.spike is not None and (r.lead is None or r.lead <= 0)]
    false = [r for r in runs if r.alarm is not None and r.spike is None]
    said = f"median {statistics.median(leads):g}, from {leads[0]} to {leads[-1]}" if leads else "none"
    layers = [str(r.at_alarm["layer"]) for r in raised if r.at_alarm]
    commonest = max(set(layers), key=layers.count) if layers else "none"
    share = statistics.median(r.overhead for r in runs)
    return [
        f"* spikes: {len(spiked)} of {len(raised)} raised runs, "
        f"{sum(r.spike is not None for r in controls)} of {len(controls)} control runs",
        f"* lead in steps, over {len(leads)} spikes with an alarm: {said}",
        f"* missed: {len(missed)} of {sum(r.spike is not None for r in runs)} spikes (no alarm before the spike)",
        f"* false alarms: {sum(not r.raised for r in false)} of {len(controls)} control runs, "
        f"{sum(r.raised for r in false)} of {len(raised)} raised runs",
        f"* layer named at the alarm: {commonest} in {layers.count(commonest)} of {len(layers)}",
        f"* overhead: a check cost as much as {EVERY * share:.1f} steps of training (median); every {EVERY} it added "
        f"{100 * share:.0f} % to the training time, every 50 it would be {100 * EVERY * share / 50:.0f} %",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--html", default=None, help="where to write the page of the first raised run")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    print(f"{platform.processor() or platform.machine()}, 1 thread; Python {platform.python_version()}, ", end="")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}; {datetime.now(UTC):%Y-%m-%d}\n")
    print(
        "| seed | rate | alarm | spike | lead | highest margin | lowest loss | highest loss after | layer | overhead |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    runs = []
    for seed in range(arguments.seeds):
        for raised in (True, False):
            runs.append(train(seed, raised=raised, html=arguments.html if raised and seed == 0 else None))
            print(line(runs[-1]), flush=True)
    print("\n" + "\n".join(summary(runs)))
    print(f"* measured: {runs[0].convention}")


if __name__ == "__main__":
    main()
