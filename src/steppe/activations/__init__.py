"""Which samples activate which neurons, the weight g, shattering; depth, radius and dimension of the data.

Provisional until 1.0.
"""

from .depth import half_space_depth, half_space_depth_bound, outward_depth_bound
from .geometry import RadiusTail, concentration_curve, depth_area, intrinsic_dimension, radius_tail_exponent
from .shattering import Shattering, activation_fraction, live_fraction, shattering
from .weights import HalfSpaceMoments, activation_weight, activation_weight_profile, half_space_moments

__all__ = [
    "HalfSpaceMoments",
    "RadiusTail",
    "Shattering",
    "activation_fraction",
    "activation_weight",
    "activation_weight_profile",
    "concentration_curve",
    "depth_area",
    "half_space_depth",
    "half_space_depth_bound",
    "half_space_moments",
    "intrinsic_dimension",
    "live_fraction",
    "outward_depth_bound",
    "radius_tail_exponent",
    "shattering",
]
