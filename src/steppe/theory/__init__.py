"""What theory says: numbers in, numbers with their source out. No torch.

Stability thresholds, the flatness bound in both constants, exact weights of the uniform ball and of radial inputs,
caps and packings, and the exponents of all rates (`theory.rates`).

Provisional until 1.0.
"""

from . import rates
from .ball import (
    ball_depth,
    ball_marginal_constant,
    ball_marginal_tail,
    ball_tail_excess,
    ball_tail_moment,
    ball_weight,
    ball_weight_limit,
    canonical_weight,
)
from .flatness import flatness_bound, stable_flatness_bound
from .green_functions import GreenFunction
from .packing import (
    atom_energy,
    atom_energy_limit,
    cap_mass,
    cap_mass_bounds,
    cap_mass_limit,
    disc_packing_size,
    empty_cap_limit,
    empty_cap_probability,
    fano_epsilon,
    fano_risk,
    hard_family_seminorm,
    packing_size_bound,
    sphere_interpolation_bound,
    varshamov_gilbert_size,
)
from .radial import radial_marginal_tail, radial_weight, radial_weight_exponent
from .ridge_splines import free_polynomials, ridge_spline_width
from .stability import adam_threshold, largest_stable_step, rmsprop_threshold, stability_threshold
from .stochastic import sgd_growth

__all__ = [
    "GreenFunction",
    "adam_threshold",
    "atom_energy",
    "atom_energy_limit",
    "ball_depth",
    "ball_marginal_constant",
    "ball_marginal_tail",
    "ball_tail_excess",
    "ball_tail_moment",
    "ball_weight",
    "ball_weight_limit",
    "canonical_weight",
    "cap_mass",
    "cap_mass_bounds",
    "cap_mass_limit",
    "disc_packing_size",
    "empty_cap_limit",
    "empty_cap_probability",
    "fano_epsilon",
    "fano_risk",
    "flatness_bound",
    "free_polynomials",
    "hard_family_seminorm",
    "largest_stable_step",
    "packing_size_bound",
    "radial_marginal_tail",
    "radial_weight",
    "radial_weight_exponent",
    "rates",
    "ridge_spline_width",
    "rmsprop_threshold",
    "sgd_growth",
    "sphere_interpolation_bound",
    "stability_threshold",
    "stable_flatness_bound",
    "varshamov_gilbert_size",
]
