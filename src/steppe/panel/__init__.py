"""Theorems as checks on the user's own network, and one call that measures any model.

A theorem is an inequality with its two sides, its slack and its hypotheses. `measure` tells how large, how sharp and
where, and what that means for common optimizers. `shatterability` tells what a table of inputs lets flat networks do.

Provisional until 1.0.
"""

from .escape import escape_experiment, escape_from
from .escape_descent import Escape, EscapeRun
from .inequality import Hypothesis, Inequality
from .measure import measure, plan_measurement
from .measure_activations import Activity
from .measure_plan import Budget, MeasurementPlan
from .measurement import Measurement, OptimizerLimit, Size
from .patch_geometry import patch_geometry, principal_shares
from .patch_geometry_report import PatchGeometry, SchemeGeometry
from .shatterability import shatterability
from .shatterability_result import Exponent, LawDepth, Shatterability
from .theorems import check_flatness, check_gauss_newton, check_mean_gradient, check_stability, check_theorems
from .theorems_univariate import (
    check_univariate_knots,
    check_univariate_sharpness,
    check_univariate_stability,
    check_univariate_theorems,
)

__all__ = [
    "Activity",
    "Budget",
    "Escape",
    "EscapeRun",
    "Exponent",
    "Hypothesis",
    "Inequality",
    "LawDepth",
    "Measurement",
    "MeasurementPlan",
    "OptimizerLimit",
    "PatchGeometry",
    "SchemeGeometry",
    "Shatterability",
    "Size",
    "check_flatness",
    "check_gauss_newton",
    "check_mean_gradient",
    "check_stability",
    "check_theorems",
    "check_univariate_knots",
    "check_univariate_sharpness",
    "check_univariate_stability",
    "check_univariate_theorems",
    "escape_experiment",
    "escape_from",
    "measure",
    "patch_geometry",
    "plan_measurement",
    "principal_shares",
    "shatterability",
]
