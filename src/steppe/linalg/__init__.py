"""Matrix-free linear algebra: symmetric operators known by their products, and what can be learned from few of them.

Extreme eigenvalues, a warm start for operators that change slowly, spectral density, trace and diagonal, and one
Krylov pass for several questions. Every result carries its error, the products it took and why it stopped.

Provisional until 1.0.
"""

from .density import Density, spectral_density
from .diagonals import DiagonalEstimate, stochastic_diagonal
from .lanczos import extreme_eigenvalues
from .operators import SymmetricOperator
from .pace import Pace, Progress, remaining
from .spectra import Eigenvalues
from .surveys import Survey, survey
from .traces import TraceMethod, stochastic_trace
from .warm import Warm

__all__ = [
    "Density",
    "DiagonalEstimate",
    "Eigenvalues",
    "Pace",
    "Progress",
    "Survey",
    "SymmetricOperator",
    "TraceMethod",
    "Warm",
    "extreme_eigenvalues",
    "remaining",
    "spectral_density",
    "stochastic_diagonal",
    "stochastic_trace",
    "survey",
]
