"""Theorems as checks on the user's own network, and one call that measures any model.

A theorem is an inequality with its two sides, its slack and its hypotheses. `measure` tells how large, how sharp and
where, and what that means for common optimizers.

Provisional until 1.0.
"""

from .inequality import Hypothesis, Inequality
from .measure import measure, plan_measurement
from .measure_activations import Activity
from .measure_plan import Budget, MeasurementPlan
from .measurement import Measurement, OptimizerLimit, Size
from .theorems import check_flatness, check_gauss_newton, check_mean_gradient, check_stability, check_theorems

__all__ = [
    "Activity",
    "Budget",
    "Hypothesis",
    "Inequality",
    "Measurement",
    "MeasurementPlan",
    "OptimizerLimit",
    "Size",
    "check_flatness",
    "check_gauss_newton",
    "check_mean_gradient",
    "check_stability",
    "check_theorems",
    "measure",
    "plan_measurement",
]
