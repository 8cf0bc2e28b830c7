"""Theorems as checks on the user's own network: an inequality with its two sides, its slack and its hypotheses.

Provisional until 1.0.
"""

from .inequality import Hypothesis, Inequality
from .theorems import check_flatness, check_gauss_newton, check_mean_gradient, check_stability, check_theorems

__all__ = [
    "Hypothesis",
    "Inequality",
    "check_flatness",
    "check_gauss_newton",
    "check_mean_gradient",
    "check_stability",
    "check_theorems",
]
