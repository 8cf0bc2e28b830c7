"""What `kamber2025-sharpness` claims. The controls stand in `_factorization_sharpness_controls`.

Bands follow a prototype on other random draws.
"""

from typing import Any

from steppe.harness import AtLeast, AtMost, Claim, Equal, Ordered, Row, Within

PAPER = "arXiv 2509.25783"
DERIVED = f"{PAPER} (abstract); derived"
SPECTRUM: dict[str, Any] = {"experiment": "spectrum"}
MINIMIZERS: dict[str, Any] = {"experiment": "minimizers"}
TWO: dict[str, Any] = {"experiment": "two-layers"}
ESCAPE: dict[str, Any] = {"experiment": "escape"}
NEAR = ESCAPE | {"radius": 1e-6}
CHAINS = ESCAPE | {"layers": ["chain-1", "chain-2"]}
NOISE: dict[str, Any] = {"experiment": "noise"}
WIDE = NOISE | {"sizes": ["4-5-3", "4-4-4-3"]}
NARROW = NOISE | {"sizes": ["4-2-3", "4-3-2-3"]}
RELU: dict[str, Any] = {"experiment": "relu"}
_RECORDED_ESCAPES = {2.01: 1389, 2.1: 145, 2.5: 35, 3.0: 20}
# Layers, sizes and factor → sharpness where the run settled.
RECORDED_ENDS = {
    ("chain-1", 3, 2.1): 4.04332,
    ("chain-2", 4, 2.1): 22.1673,
    ("chain-2", 4, 2.5): 18.6009,
    ("chain-1", 16, 2.01): 30.932,
}


def sizes_of(row: Row) -> list[int]:
    """d_0, …, d_L."""
    return [int(size) for size in str(row["sizes"]).split("-")]


def norm_products_exact(row: Row) -> bool:
    """Depth at most 2 without data, or a scalar product."""
    if row["experiment"] != "spectrum" or row["n"] > 0:
        return False
    sizes = sizes_of(row)
    return len(sizes) <= 3 or sizes[0] == sizes[-1] == 1


def norm_products_loose(row: Row) -> bool:
    """Three layers or more and a matrix."""
    sizes = sizes_of(row) if row["experiment"] == "spectrum" else []
    generic = bool(sizes) and row["layers"] in ("gaussian", "crossed") and row["n"] == 0
    return generic and len(sizes) >= 4 and min(sizes) >= 2


def unstable(row: Row) -> bool:
    """A step above 2/sharpness."""
    return row["experiment"] == "escape" and row["factor"] > 2


def unstable_nearby(row: Row) -> bool:
    """The same, with a radius that holds no other minimizer at which descent settles."""
    return unstable(row) and (row["radius"] < 1e-3 or row["layers"] in ("chain-1", "chain-2"))


def stable(row: Row) -> bool:
    """A step below 2/sharpness."""
    return row["experiment"] == "escape" and row["factor"] < 2


def nowhere_stable(row: Row) -> bool:
    """A step above 2 over the least sharpness of any minimizer."""
    return row["experiment"] == "escape" and row["flattest_factor"] > 2


def recorded_escape(row: Row) -> float | None:
    """The recorded step of escape."""
    return _RECORDED_ESCAPES.get(row["factor"])


def recorded_end(row: Row) -> float | None:
    """The recorded sharpness at the end."""
    return RECORDED_ENDS.get((row["layers"], len(sizes_of(row)), row["factor"]))


def escaped_chain(row: Row) -> bool:
    """A chain of numbers with 2 < factor ≤ 2.5."""
    return row["experiment"] == "escape" and row["layers"] in ("chain-1", "chain-2") and 2 < row["factor"] <= 2.5


def relu_unstable(row: Row) -> bool:
    """A ReLU network and a step above 2/sharpness."""
    return row["experiment"] == "relu-escape" and row["factor"] > 2


def beyond_formula(row: Row) -> float:
    """Error of the formula beyond one update and 5 %."""
    return float(row["escape_error"]) - 1 - 0.05 * float(row["predicted_step"])


_EXACT = (
    Equal(
        "sharpness-closed-form", "The sharpness of a minimizer is 2 λ_max(Σ A_iA_iᵀ ⊗ B_iᵀB_i).",
        source=DERIVED, kind="theorem", figure="closed-form", scope=SPECTRUM,
        left="sharpness", right="autograd_sharpness", rtol=1e-9,
    ),
    AtMost(
        "spectrum-closed-form", "So are all other eigenvalues, zeros included.",
        source=DERIVED, kind="theorem", scope=SPECTRUM, left="spectrum_error", right=1e-9,
    ),
    Equal(
        "nonzero-count", "As many eigenvalues are not zero.",
        source="derived", kind="theorem", scope=SPECTRUM | {"layers": ["gaussian", "low-rank", "crossed"]},
        left="nonzero", right="autograd_nonzero",
    ),
    AtMost(
        "trace-closed-form", "The trace is 2 Σ ‖A_i‖_F² ‖B_i‖_F².",
        source="derived", kind="theorem", scope=SPECTRUM, left="trace_error", right=1e-10,
    ),
    AtMost(
        "lower-bound", "The largest norm product, 2 max ‖A_i‖²‖B_i‖², is a lower bound.",
        source="derived", kind="theorem", figure="norm-products", scope=SPECTRUM,
        left="lower_over_sharpness", right=1.0, rtol=1e-9,
    ),
    AtLeast(
        "upper-bound", "The sum of norm products, 2 Σ ‖A_i‖²‖B_i‖², is an upper bound.",
        source="derived", kind="theorem", figure="norm-products", scope=SPECTRUM,
        left="norm_products_over_sharpness", right=1.0, rtol=1e-9,
    ),
    Equal(
        "norm-products-exact", "With two layers, or a scalar product, that sum is the sharpness.",
        source=DERIVED, kind="theorem", figure="norm-products", scope=norm_products_exact,
        left="norm_products_over_sharpness", right=1.0, rtol=1e-9,
    ),
    AtLeast(
        "never-below-flattest", "No minimizer is flatter than 2L σ_1^(2(L−1)/L); with data, than its bound.",
        source=f"{DERIVED}; value by Mulayoff and Michaeli (2020)", kind="theorem", figure="flattest",
        scope={"experiment": ["spectrum", "minimizers", "two-layers", "noise"]},
        left="flat_ratio", right=1.0, rtol=1e-9,
    ),
    Equal(
        "balanced-is-flattest", "Balanced factorizations attain it.",
        source=DERIVED, kind="theorem", figure="flattest", scope=MINIMIZERS,
        left="balanced_ratio", right=1.0, rtol=1e-9,
    ),
    Equal(
        "two-layers", "With two layers sharpness over its least is (‖W_1‖² + ‖W_2‖²)/(2σ_1): flat means both are √σ_1.",
        source=DERIVED, kind="theorem", figure="two-layers", scope=TWO,
        left="flat_ratio", right="two_layer_ratio", rtol=1e-9,
    ),
    Equal(
        "spectral-balance-is-flat", "So spectral balance suffices …",
        source=f"{PAPER} (abstract)", kind="theorem", figure="two-layers", scope=TWO | {"kind": ["spectral", "both"]},
        left="flat_ratio", right=1.0, rtol=1e-9,
    ),
    AtLeast(
        "frobenius-balance-not-needed", "… and these layers are not balanced in Frobenius norm.",
        source=f"{PAPER} (abstract)", kind="theorem", figure="two-layers", scope=TWO | {"kind": "spectral"},
        left="frobenius_norms_ratio", right=1.05,
    ),
    AtMost(
        "residual-product", "Away from minimizers the Hessian product has a term in the residual.",
        source="derived", kind="theorem", scope=SPECTRUM, left="product_error", right=1e-10,
    ),
)  # fmt: skip

_ESCAPES = (
    Equal(
        "leaves-if-too-sharp", "With step · sharpness above 2 descent leaves the minimizer, however near it starts.",
        source=f"{PAPER} (figure)", kind="figure", figure="escape-steps", scope=unstable_nearby, left="left", right=1,
    ),
    Equal(
        "returns-if-flat", "Below 2 it returns, to the same sharpness.",
        source=f"{PAPER} (figure)", kind="figure", figure="distances", scope=stable,
        left="final_factor", right="factor", rtol=1e-6,
    ),
    AtMost(
        "escape-formula", "It leaves after ln(r/r₀)/ln(step · sharpness − 1) updates, to one update (r = 10⁻⁶).",
        source="derived", kind="figure", figure="escape-steps", scope=NEAR, left="escape_error", right=1.0,
    ),
    AtMost(
        "escape-formula-far", "Within r = 10⁻³ the landscape bends: to one update and 5 %.",
        source="derived", figure="escape-steps", scope=ESCAPE | {"radius": 1e-3}, left=beyond_formula, right=0.0,
    ),
    Equal(
        "recorded-escapes", "Chains of 2, 3 and 15 numbers all leave after 1389, 145, 35 and 20 updates.",
        source="recorded in an independent computation", kind="ours", figure="escape-steps", scope=CHAINS,
        left="escape_step", right=recorded_escape,
    ),
    AtMost(
        "settles-where-stable", "Wherever descent settles, step · sharpness is at most 2.",
        source="linear stability (all but a null set of starts)", kind="theorem", figure="ends", scope=ESCAPE,
        left="final_factor", right=2.0,
    ),
    Equal(
        "nowhere-to-settle", "With a step above 2 over the least sharpness of any minimizer it never settles.",
        source=DERIVED, kind="theorem", figure="ends", scope=nowhere_stable, left="settled", right=0,
    ),
    Within(
        "settles-just-below", "Chains that left end just below 2, if they settle.",
        source=f"{PAPER} (figure)", kind="figure", figure="ends", scope=escaped_chain,
        column="final_factor", low=1.95, high=2.0, statistic="each",
    ),
    Equal(
        "recorded-ends", "The sharpness there is as recorded.",
        source="recorded in an independent computation", kind="ours", figure="ends", scope=CHAINS,
        left="final_sharpness", right=recorded_end, rtol=2e-5,
    ),
)  # fmt: skip

_NOISE = (
    AtMost(
        "noise-exact-hessian", "With data and noisy labels the exact Hessian is that of autograd.",
        source="derived", kind="theorem", scope=NOISE, left="spectrum_error", right=1e-9,
    ),
    AtMost(
        "noise-does-not-enter", "Wide enough layers: noise enters only through the least-squares fit.",
        source="ours; derived (the residual is orthogonal to the data)", kind="theorem", figure="noise", scope=WIDE,
        left="spectrum_error_without_residual", right=1e-9,
    ),
    AtLeast(
        "bottleneck-residual", "With a bottleneck the residual does enter, far above rounding.",
        source="ours; derived", figure="noise", scope=NARROW,
        left="spectrum_error_without_residual", right=1e-6,
    ),
    AtMost(
        "descends-to-fit", "Gradient descent on noisy labels ends at the least-squares fit.",
        source="ours", scope=NOISE, left="fit_distance", right=1e-3,
    ),
)  # fmt: skip

_RELU = (
    AtMost(
        "relu-edge", "ReLU on digits: step · sharpness ends at most 2 % above 2.",
        source="ours (exploration)", figure="relu-sharpness", scope=RELU, left="final_factor", right=2.0, rtol=0.02,
    ),
    Within(
        "relu-gauss-newton", "The Gauss–Newton matrix, exact along active paths, carries the sharpness, to 5 %.",
        source="ours (exploration)", figure="relu-formulas", scope=RELU,
        column="gauss_newton_ratio", low=0.95, high=1.05, statistic="each",
    ),
    AtLeast(
        "relu-above-linear", "ReLU networks end sharper than the bound for linear networks that fit the digits best.",
        source="ours (exploration)", figure="relu-formulas", scope=RELU, left="flat_ratio", right=1.0,
    ),
    AtMost(
        "relu-mean-masks", "With neurons scaled by how often they are active the linear formula falls short.",
        source="ours (exploration)", figure="relu-formulas", scope=RELU, left="mean_mask_ratio", right=0.9,
    ),
    Ordered(
        "relu-more-even", "The larger the step, the more even the norm products of that linear network.",
        source="ours (exploration)", figure="relu-sharpness", scope=RELU,
        column="unevenness", along="step_size", direction="decreasing",
    ),
    Ordered(
        "relu-flatter", "The larger the step, the nearer the sharpness to the least of a linear network.",
        source="ours (exploration)", figure="relu-sharpness", scope=RELU,
        column="flat_ratio", along="step_size", direction="decreasing",
    ),
    Equal(
        "relu-leaves", "A ReLU network leaves a minimizer if step · sharpness is above 2 …",
        source="ours (exploration)", figure="relu-escape", scope=relu_unstable, left="left", right=1,
    ),
    AtMost(
        "relu-escape-formula", "… after the same number of updates, to one update and 5 %.",
        source="ours (exploration)", figure="relu-escape", scope=relu_unstable, left=beyond_formula, right=0.0,
    ),
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = (*_EXACT, *_ESCAPES, *_NOISE, *_RELU)
