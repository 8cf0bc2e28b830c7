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
from .fisher import fisher
from .flatness import fisher_rao_norm, relative_flatness
from .limits import StabilityLimit, stability_limit
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
    "GaussNewtonSpectrum",
    "PreconditionedOperator",
    "ProblemOptions",
    "Reading",
    "ShardedOperator",
    "Share",
    "SharpnessTracker",
    "StabilityLimit",
    "Survey",
    "adam_threshold",
    "average_case_sharpness",
    "critical_sharpness",
    "critical_step",
    "diagonal",
    "effective_dimension",
    "eigenvalues",
    "fisher",
    "fisher_rao_norm",
    "gauss_newton",
    "gauss_newton_spectrum",
    "gradient_noise_scale",
    "hessian",
    "largest_stable_step",
    "preconditioned",
    "preconditioned_sharpness",
    "private_buffers",
    "relative_flatness",
    "rmsprop_threshold",
    "sharded",
    "share",
    "sharpness",
    "spectral_density",
    "stability_limit",
    "stability_threshold",
    "survey",
    "trace",
    "track_checkpoints",
    "untouched",
    "unwrapped",
    "worst_case_sharpness",
]
