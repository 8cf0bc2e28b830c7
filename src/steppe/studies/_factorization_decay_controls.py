"""The negative controls of `kamber2026-regularized`: near misses of its claims, each of which must be rejected."""

from steppe.harness import AtMost, Control, Equal, Row, Share

from ._factorization_decay_claims import (
    COLLAPSE,
    DEEP_COLLAPSE,
    DEEP_MAP,
    DEEP_MINIMIZERS,
    MAP,
    MINIMIZERS,
    NOISE,
    RELU,
    ZERO,
    rank_found,
)


def other_exponent(row: Row) -> float:
    """σ_th with λ^((L−1)/L) in place of λ^(L/(2(L−1)))."""
    depth, weight = row["depth"], row["weight"]
    return float(row["threshold"]) * float(weight ** ((depth - 1) / depth - depth / (2 * (depth - 1))))


def larger_jump(row: Row) -> float:
    """(L − 1)/L."""
    return float((row["depth"] - 1) / row["depth"])


def several_over_bound(row: Row) -> float | None:
    """Trace over its lower bound where at least two singular values are kept."""
    return float(row["trace_over_bound"]) if int(row["kept"]) > 1 else None


_MINIMIZERS = (
    Control(
        AtMost("control-any-factorization", "… of every factorization of W*.", scope=MINIMIZERS,
               left="unbalanced_spectrum_error", right=1e-5),
        of="spectrum", near_miss="factorizations of W* that are slightly out of balance",
    ),
    Control(
        Equal("control-global", "… at every depth.", scope=DEEP_MINIMIZERS, left="normal_share", right=1.0),
        of="two-layers-global", near_miss="depth 3 and more",
    ),
    Control(
        Equal("control-target-norms", "… = Σ σ_k^(2/L).", scope=MINIMIZERS,
              left="norm_over_target", right=1.0, rtol=1e-3),
        of="layer-norms", near_miss="the target's singular values in place of the shrunk ones",
    ),
    Control(
        Equal("control-trace-ends", "… without middle layers.", scope=DEEP_MINIMIZERS,
              left="trace_over_ends", right=1.0, rtol=1e-3),
        of="trace", near_miss="the sum over the first and last layer alone",
    ),
    Control(
        Equal("control-trace-bound", "… and equals it.", scope=DEEP_MINIMIZERS,
              left=several_over_bound, right=1.0, rtol=1e-3),
        of="trace-bound", near_miss="an equality with several singular values",
    ),
)  # fmt: skip

_MAP = (
    Control(
        AtMost("control-soft", "… is the soft threshold.", scope=DEEP_MAP, left="soft_error", right=1e-3),
        of="map", near_miss="the map of depth 2 at depth 3 and more",
    ),
    Control(
        Equal("control-exponent", "… at σ_th with another exponent.", scope=DEEP_MAP,
              left="measured_threshold", right=other_exponent, rtol=1e-3),
        of="threshold", near_miss="λ^((L−1)/L) in place of λ^(L/(2(L−1)))",
    ),
    Control(
        Equal("control-jump", "… to σ_th (L − 1)/L.", scope=MAP, left="measured_jump", right=larger_jump, atol=1e-2),
        of="jump", near_miss="(L − 1)/L in place of (L − 2)/(L − 1)",
    ),
)  # fmt: skip

_COLLAPSE = (
    Control(
        AtMost("control-continuous", "… it is small.", scope=DEEP_COLLAPSE, left="top_below", right=0.01),
        of="collapse-below", near_miss="a continuous collapse, as at depth 2",
    ),
    Control(
        AtMost("control-started-balanced", "… from balanced starts, too.", scope=COLLAPSE,
               left="top_balanced", right=1e-3),
        of="collapse-above", near_miss="where balanced starts end in place of the global minimum",
    ),
    Control(
        Equal("control-zero-shallow", "… also at depth 2.", scope=ZERO | {"depth": 2},
              left="zero_curvature", right=1.0, rtol=1e-2),
        of="zero-minimum", near_miss="depth 2",
    ),
    Control(
        AtMost("control-zero-leaves", "… also at depth 2.", scope=ZERO | {"depth": 2}, left="small_norm", right=1e-2),
        of="zero-attracts", near_miss="depth 2",
    ),
)  # fmt: skip

_DATA = (
    Control(
        Share("control-noise-rank", "… also at depth 2.", scope=NOISE | {"depth": 2},
              condition=rank_found, at_least=0.8),
        of="noise-rank", near_miss="the soft threshold of depth 2",
    ),
    Control(
        AtMost("control-no-decay", "… also without decay.",
               scope={"experiment": "digits", "decay": 0.0}, left="norm_spread", right=0.05),
        of="digits-relu-norms", near_miss="the same training without decay",
    ),
    Control(
        AtMost("control-relu-matrices", "… ReLU networks, too.", scope=RELU, left="matrix_imbalance", right=0.1),
        of="digits-linear", near_miss="ReLU in place of the identity, and a hundred times the tolerance",
    ),
)  # fmt: skip

CONTROLS: tuple[Control, ...] = (*_MINIMIZERS, *_MAP, *_COLLAPSE, *_DATA)
