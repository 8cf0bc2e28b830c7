"""Certified shallow networks: the variation-norm problem, its dual, solvers, certificates and estimators.

Provisional until 1.0.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .branching import boundable, bounded_maximum, bounded_on_sphere
from .certificate import Certificate, certify
from .certified import Certified
from .class_certificates import ClassCertificates
from .column_reduction import ColumnReduction, reduce_columns
from .compression import compress, compression_curve
from .compression_files import load_compressed, save_compression
from .compression_report import CompressedLayer, Compression, CompressionCurve, OutputChange
from .convex_programs import solve_admm, solve_gated, solve_sampled_convex
from .convex_programs_admm import sampled_program_by_admm
from .convex_programs_cone import ProgramAnswer, sampled_program
from .convex_programs_patterns import activation_patterns
from .enumeration import enumerable, exact_maximum, maximum_on_sphere
from .first_order import solve_pathprox, solve_weight_decay
from .fits import HuberFit, LogisticFit, SquaredFit, fit_named
from .maximum import Maximum
from .multi_output import multi_output_alpha_max, multi_output_maximum, solve_multi_output
from .multi_task_lasso import GroupFit, minimum_group_norm, multi_task_lasso
from .neurons import Neurons
from .one_dimension import one_dimension_maximum, solve_one_dimension, solve_one_dimension_path
from .one_dimension_fit import (
    OneDimensionalFit,
    fit_one_dimension,
    fit_one_dimension_path,
    interpolate_one_dimension,
    one_dimension_alpha_max,
)
from .path import solve_path
from .problem import VariationProblem
from .rigorous import Proof
from .robust import RobustTrained, solve_robust
from .robust_accuracy import RobustAccuracy, robust_accuracy
from .scales import Scales, rescaled
from .solution import Solution
from .solve import alpha_max, solve
from .verification import DataScaleWarning, Verification

if TYPE_CHECKING:
    from .classifier import VariationClassifier
    from .cross_validation import VariationRegressorCV
    from .regressor import VariationRegressor

# The estimators need scikit-learn, which nothing else here does: they arrive on first use.
_LAZY = {
    "VariationClassifier": "classifier",
    "VariationRegressor": "regressor",
    "VariationRegressorCV": "cross_validation",
}

__all__ = [
    "Certificate",
    "Certified",
    "ClassCertificates",
    "ColumnReduction",
    "CompressedLayer",
    "Compression",
    "CompressionCurve",
    "DataScaleWarning",
    "GroupFit",
    "HuberFit",
    "LogisticFit",
    "Maximum",
    "Neurons",
    "OneDimensionalFit",
    "OutputChange",
    "ProgramAnswer",
    "Proof",
    "RobustAccuracy",
    "RobustTrained",
    "Scales",
    "Solution",
    "SquaredFit",
    "VariationClassifier",
    "VariationProblem",
    "VariationRegressor",
    "VariationRegressorCV",
    "Verification",
    "activation_patterns",
    "alpha_max",
    "boundable",
    "bounded_maximum",
    "bounded_on_sphere",
    "certify",
    "compress",
    "compression_curve",
    "enumerable",
    "exact_maximum",
    "fit_named",
    "fit_one_dimension",
    "fit_one_dimension_path",
    "interpolate_one_dimension",
    "load_compressed",
    "maximum_on_sphere",
    "minimum_group_norm",
    "multi_output_alpha_max",
    "multi_output_maximum",
    "multi_task_lasso",
    "one_dimension_alpha_max",
    "one_dimension_maximum",
    "reduce_columns",
    "rescaled",
    "robust_accuracy",
    "sampled_program",
    "sampled_program_by_admm",
    "save_compression",
    "solve",
    "solve_admm",
    "solve_gated",
    "solve_multi_output",
    "solve_one_dimension",
    "solve_one_dimension_path",
    "solve_path",
    "solve_pathprox",
    "solve_robust",
    "solve_sampled_convex",
    "solve_weight_decay",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
