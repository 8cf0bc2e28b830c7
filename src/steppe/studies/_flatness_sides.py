"""Sides of the flatness inequality in the columns that several studies share, and its near misses."""

from steppe.harness import Row


def paper_bound(row: Row) -> float:
    """λ/2 − ½ + (R+1) √(2L)."""
    return float(row["flatness_bound"]) + float(row["flatness_error"])


def sharper_bound(row: Row) -> float:
    """λ/2 − ½ + ½ √(1+R²) √(2L)."""
    return float(row["flatness_bound_sharper"]) + float(row["flatness_error"])


def gauss_newton_bound(row: Row) -> float:
    """λ_max of the Gauss–Newton matrix."""
    return float(row["gauss_newton_sharpness"]) + float(row["gauss_newton_error"])


def bound_minus_one(row: Row) -> float:
    """λ/2 − 1 + (R+1) √(2L)."""
    return paper_bound(row) - 0.5


def bound_without_half(row: Row) -> float:
    """λ/4 − ½ + (R+1) √(2L), as if the loss had no ½."""
    return paper_bound(row) - float(row["sharpness"]) / 4


def bound_quarter(row: Row) -> float:
    """λ/2 − ½ + ¼ √(1+R²) √(2L)."""
    return sharper_bound(row) - 0.25 * (1 + float(row["radius"]) ** 2) ** 0.5 * float(row["residual_term"])


def mean_gradient_and_a_tenth(row: Row) -> float:
    """1.1 times the squared length of the mean gradient."""
    return 1.1 * float(row["mean_gradient_squared"])


def half_limit(row: Row) -> float:
    """1/η."""
    return float(row["stability_limit"]) / 2
