"""Norms of the function that a network computes: path, variation, data-weighted and vector-valued, and neural balance.

Provisional until 1.0.
"""

from steppe.activations import activation_weight
from steppe.theory import ball_weight

from .balance import balance
from .canonical import canonicalize
from .variation import (
    path_norm,
    radon_bv_norm,
    variation_norm,
    vector_variation_norm,
    weighted_variation_norm,
)

__all__ = [
    "activation_weight",
    "balance",
    "ball_weight",
    "canonicalize",
    "path_norm",
    "radon_bv_norm",
    "variation_norm",
    "vector_variation_norm",
    "weighted_variation_norm",
]
