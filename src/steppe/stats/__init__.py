"""Numbers from replicates: slope fits with intervals that cover, intervals of means and medians. NumPy and SciPy only.

Provisional until 1.0.
"""

from .intervals import Statistic, bootstrap_interval, center_interval
from .power_laws import SlopeFit, fit_power_law

__all__ = ["SlopeFit", "Statistic", "bootstrap_interval", "center_interval", "fit_power_law"]
