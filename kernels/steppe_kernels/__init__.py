"""The compiled kernels of steppe, used through `steppe.training` and `steppe.solvers`; this is their engine room.

`Descent32` and `Descent64` hold one shallow ReLU network, or one network of patches, and its data, and train it by
full-batch gradient descent without the interpreter. `enumerate_arcs` and `bound_cones` find the maximum of
|Σ_i rho_i max(z_i·w, 0)| over the unit sphere, exactly or by branch and bound. `instruction_sets()` names what this
processor runs, the fastest first.
"""

from ._kernels import Descent32, Descent64, bound_cones, enumerate_arcs, instruction_sets

__all__ = ["Descent32", "Descent64", "bound_cones", "enumerate_arcs", "instruction_sets"]
