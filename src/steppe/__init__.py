"""steppe: how flat is the minimum, how small is the function-space norm, and what do they buy in generalization?

The names below are stable. The rooms (`steppe.norms`, `steppe.curvature`, …) hold everything else and are
provisional until 1.0. Importing `steppe` loads nothing; names and rooms arrive on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__

if TYPE_CHECKING:
    from steppe import (
        activations,
        cli,
        core,
        curvature,
        data,
        harness,
        integrations,
        linalg,
        networks,
        norms,
        panel,
        plotting,
        report,
        solvers,
        stats,
        studies,
        testing,
        theory,
        training,
        workflow,
    )

    from .activations import shattering
    from .core import Estimate
    from .curvature import hessian, sharpness
    from .harness import Grid, Study
    from .networks import ShallowReLU
    from .norms import path_norm, variation_norm, weighted_variation_norm
    from .panel import check_flatness, measure, shatterability
    from .training import gradient_descent, train_stacked
    from .workflow import run

_HOMES = {
    "Estimate": "core",
    "Grid": "harness",
    "ShallowReLU": "networks",
    "Study": "harness",
    "check_flatness": "panel",
    "gradient_descent": "training",
    "hessian": "curvature",
    "measure": "panel",
    "path_norm": "norms",
    "run": "workflow",
    "sharpness": "curvature",
    "shatterability": "panel",
    "shattering": "activations",
    "train_stacked": "training",
    "variation_norm": "norms",
    "weighted_variation_norm": "norms",
}
_ROOMS = (
    "activations",
    "cli",
    "core",
    "curvature",
    "data",
    "harness",
    "integrations",
    "linalg",
    "networks",
    "norms",
    "panel",
    "plotting",
    "report",
    "solvers",
    "stats",
    "studies",
    "testing",
    "theory",
    "training",
    "workflow",
)

__all__ = [
    "Estimate",
    "Grid",
    "ShallowReLU",
    "Study",
    "__version__",
    "activations",
    "check_flatness",
    "cli",
    "core",
    "curvature",
    "data",
    "gradient_descent",
    "harness",
    "hessian",
    "integrations",
    "linalg",
    "measure",
    "networks",
    "norms",
    "panel",
    "path_norm",
    "plotting",
    "report",
    "run",
    "sharpness",
    "shatterability",
    "shattering",
    "solvers",
    "stats",
    "studies",
    "testing",
    "theory",
    "train_stacked",
    "training",
    "variation_norm",
    "weighted_variation_norm",
    "workflow",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
