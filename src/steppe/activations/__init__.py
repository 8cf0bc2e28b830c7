"""Which samples activate which neurons: activation fractions, the weight g, shattering statistics, half-space depth.

Provisional until 1.0.
"""

from .depth import half_space_depth, half_space_depth_bound
from .shattering import Shattering, activation_fraction, live_fraction, shattering
from .weights import HalfSpaceMoments, activation_weight, activation_weight_profile, half_space_moments

__all__ = [
    "HalfSpaceMoments",
    "Shattering",
    "activation_fraction",
    "activation_weight",
    "activation_weight_profile",
    "half_space_depth",
    "half_space_depth_bound",
    "half_space_moments",
    "live_fraction",
    "shattering",
]
