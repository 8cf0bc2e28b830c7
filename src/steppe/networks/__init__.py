"""Networks whose structure steppe knows: shallow ReLU networks with closed-form derivatives.

Provisional until 1.0.
"""

from .shallow_products import OutputWeights, ShallowProducts
from .shallow_relu import ShallowReLU

__all__ = ["OutputWeights", "ShallowProducts", "ShallowReLU"]
