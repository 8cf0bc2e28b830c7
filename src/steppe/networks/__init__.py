"""Networks whose structure steppe knows: shallow ReLU and deep linear networks, with closed-form derivatives.

Provisional until 1.0.
"""

from .deep_linear import DeepLinear, DeepLinearProducts
from .shallow_products import OutputWeights, ShallowProducts
from .shallow_relu import ShallowReLU

__all__ = ["DeepLinear", "DeepLinearProducts", "OutputWeights", "ShallowProducts", "ShallowReLU"]
