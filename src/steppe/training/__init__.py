"""Full-batch gradient descent: closed form for shallow networks, autograd for the rest, many networks in one call.

Deep matrix factorization with weight decay is fitted from many starts, with the gap to its closed-form optimum.

Provisional until 1.0.
"""

from .descent import gradient_descent, train_stacked
from .factorization import FactorizationFit, FactorizationRun, fit_factorization
from .history import History
from .observers import AtSteps, Every, Observer, StopTraining, record_steps

__all__ = [
    "AtSteps",
    "Every",
    "FactorizationFit",
    "FactorizationRun",
    "History",
    "Observer",
    "StopTraining",
    "fit_factorization",
    "gradient_descent",
    "record_steps",
    "train_stacked",
]
