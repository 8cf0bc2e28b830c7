"""The negative controls of `kamber2025-sharpness`: near misses of its claims, each of which must be rejected."""

import math
from typing import Any

from steppe.harness import AtLeast, AtMost, Control, Equal, Row, Within

from ._factorization_sharpness_claims import (
    CHAINS,
    ESCAPE,
    NARROW,
    NEAR,
    NOISE,
    RELU,
    SPECTRUM,
    TWO,
    escaped_chain,
    norm_products_loose,
    recorded_escape,
    relu_unstable,
    unstable,
)


def half_sharpness(row: Row) -> float:
    """λ_max(K), without the 2."""
    return 0.5 * float(row["autograd_sharpness"])


def minus_one(row: Row) -> float:
    """As many but one."""
    return float(row["autograd_nonzero"]) - 1


def balanced_half(row: Row) -> float:
    """Half the ratio of a balanced factorization."""
    return 0.5 * float(row["balanced_ratio"])


def doubled_lower(row: Row) -> float:
    """Twice the largest norm product."""
    return 2 * float(row["lower_over_sharpness"])


def half_norm_products(row: Row) -> float:
    """Half the sum of norm products."""
    return 0.5 * float(row["norm_products_over_sharpness"])


def one_layer_ratio(row: Row) -> float:
    """The ratio without one of the two layers."""
    return 0.5 * float(row["two_layer_ratio"])


def error_without_one(row: Row) -> float:
    """Updates between the escape and ln(r/r₀)/ln(step · sharpness)."""
    decades = math.log(row["radius"] / 1e-9)
    return abs(float(row["escape_step"]) - decades / math.log(row["factor"]))


def allowance(row: Row) -> float:
    """One update and 5 %."""
    return 1 + 0.05 * float(row["predicted_step"])


def factor_if_settled(row: Row) -> float | None:
    """Step · sharpness at the start, of runs that settled."""
    return float(row["factor"]) if row["settled"] else None


def error_of_norm_products(row: Row) -> float:
    """Updates between the escape and the formula with the sum of norm products."""
    return abs(float(row["escape_step"]) - float(row["predicted_from_norm_products"]))


def stays(row: Row) -> int:
    """1 if the run stayed within the radius."""
    return 1 - int(row["left"])


def near_flat(row: Row) -> bool:
    """Steps between 1 and 2 over the least sharpness of any minimizer."""
    return row["experiment"] == "escape" and 1 < row["flattest_factor"] < 1.9


def next_escape(row: Row) -> float | None:
    """The recorded step of another factor."""
    return {2.01: 145.0, 2.1: 35.0, 2.5: 20.0, 3.0: 1389.0}.get(row["factor"])


def double_end(row: Row) -> float | None:
    """The sharpness for a loss with ½."""
    found = recorded_escape(row)
    return None if found is None else float(row["sharpness"]) / 2


def two_scaled(row: Row) -> float:
    """Relative difference of traces, had the loss a ½."""
    return abs(float(row["trace_error"]) - 0.5)


def reject(claim: Any, of: str, near_miss: str) -> Control:
    """A control."""
    return Control(claim, of=of, near_miss=near_miss)


_EXACT = (
    reject(
        Equal("control-without-two", "… λ_max of the sum.", scope=SPECTRUM,
              left="sharpness", right=half_sharpness, rtol=1e-9),
        "sharpness-closed-form", "the factor 2 left out, as for a loss with ½",
    ),
    reject(
        Equal("control-norm-products", "… the sum of norm products, with three layers or more.",
              scope=norm_products_loose, left="norm_products_over_sharpness", right=1.0, rtol=0.01),
        "norm-products-exact", "2 Σ ‖A_i‖²‖B_i‖² taken for the sharpness of deeper matrix factorizations",
    ),
    reject(
        Equal("control-crossed", "… 68 for the diagonals whose sharpness is 48.",
              scope=SPECTRUM | {"layers": "crossed", "sizes": "2-2-2-2"},
              left="norm_products_over_sharpness", right=1.0, rtol=0.01),
        "norm-products-exact", "norms whose top directions do not meet",
    ),
    reject(
        Equal("control-nonzero-count", "… but one.", scope=SPECTRUM | {"layers": ["gaussian", "low-rank", "crossed"]},
              left="nonzero", right=minus_one),
        "nonzero-count", "one eigenvalue missed",
    ),
    reject(
        AtMost("control-trace", "… with the ½ of another loss.", scope=SPECTRUM, left=two_scaled, right=1e-10),
        "trace-closed-form", "½ put in",
    ),
    reject(
        AtMost("control-lower", "… twice the largest norm product.", scope=SPECTRUM,
               left=doubled_lower, right=1.0, rtol=1e-9),
        "lower-bound", "a factor 2 too many",
    ),
    reject(
        AtMost("control-upper", "… half the sum is below it.", scope=norm_products_loose,
               left="norm_products_over_sharpness", right=1.0, rtol=1e-9),
        "upper-bound", "the inequality turned round",
    ),
    reject(
        AtMost("control-all-flat", "… and all minimizers are.", scope={"experiment": "minimizers", "spread": 0.3},
               left="flat_ratio", right=1.0, rtol=1e-3),
        "never-below-flattest", "the inequality turned round",
    ),
    reject(
        Equal("control-balanced-half", "… half of it.", scope={"experiment": "minimizers"},
              left=balanced_half, right=1.0, rtol=1e-9),
        "balanced-is-flattest", "½ put in",
    ),
    reject(
        Equal("control-one-layer", "… of one layer.", scope=TWO, left="flat_ratio", right=one_layer_ratio, rtol=1e-9),
        "two-layers", "one of two equal norms left out",
    ),
    reject(
        Equal("control-frobenius-balance", "… so does Frobenius balance.", scope=TWO | {"kind": "frobenius"},
              left="flat_ratio", right=1.0, rtol=1e-3),
        "spectral-balance-is-flat", "Frobenius norms in place of spectral norms",
    ),
    reject(
        Equal("control-constant-product", "… so do equal spectral norms of any size.", scope=TWO | {"kind": "inflated"},
              left="flat_ratio", right=1.0, rtol=1e-3),
        "spectral-balance-is-flat", "equal norms whose product exceeds σ_1",
    ),
    reject(
        AtLeast("control-both-unbalanced", "… as where both norms balance.", scope=TWO | {"kind": "both"},
                left="frobenius_norms_ratio", right=1.05),
        "frobenius-balance-not-needed", "layers balanced in both norms",
    ),
    reject(
        AtMost("control-product-without-residual", "… and none in the residual.", scope=SPECTRUM,
               left="product_error_without_residual", right=1e-3),
        "residual-product", "the residual taken for zero",
    ),
)  # fmt: skip

_ESCAPES = (
    reject(
        Equal("control-leaves-just-below", "… above 1.9.", scope=ESCAPE | {"factor": [1.9, 1.99]},
              left="left", right=1),
        "leaves-if-too-sharp", "a threshold a little below 2",
    ),
    reject(
        Equal("control-returns", "… just above 2.", scope=unstable, left=stays, right=1),
        "returns-if-flat", "steps above the threshold",
    ),
    reject(
        AtMost("control-formula-without-one", "… ln(step · sharpness).", scope=NEAR, left=error_without_one, right=1.0),
        "escape-formula", "the −1 left out",
    ),
    reject(
        AtMost("control-formula-norm-products", "… with the sum of norm products for the sharpness.",
               scope=NEAR | {"sizes": "3-5-3-2"}, left=error_of_norm_products, right=1.0),
        "escape-formula", "2 Σ ‖A_i‖²‖B_i‖² taken for the sharpness",
    ),
    reject(
        Equal("control-next-escape", "… for another factor.", scope=CHAINS, left="escape_step", right=next_escape),
        "recorded-escapes", "numbers of another factor",
    ),
    reject(
        AtMost("control-settles-at-one", "… at most 1.", scope=ESCAPE, left="final_factor", right=1.0),
        "settles-where-stable", "1/η, as if the loss had a ½",
    ),
    reject(
        Equal("control-nowhere", "… above 1 over it.", scope=near_flat, left="settled", right=0),
        "nowhere-to-settle", "half the threshold",
    ),
    reject(
        Within("control-settles-at-start", "… at the sharpness it left.", scope=escaped_chain,
               column=factor_if_settled, low=1.95, high=2.0,
               statistic="each"),
        "settles-just-below", "the sharpness of the minimizer it left",
    ),
    reject(
        Equal("control-half-end", "… with a ½.", scope=CHAINS, left="final_sharpness", right=double_end, rtol=2e-5),
        "recorded-ends", "half the sharpness at the start",
    ),
)  # fmt: skip

_NOISE = (
    reject(
        AtMost("control-narrow-noise", "… even with a bottleneck.", scope=NARROW,
               left="spectrum_error_without_residual", right=1e-9),
        "noise-does-not-enter", "layers too narrow for the fit",
    ),
    reject(
        AtMost("control-without-residual", "… without the term in the residual.", scope=NARROW,
               left="spectrum_error_without_residual", right=1e-9),
        "noise-exact-hessian", "the residual taken for zero",
    ),
    reject(
        AtMost("control-fits-labels", "… and fits the noisy labels.", scope=NOISE | {"noise": 2.0},
               left="unfitted", right=1e-3),
        "descends-to-fit", "the labels themselves in place of the fit",
    ),
)  # fmt: skip

_RELU = (
    reject(
        Within("control-relu-linear-formula", "… and still gives it, to a factor 1.4.", scope=RELU,
               column="mean_mask_ratio", low=0.7, high=1.4, statistic="each"),
        "relu-mean-masks", "the deep linear formula taken for the sharpness of a ReLU network, to a factor 1.4",
    ),
    reject(
        AtMost("control-relu-below-linear", "… flatter.", scope=RELU, left="flat_ratio", right=1.0),
        "relu-above-linear", "the inequality turned round",
    ),
    reject(
        AtMost("control-relu-formula-earlier", "… of ln(step · sharpness).",
               scope=relu_unstable, left=error_without_one, right=allowance),
        "relu-escape-formula", "the −1 left out",
    ),
)  # fmt: skip

CONTROLS: tuple[Control, ...] = (*_EXACT, *_ESCAPES, *_NOISE, *_RELU)
