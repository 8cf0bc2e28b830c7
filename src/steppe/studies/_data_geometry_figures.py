"""The figures of `liang2025-data-geometry`: rows in, figures out."""

from collections.abc import Callable
from typing import Any

import numpy as np

from steppe.core import NotComputedError, SteppeError
from steppe.harness import Row, Rows
from steppe.plotting import Axis, Figure, Histogram, Lines, Panel, Scatter
from steppe.stats import fit_power_law
from steppe.theory import rates

_SAMPLES = Axis("n, samples", scale="log")
_ERROR = Axis("error to clean targets", scale="log")
_SHARE = Axis("share of the samples that activate the neuron", range=(0.0, 1.0))
_STEP = Axis("step", scale="log")
_MEMORISED = Axis("clean error over noise variance")


def _some(rows: Rows, **scope: Any) -> Rows:
    found = rows.done.where(**scope)
    if not found:
        raise NotComputedError("no such cell was computed in this run")
    return found


def _points(name: str, rows: Rows, x: str, y: str, group: int) -> Scatter:
    return Scatter(
        name, rows.column(x).tolist(), rows.column(y).tolist(), hover=[row.label for row in rows],
        commands=[row.command for row in rows], group=group,
    )  # fmt: skip


def _medians(name: str, rows: Rows, x: str, y: str, group: int) -> Lines:
    found = sorted((float(key[0]), float(np.median(part.column(y)))) for key, part in rows.by(x).items())
    return Lines(name, [a for a, _ in found], [b for _, b in found], group=group)


def _both(name: str, rows: Rows, x: str, y: str, group: int) -> list[Any]:
    return [_points(name, rows, x, y, group), _medians(name, rows, x, y, group)]


def _exponent(rows: Rows) -> str:
    """The exponent of n in the clean error, in words."""
    try:
        fit = fit_power_law(rows.column("n"), rows.column("clean_error"), replicates=[row["seed"] for row in rows])
    except SteppeError:
        return "too few sizes"
    low, high = fit.interval
    return f"{fit.slope:.2f} [{low:.2f}, {high:.2f}]".replace("-", "−")


def radial(rows: Rows) -> Figure:
    """Error against n for the radial family, with the exponents of theory in the caption."""
    found = _some(rows, experiment="radial")
    layers, words = [], []
    for index, alpha in enumerate(found.values("alpha")):
        group = found.where(alpha=alpha)
        layers += _both(f"α = {alpha:g}", group, "n", "clean_error", index)
        d = group[0]["d"]
        safe, lower = rates.radial_upper(d, alpha, kind="safe"), rates.radial_lower(d, alpha)
        words.append(f"α = {alpha:g}: {_exponent(group)}, theory −{float(lower):.2f} to −{float(safe):.3f}")
    first = found[0]
    return Figure(
        "radial",
        "The more mass in the centre, the less of the noise is memorised",
        [Panel(f"d = {first['d']}, width {first['width']}, {first['steps']} steps", _SAMPLES, _ERROR, layers)],
        caption="Mean squared error to the clean targets at the training inputs. Points: seeds. Lines: medians. Fitted "
        "exponents of n with 95 % intervals, beside the bounds on the generalization gap (from the slowest that theory "
        f"allows to the fastest) — {'; '.join(words)}.",
        columns=1,
    )


def ambient(rows: Rows) -> Figure:
    """Lines in growing ambient dimension, against the radial law."""
    found = _some(rows, experiment="ambient")
    panels, words = [], []
    for law, title in (("lines", "twenty lines"), ("radial", "radial law, α = 1")):
        layers = []
        for index, (d, group) in enumerate((d, found.where(law=law, d=d)) for d in found.where(law=law).values("d")):
            layers += _both(f"d = {d}", group, "n", "clean_error", index)
            words.append(f"{title}, d = {d}: {_exponent(group)}")
        panels.append(Panel(title, _SAMPLES, _ERROR, layers))
    return Figure(
        "ambient",
        "On lines the ambient dimension does not matter; on a law that fills the space it does",
        panels,
        caption=f"As before, {found[0]['steps']} steps. The exponent depends on when training stops, which may be why "
        f"sources differ. Fitted exponents of n with 95 % intervals — {'; '.join(words)}; guaranteed on lines: "
        f"−{float(rates.mixture_upper(1)):.3f}.",
    )


def _traces(rows: Rows, column: str) -> list[Any]:
    layers = []
    for row in rows:
        shown = [(s, v) for s, v in zip(row["trace_step"], row[column], strict=True) if s > 0 and v > 0]
        layers.append(
            Scatter(
                f"η = {row['step_size']:g}, seed {row['seed']}", [s for s, _ in shown], [v for _, v in shown],
                hover=row.label, commands=row.command, group=int(row["seed"]), connect=True, size=3,
            )
        )  # fmt: skip
    return layers


def sphere(rows: Rows) -> Figure:
    """Sharpness and training error of gradient descent on the sphere."""
    found = _some(rows, experiment="sphere")
    panels = []
    for (eta,), group in found.by("step_size").items():
        ends = [1, max(row["trace_step"][-1] for row in group)]
        limit = Lines("limit 2/η", ends, [2 / eta, 2 / eta], theory=True)
        sharp = Axis("sharpness (loss/parameter²)", scale="log")
        panels.append(Panel(f"step {eta:g}", _STEP, sharp, [*_traces(group, "trace_sharpness"), limit]))
        error = Axis("training error", scale="log")
        panels.append(Panel(f"step {eta:g}", _STEP, error, _traces(group, "trace_training_error")))
    return Figure(
        "sphere",
        "On the sphere gradient descent interpolates noise without ever exceeding two over the step for long",
        panels,
        caption="Left: sharpness; dashed, 2/η. Right: mean squared residual on the noisy labels. Colours: seeds.",
        share=False,
    )


def construction(rows: Rows) -> Figure:
    """What flatness the explicit interpolants have."""
    found = _some(rows, experiment="construction", labels="signs", size=1.0)
    layers: list[Any] = []
    for index, split in enumerate(("simple", "balanced")):
        group = found.where(split=split)
        n, excess = group.column("n"), group.column("certified_sharpness") - 1
        layers.append(
            Scatter(split, n.tolist(), excess.tolist(), hover=[row.label for row in group], group=index,
                    commands=[row.command for row in group])
        )  # fmt: skip
        constant = 3.0 if split == "simple" else 2 * 2**0.5
        layers.append(
            Lines(f"{constant:.3g}/n", [n.min(), n.max()], [constant / n.min(), constant / n.max()], theory=True)
        )
    return Figure(
        "construction",
        "Any labels on the sphere are interpolated at a sharpness that tends to the least possible one",
        [Panel("labels ±1", _SAMPLES, Axis("sharpness − 1 (loss/parameter²)", scale="log"), layers)],
        caption="Certified sharpness of the explicit networks, less the 1 of the output bias. Dashed: 3/n for output "
        "weights of size one, 2√2/n for the best split.",
        columns=1,
    )


def activation(rows: Rows) -> Figure:
    """How often neurons fire, from the sphere to lines."""
    done = rows.done
    lines = done.where(experiment="ambient", law="lines")
    kinds: list[tuple[str, Rows]] = [
        ("sphere", done.where(experiment="sphere")),
        *((f"radial, α = {a:g}", _fullest(done.where(experiment="radial", alpha=a))) for a in (0.1, 5.0)),
        *((f"lines, d = {d}", _fullest(lines.where(d=d))) for d in lines.values("d")[:2]),
    ]
    panels = []
    for index, (title, found) in enumerate(kinds):
        row = next((row for row in found if row["neuron_fraction"]), None)
        if row is not None:
            values = Histogram(title, row["neuron_fraction"], group=index, share=True, commands=row.command)
            panels.append(Panel(f"{title} (seed {row['seed']})", _SHARE, Axis("share of the live neurons"), [values]))
    if not panels:
        raise NotComputedError("no such cell was computed in this run")
    return Figure(
        "activation",
        "Near a sphere neurons specialise on few points; on lines that hardly interfere they are widely shared",
        panels,
        caption="One network per panel, at the largest n. Left edge: neurons that fire on few data.",
        columns=3,
    )


def _fullest(rows: Rows) -> Rows:
    return rows.where(n=max(rows.values("n"))) if rows else rows


def _depth_panel(title: str, rows: Rows) -> Panel:
    row = rows[0]
    mean = rows.column("depth_rank_correlation").mean() if "depth_rank_correlation" in row else float("nan")
    shown = [(a, b) for a, b in zip(row["point_depth"], row["point_error"], strict=True) if b > 0]
    points = Scatter("point", [a for a, _ in shown], [b for _, b in shown], hover=row.label, commands=row.command,
                     group=0, size=3)  # fmt: skip
    words = f"{title} (mean correlation {mean:.2f})".replace("-", "−")
    return Panel(words, Axis("depth of the point"), Axis("|f(x) − clean target|", scale="log"), [points])


def depth(rows: Rows) -> Figure:
    """Error of each point against its depth."""
    done = rows.done
    panels = [
        _depth_panel(f"α = {alpha:g}", _fullest(done.where(experiment="radial", alpha=alpha)))
        for alpha in done.where(experiment="radial").values("alpha")
    ]
    tables = done.where(experiment="table", inputs="data")
    panels += [_depth_panel(str(name), group) for (name,), group in tables.by("table").items()]
    if not panels:
        raise NotComputedError("no such cell was computed in this run")
    return Figure(
        "depth",
        "Are shallow points memorised first? Error of each point against its depth",
        panels,
        caption="One network per panel, at most 200 of its points. Depth is bounded from above by 200 random "
        "directions. The correlation is Spearman's, its mean over seeds.",
        columns=3,
        share=False,
    )


def reach(rows: Rows) -> Figure:
    """The deepest point that a neuron reaches against its share of the data."""
    found = _some(rows, experiment="plane")

    def name(row: Row) -> str:
        return "sphere" if row["law"] == "sphere" else f"radial, α = {row['alpha']:g}"

    layers: list[Any] = [Lines("depth = share", [0, 1], [0, 1], theory=True)]
    for index, group in enumerate(found.by("law", "alpha").values()):
        row = group[0]
        layers.append(Scatter(name(row), row["reached_share"], row["reached_depth"], hover=row.label,
                              commands=row.command, group=index, size=4))  # fmt: skip
    return Figure(
        "reach",
        "A rarely active neuron reaches shallow points only",
        [Panel("d = 2, exact depth", _SHARE, Axis("depth of the deepest point it is active on"), layers)],
        caption="Each point is a neuron. None can lie above the dashed line.",
        columns=1,
    )


def _of_tables(title: str, rows: Rows) -> Panel:
    layers = [
        _points(str(name), group, "depth_area", "memorised_share", index)
        for index, ((name,), group) in enumerate(rows.by("inputs").items())
    ]
    return Panel(title, Axis("depth area"), _MEMORISED, layers)


def tables(rows: Rows) -> Figure:
    """Real tables against Gaussian inputs."""
    found = _some(rows, experiment="table")
    return Figure(
        "tables",
        "Images resist memorisation longer than Gaussian inputs of the same dimension, even of the same covariance",
        [_of_tables(str(name), group) for (name,), group in found.by("table").items()],
        caption=f"After {found[0]['steps']} steps. `gaussian` has the table's dimension and mean squared norm, "
        "`gaussian-covariance` its covariance too. The less area, the shallower the data.",
    )


def spectrum(rows: Rows) -> Figure:
    """All laws and tables on one axis: how deep the data are and how much noise was memorised."""
    done = rows.done.where(lambda row: "depth_area" in row and row["experiment"] not in ("plane", "sphere"))
    kinds: list[tuple[str, Callable[[Row], bool]]] = [
        ("radial family, d = 5", lambda row: row["experiment"] == "radial"),
        ("lines", lambda row: row.get("law") == "lines"),
        ("radial, α = 1", lambda row: row["experiment"] == "ambient" and row["law"] == "radial"),
        ("Gaussian in place of a table", lambda row: row.get("inputs", "data") != "data"),
        *((str(t), lambda row, t=t: row.get("table") == t and row["inputs"] == "data") for t in done.values("table")),
    ]  # fmt: skip
    layers = [
        _points(name, group, "depth_area", "memorised_share", index)
        for index, (name, is_it) in enumerate(kinds)
        if (group := _fullest(done.where(is_it)))
    ]
    if not layers:
        raise NotComputedError("no such cell was computed in this run")
    return Figure(
        "spectrum",
        "Where does a table stand among the laws? Depth of the data and memorised share of the noise",
        [Panel("largest n of each", Axis("depth area"), _MEMORISED, layers)],
        caption="Depth areas are upper bounds and compare at about equal n and d only; tables are trained for fewer "
        "steps than the radial family.",
        columns=1,
    )
