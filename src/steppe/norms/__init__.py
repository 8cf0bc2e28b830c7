"""Norms of the function that a network computes: path, variation, data-weighted and vector-valued, and neural balance.

Provisional until 1.0.
"""

from steppe.activations import activation_weight
from steppe.theory import ball_weight

from .balance import balance
from .canonical import canonicalize
from .flattening import balance_mean_gradient
from .patch import PatchMoments, patch_moments, patch_weighted_norm
from .univariate import LinearSpline, univariate_knots
from .variation import (
    path_norm,
    radon_bv_norm,
    variation_norm,
    vector_variation_norm,
    weighted_variation_norm,
)

__all__ = [
    "LinearSpline",
    "PatchMoments",
    "activation_weight",
    "balance",
    "balance_mean_gradient",
    "ball_weight",
    "canonicalize",
    "patch_moments",
    "patch_weighted_norm",
    "path_norm",
    "radon_bv_norm",
    "univariate_knots",
    "variation_norm",
    "vector_variation_norm",
    "weighted_variation_norm",
]
