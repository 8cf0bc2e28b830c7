"""What theory says: numbers in, numbers with their source out. No torch.

Stability thresholds, the flatness bound in both constants, exact weights of the uniform ball and of radial inputs,
caps and packings, minimizers of weight-decayed deep matrix factorization, and the exponents of all rates
(`theory.rates`).

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
from .escape import escape_steps
from .flatness import flatness_bound, stable_flatness_bound
from .green_functions import GreenFunction
from .matrix_factorization import (
    critical_weight,
    exceptional_distance,
    local_minimum_threshold,
    singular_value_map,
    singular_value_threshold,
    singular_value_ties,
)
from .matrix_factorization_minimizer import (
    EndToEndMinimizer,
    end_to_end_minimizer,
    local_minimum_values,
    minimizer_trace,
)
from .matrix_factorization_spectrum import SpectrumLine, minimizer_spectrum, scalar_spectrum
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
from .patches import patch_radial_exponent, patch_radial_tail
from .radial import radial_marginal_tail, radial_tail_excess, radial_weight, radial_weight_exponent
from .ridge_splines import free_polynomials, ridge_spline_width
from .stability import adam_threshold, largest_stable_step, rmsprop_threshold, stability_threshold
from .stochastic import sgd_growth
from .univariate import (
    largest_interpolating_step,
    least_interpolating_variation,
    least_univariate_sharpness,
    noisy_variation_bound,
    stable_variation_bound,
    univariate_weight,
)

__all__ = [
    "EndToEndMinimizer",
    "GreenFunction",
    "SpectrumLine",
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
    "critical_weight",
    "disc_packing_size",
    "empty_cap_limit",
    "empty_cap_probability",
    "end_to_end_minimizer",
    "escape_steps",
    "exceptional_distance",
    "fano_epsilon",
    "fano_risk",
    "flatness_bound",
    "free_polynomials",
    "hard_family_seminorm",
    "largest_interpolating_step",
    "largest_stable_step",
    "least_interpolating_variation",
    "least_univariate_sharpness",
    "local_minimum_threshold",
    "local_minimum_values",
    "minimizer_spectrum",
    "minimizer_trace",
    "noisy_variation_bound",
    "packing_size_bound",
    "patch_radial_exponent",
    "patch_radial_tail",
    "radial_marginal_tail",
    "radial_tail_excess",
    "radial_weight",
    "radial_weight_exponent",
    "rates",
    "ridge_spline_width",
    "rmsprop_threshold",
    "scalar_spectrum",
    "sgd_growth",
    "singular_value_map",
    "singular_value_threshold",
    "singular_value_ties",
    "sphere_interpolation_bound",
    "stability_threshold",
    "stable_flatness_bound",
    "stable_variation_bound",
    "univariate_weight",
    "varshamov_gilbert_size",
]
