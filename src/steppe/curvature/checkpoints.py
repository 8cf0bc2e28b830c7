"""Sharpness over the checkpoints of a training that is done."""

import copy
import glob
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from steppe.core import DataError, Estimate, InputError, KindError, SteppeError, grouped
from steppe.plotting import Figure

from .limits import unwrapped_optimizer
from .monitor import EdgeMonitor, Reading
from .monitor_pages import curve_figure, save_page
from .options import ProblemOptions, refuse_unknown_options
from .selection import unwrapped
from .tracker import SharpnessTracker

_OWN = ("load", "optimizer", "limit", "rtol", "within", "seed", "progress")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "model*.pt", "*.pt", "*.pth")
_STATES = ("model", "state_dict", "model_state_dict", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_OPTIMIZERS = ("optimizer", "optimizer_state_dict", "optim")


@dataclass(frozen=True)
class CheckpointCurve:
    """Sharpness by checkpoint.

    Attributes:
        readings: One per checkpoint that could be measured, by step.
        skipped: Checkpoints that could not, with the reason.
        paths: The files or folders of the readings.
        within: As in `EdgeMonitor`.
        products: Operator–vector products in all.
        seconds: Wall time of the measurements.
    """

    readings: Sequence[Reading]
    skipped: Mapping[str, str]
    paths: Sequence[str]
    within: float
    products: int
    seconds: float = field(default=0.0)

    @property
    def steps(self) -> list[int]:
        """The steps measured."""
        return [reading.step for reading in self.readings]

    @property
    def estimates(self) -> list[Estimate]:
        """The sharpness at these steps."""
        return [reading.sharpness for reading in self.readings]

    def plot(self) -> Figure:
        """Sharpness against the dashed limit."""
        return curve_figure(self.readings, (), within=self.within, title="Sharpness over the checkpoints")

    def save_html(self, path: str | PathLike[str]) -> Path:
        """Write the plot as one HTML file that needs nothing but itself.

        Raises:
            StoreError: The file cannot be written.
        """
        return save_page(path, self.plot(), self.sentence(), self.readings)

    def sentence(self) -> str:
        """What was seen, in plain words; skipped checkpoints are named."""
        words = [f"{len(self.readings)} checkpoints, steps {self.steps[0]} to {self.steps[-1]}"]
        for state, said in (("at", "at the limit"), ("beyond", "beyond the limit")):
            first = next((reading.step for reading in self.readings if reading.state == state), None)
            if first is not None and math.isfinite(self.readings[-1].limit):
                words.append(f"{said} first at step {first}")
        words.append(f"{grouped(self.products)} products")
        if self.skipped:
            words.append(f"skipped: {', '.join(f'{Path(path).name} ({why})' for path, why in self.skipped.items())}")
        return "; ".join(words) + "."

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; what is not finite is None."""
        rows = [
            {
                "step": reading.step,
                "path": path,
                "sharpness": reading.sharpness.value,
                "residual": reading.sharpness.error,
                "low": reading.low,
                "high": reading.high,
                "limit": reading.limit if math.isfinite(reading.limit) else None,
                "margin": reading.margin if math.isfinite(reading.limit) else None,
                "state": reading.state if math.isfinite(reading.limit) else None,
                "layer": reading.layer,
                "layer_share": reading.layer_share,
                "products": reading.sharpness.products,
                "converged": reading.sharpness.converged,
            }
            for reading, path in zip(self.readings, self.paths, strict=True)
        ]
        return {"checkpoints": rows, "skipped": dict(self.skipped), "products": self.products, "seconds": self.seconds}

    def __str__(self) -> str:
        lines = [self.sentence()]
        for reading in self.readings:
            limit = f", {100 * reading.margin:.4g} % of the limit ({reading.state})"
            lines.append(
                f"  step {reading.step}: {reading.sharpness.value:.6g} ± {reading.sharpness.error:.2g}"
                f"{limit if math.isfinite(reading.limit) else ''}"
            )
        return "\n".join(lines)


def track_checkpoints(
    pattern: str | PathLike[str],
    model: Any,
    loss: Any,
    data: Any,
    *,
    load: Callable[[Path], Any] | None = None,
    optimizer: Any = None,
    limit: float | None = None,
    rtol: float = 1e-2,
    within: float = 0.05,
    seed: int = 0,
    progress: Callable[[int, int, str], Any] | None = None,
    **options: Unpack[ProblemOptions],
) -> CheckpointCurve:
    """Sharpness at every checkpoint that matches a pattern, each search started from the last eigenvector.

    Args:
        pattern: Files or folders, such as `"run/step-*"`; the step is the last number in the part that the pattern
            leaves open, and the order is that of the steps.
        model: The module, left as found; a copy takes the weights.
        loss: As in `sharpness`.
        data: As in `sharpness`.
        load: Reads a path: a state dict, a module, or a pair of one of these and the optimizer's state dict. None reads
            safetensors and tensors saved by torch (no other objects), in folders too, and optimizer states beside them.
        optimizer: The optimizer of the training, for its limit. If it is adaptive, every checkpoint must hold its
            state, and the sharpness is the preconditioned one.
        limit: A limit to compare with, without an optimizer.
        rtol: As in `SharpnessTracker`.
        within: As in `EdgeMonitor`.
        seed: Seed of the random directions.
        progress: Called with the number done, the number in all, and the path.
        **options: `parameters`, `weight`, `objective`, `memory`, as in `ProblemOptions`.

    Returns:
        The curve; checkpoints that could not be read, did not fit or could not be measured are in `skipped`, and warned
        about.

    Raises:
        DataError: Nothing matches, or no checkpoint could be measured; the reasons are named.
        KindError: An argument is of another kind.

    Cost: about two products a checkpoint after the first, and a copy of model and optimizer.
    """
    refuse_unknown_options("track_checkpoints", options, *_OWN)
    found = find_checkpoints(pattern)
    if not isinstance(model, nn.Module):
        raise KindError(f"`model` must be a torch module, got {type(model).__name__}; pass a module")
    inner = None if optimizer is None else unwrapped_optimizer(optimizer)
    # Together, so that the copied optimizer holds the copied parameters.
    copied, stepper = copy.deepcopy((unwrapped(model), inner))
    adaptive = stepper is not None and not isinstance(stepper, torch.optim.SGD)
    tracker = SharpnessTracker(
        copied, loss, data, rtol=rtol, optimizer=stepper if adaptive else None, seed=seed, **options
    )
    monitor = EdgeMonitor(
        tracker, optimizer=stepper, limit=1.0 if stepper is None and limit is None else limit, within=within
    )
    curve: list[tuple[str, Reading]] = []
    skipped: dict[str, str] = {}
    for number, (step, path) in enumerate(found, start=1):
        try:
            target = _put(path, (load or read_checkpoint)(path), copied, stepper, adaptive=adaptive)
            curve.append((str(path), monitor.measure(step, model=target)))
        except Exception as error:  # a broken checkpoint must not cost the others; it is named below
            skipped[str(path)] = _words(error)
            warnings.warn(f"checkpoint {path} was skipped: {_words(error)}", stacklevel=2)
        if progress is not None:
            progress(number, len(found), str(path))
    if not curve:
        listed = "; ".join(f"{path}: {why}" for path, why in skipped.items())
        raise DataError(
            f"`pattern` {str(pattern)!r} matched {len(found)} checkpoints, none could be measured: {listed}"
        )
    readings = [_unlimited(reading) if stepper is None and limit is None else reading for _, reading in curve]
    return CheckpointCurve(
        readings=readings,
        skipped=skipped,
        paths=[path for path, _ in curve],
        within=within,
        products=sum(check.products for check in tracker.history),
        seconds=monitor.pacing.measuring,
    )


def find_checkpoints(pattern: str | PathLike[str]) -> list[tuple[int, Path]]:
    """Steps and paths that a pattern matches, by step.

    Raises:
        DataError: Nothing matches.
    """
    text = str(pattern)
    paths = sorted(Path(path) for path in glob.glob(text, recursive=True))
    if not paths:
        raise DataError(f"`pattern` must match files or folders, got {text!r}, which matches none; check the path")
    opened = [index for index, part in enumerate(Path(text).parts) if glob.has_magic(part)]
    found = []
    for place, path in enumerate(paths):
        shown = [path.parts[index] for index in opened if index < len(path.parts)] or [path.name]
        numbers = re.findall(r"\d+", " ".join(part.removesuffix(path.suffix) for part in shown))
        found.append((int(numbers[-1]) if numbers else place, path))
    return sorted(found, key=lambda item: item[0])


def read_checkpoint(path: Path) -> Any:
    """The tensors of a checkpoint: a state dict, or a pair with the optimizer's.

    Raises:
        DataError: There is no such file in the folder, or it holds something else.
    """
    if not path.is_dir():
        return _read_file(path)
    files = next((sorted(path.glob(kind)) for kind in _WEIGHTS if list(path.glob(kind))), [])
    files = [file for file in files if not file.name.startswith(("optimizer", "optim", "scheduler", "rng", "scaler"))]
    if not files:
        raise DataError(f"the folder {path} must hold weights as .safetensors, .bin or .pt, got none; pass load=")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read_file(file)  # several are the parts of one model
    beside = next((path / name for name in ("optimizer.pt", "optimizer.bin") if (path / name).exists()), None)
    return state if beside is None else (state, _read_file(beside))


def _read_file(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - tensors of others, no pickled code


def _put(path: Path, loaded: Any, model: nn.Module, optimizer: Any, *, adaptive: bool) -> nn.Module:
    """The model with the weights of a checkpoint, and the optimizer with its state."""
    state, stepped = loaded if isinstance(loaded, tuple) and len(loaded) == 2 else (loaded, None)
    if isinstance(state, Mapping) and not all(isinstance(value, Tensor) for value in state.values()):
        stepped = next((state[name] for name in _OPTIMIZERS if name in state), stepped)
        state = next((state[name] for name in _STATES if name in state), None)
    if isinstance(state, nn.Module):
        state = state.state_dict()
    if not isinstance(state, Mapping):
        raise KindError(f"{path} must hold a state dict or a module, got {type(loaded).__name__}; pass load=")
    _fill(model, state)
    if adaptive:
        if stepped is None:
            raise InputError("it holds no optimizer state, which the preconditioned sharpness needs")
        optimizer.load_state_dict(stepped)
    elif optimizer is not None and stepped is not None:
        optimizer.load_state_dict(stepped)  # the step size of then
    return model


def _fill(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load the weights; prefixes of wrappers are dropped, and a tied tensor need be there once."""
    for prefix in _PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    try:
        left = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise DataError(f"the weights do not fit the model: {str(error).splitlines()[-1].strip()}") from error
    held = {id(tensor) for name, tensor in model.state_dict(keep_vars=True).items() if name in state}
    tensors = model.state_dict(keep_vars=True)
    missing = [name for name in left.missing_keys if id(tensors.get(name)) not in held]
    if missing or left.unexpected_keys:
        named = f"{missing[0]!r} is missing" if missing else f"{left.unexpected_keys[0]!r} is not in the model"
        raise DataError(f"the weights do not fit the model: {named}")


def _words(error: Exception) -> str:
    said = str(error).strip().splitlines()
    words = said[0] if said else "no message"
    return words if isinstance(error, SteppeError) else f"{type(error).__name__}: {words}"


def _unlimited(reading: Reading) -> Reading:
    return Reading(**{**vars(reading), "limit": math.inf, "margin": 0.0, "state": "below"})
