"""Networks whose structure steppe knows: shallow ReLU, patch ReLU and deep linear networks, with exact derivatives.

Provisional until 1.0.
"""

from .deep_linear import DeepLinear, DeepLinearProducts
from .factorizations import factors, layer_matrices, target_matrix
from .patch_convolution import patch_from_convolution, patch_to_convolution
from .patch_products import PatchProducts
from .patch_relu import PatchReLU
from .patches import PATCH_SCHEMES, patch_indices
from .shallow_products import OutputWeights, ShallowProducts
from .shallow_relu import ShallowReLU
from .sphere import SphereInterpolation, patch_sphere_interpolator, sphere_interpolator

__all__ = [
    "PATCH_SCHEMES",
    "DeepLinear",
    "DeepLinearProducts",
    "OutputWeights",
    "PatchProducts",
    "PatchReLU",
    "ShallowProducts",
    "ShallowReLU",
    "SphereInterpolation",
    "factors",
    "layer_matrices",
    "patch_from_convolution",
    "patch_indices",
    "patch_sphere_interpolator",
    "patch_to_convolution",
    "sphere_interpolator",
    "target_matrix",
]
