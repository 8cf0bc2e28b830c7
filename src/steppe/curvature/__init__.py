"""Second derivatives of a loss: operators, sharpness, trace, diagonal, and following sharpness along training.

Every quantity takes (model, loss, data) or one operator. For `ShallowReLU` with a loss of the house everything is
closed-form; other modules go through retained double backward.

Provisional until 1.0.
"""

from steppe.linalg import Eigenvalues
from steppe.theory import largest_stable_step, stability_threshold

from .extremes import eigenvalues, sharpness
from .operators import CurvatureOperator, gauss_newton, hessian
from .spectrum import GaussNewtonSpectrum, gauss_newton_spectrum
from .sums import diagonal, trace
from .tracker import SharpnessTracker

__all__ = [
    "CurvatureOperator",
    "Eigenvalues",
    "GaussNewtonSpectrum",
    "SharpnessTracker",
    "diagonal",
    "eigenvalues",
    "gauss_newton",
    "gauss_newton_spectrum",
    "hessian",
    "largest_stable_step",
    "sharpness",
    "stability_threshold",
    "trace",
]
