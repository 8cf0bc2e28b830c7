"""Full-batch gradient descent: closed form for shallow networks, autograd for the rest, many networks in one call.

Provisional until 1.0.
"""

from .descent import gradient_descent, train_stacked
from .history import History
from .observers import AtSteps, Every, Observer, StopTraining, record_steps

__all__ = [
    "AtSteps",
    "Every",
    "History",
    "Observer",
    "StopTraining",
    "gradient_descent",
    "record_steps",
    "train_stacked",
]
