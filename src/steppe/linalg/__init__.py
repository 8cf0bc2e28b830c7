"""Matrix-free linear algebra: symmetric operators known by their products, and their extreme eigenvalues.

Provisional until 1.0.
"""

from .lanczos import Eigenvalues, extreme_eigenvalues
from .operators import SymmetricOperator

__all__ = ["Eigenvalues", "SymmetricOperator", "extreme_eigenvalues"]
