"""The compiled training kernel of steppe. Used through `steppe.training`; this module is its engine room.

`Descent32` and `Descent64` hold one shallow ReLU network and its data, and train it by full-batch gradient descent
without the interpreter. `instruction_sets()` names what this processor runs, the fastest first.
"""

from ._kernels import Descent32, Descent64, instruction_sets

__all__ = ["Descent32", "Descent64", "instruction_sets"]
