"""Second derivatives of a loss: operators, sharpness, trace, diagonal, and following sharpness along training.

Every quantity takes (model, loss, data) or one operator. For `ShallowReLU` with a loss of the house everything is
closed-form; other modules go through retained double backward.

Provisional until 1.0.
"""

from steppe.linalg import DiagonalEstimate, Eigenvalues, Survey
from steppe.theory import adam_threshold, largest_stable_step, rmsprop_threshold, stability_threshold

from .checkpoints import CheckpointCurve, track_checkpoints
from .critical import CriticalTracker, critical_sharpness, critical_step
from .density import Density, spectral_density, survey
from .dimension import effective_dimension
from .distributed import ShardedOperator, sharded
from .extremes import eigenvalues, sharpness
from .factorization import (
    SharpnessBounds,
    deep_linear_eigenvalues,
    deep_linear_hessian_product,
    deep_linear_sharpness,
    deep_linear_sharpness_bounds,
    deep_linear_spectrum,
    deep_linear_trace,
)
from .factorization_flatness import flatness_ratio, flattest_sharpness, is_flattest
from .factorization_problem import FactorizationEigenvalues
from .fisher import fisher
from .flatness import fisher_rao_norm, relative_flatness
from .limits import StabilityLimit, stability_limit
from .minibatch import SGDStability, sgd_stability
from .monitor import EdgeMonitor, Reading
from .noise_scale import gradient_noise_scale
from .operators import CurvatureOperator, gauss_newton, hessian
from .options import OPTIONS, ProblemOptions
from .perturbed import average_case_sharpness, worst_case_sharpness
from .preconditioned import PreconditionedOperator, preconditioned, preconditioned_sharpness
from .selection import unwrapped
from .share import Share, share
from .spectrum import GaussNewtonSpectrum, gauss_newton_spectrum
from .sums import diagonal, trace
from .switching import SwitchingSharpness, switching_sharpness
from .tracker import Check, SharpnessTracker
from .untouched import private_buffers, untouched

__all__ = [
    "OPTIONS",
    "Check",
    "CheckpointCurve",
    "CriticalTracker",
    "CurvatureOperator",
    "Density",
    "DiagonalEstimate",
    "EdgeMonitor",
    "Eigenvalues",
    "FactorizationEigenvalues",
    "GaussNewtonSpectrum",
    "PreconditionedOperator",
    "ProblemOptions",
    "Reading",
    "SGDStability",
    "ShardedOperator",
    "Share",
    "SharpnessBounds",
    "SharpnessTracker",
    "StabilityLimit",
    "Survey",
    "SwitchingSharpness",
    "adam_threshold",
    "average_case_sharpness",
    "critical_sharpness",
    "critical_step",
    "deep_linear_eigenvalues",
    "deep_linear_hessian_product",
    "deep_linear_sharpness",
    "deep_linear_sharpness_bounds",
    "deep_linear_spectrum",
    "deep_linear_trace",
    "diagonal",
    "effective_dimension",
    "eigenvalues",
    "fisher",
    "fisher_rao_norm",
    "flatness_ratio",
    "flattest_sharpness",
    "gauss_newton",
    "gauss_newton_spectrum",
    "gradient_noise_scale",
    "hessian",
    "is_flattest",
    "largest_stable_step",
    "preconditioned",
    "preconditioned_sharpness",
    "private_buffers",
    "relative_flatness",
    "rmsprop_threshold",
    "sgd_stability",
    "sharded",
    "share",
    "sharpness",
    "spectral_density",
    "stability_limit",
    "stability_threshold",
    "survey",
    "switching_sharpness",
    "trace",
    "track_checkpoints",
    "untouched",
    "unwrapped",
    "worst_case_sharpness",
]
