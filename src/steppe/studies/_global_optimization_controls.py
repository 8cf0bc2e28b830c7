"""The negative controls of `bai2022-global-optimization`: near misses of its claims, each of which must be rejected."""

from steppe.harness import AtLeast, AtMost, Control, Equal, Row, Within

from ._global_optimization_claims import ADMM, DESCENT, EVERY, PATTERNS, PROVED, ROBUST, ROUNDING, last_excess

_SAMPLED = "the sampled program in place of the certified optimum"


def last_sampled(row: Row) -> float:
    """Sampled program with the most patterns."""
    return float(row["pattern_value"][-1])


CONTROLS: tuple[Control, ...] = (
    Control(
        AtLeast("control-run-below-sampled", "… below the optimum of the sampled program.",
                scope=DESCENT | {"proof": PROVED}, left="objective", right="sampled"),
        of="no-run-below", near_miss=_SAMPLED,
    ),
    Control(
        AtLeast("control-run-below-sampled-heuristic", "… below the optimum of the sampled program.",
                scope=DESCENT | {"proof": "heuristic"}, left="objective", right="sampled"),
        of="no-run-below-heuristic", near_miss=_SAMPLED,
    ),
    Control(
        AtMost("control-run-is-certificate", "… nor does its objective.",
               scope=DESCENT | {"proof": PROVED}, left="objective", right="certified", rtol=1e-12),
        of="own-certificate", near_miss="the run's own objective in place of its dual value",
    ),
    Control(
        AtMost("control-runs-arrive", "… within a millionth.", scope=DESCENT, left="excess", right=1e-6),
        of="runs-come-close", near_miss="arrival in place of closeness",
    ),
    Control(
        Equal("control-all-gates", "… also without its cone constraints.", scope=EVERY,
              left="all_gated", right="certified", rtol=1e-5),
        of="all-patterns", near_miss="cone constraints left out",
    ),
    Control(
        AtMost("control-fresh-patterns", "… or drawn anew.", scope=PATTERNS,
               left="largest_rise_fresh", right=ROUNDING),
        of="patterns-never-hurt", near_miss="patterns drawn anew for each number",
    ),
    Control(
        AtLeast("control-gated-above", "… nor do gated relaxations.", scope=PATTERNS | {"proof": PROVED},
                left="gated_value", right="certified_bound", rtol=ROUNDING),
        of="sampled-above", near_miss="cone constraints left out",
    ),
    Control(
        AtMost("control-unscaled", "… also if its dual vector is not scaled into the constraint.",
               scope=PATTERNS | {"proof": PROVED}, left="unscaled_bound", right="certified", rtol=1e-12),
        of="sampled-certificate", near_miss="division by the dual maximum left out",
    ),
    Control(
        AtMost("control-gated-network", "… and so do the networks split from their gates.", scope=PATTERNS,
               left="gated_network", right=last_sampled, rtol=ROUNDING),
        of="gated-below", near_miss="the ReLU network in place of the relaxation",
    ),
    Control(
        AtMost("control-sampled-below-optimum", "… and so does the sampled program.", scope=PATTERNS,
               left=last_sampled, right=lambda row: 0.95 * row["certified_bound"]),
        of="gated-below-optimum", near_miss="with cone constraints",
    ),
    Control(
        AtMost("control-sampling-is-enough", "… less than 0.1 %.", scope=PATTERNS | {"d": [4, 10]},
               left=last_excess, right=0.001),
        of="sampling-is-not-enough", near_miss="a tenth of a percent",
    ),
    Control(
        Within("control-admm-early", "… within 50 iterations.", scope=ADMM,
               column="admm_ratio_early", low=1 - 1e-4, high=1 + 1e-4, statistic="each"),
        of="admm-agrees", near_miss="stopped after 50 iterations",
    ),
    Control(
        Equal("control-unmoved", "… and that on the unmoved data.", scope=ROBUST | {"fit": "squared"},
              left="robust_loss", right="unmoved_loss", rtol=1e-6, atol=1e-7),
        of="worst-case-exact", near_miss="adversary left out",
    ),
    Control(
        AtLeast("control-plain-keeps", "… so does plain training.", scope=ROBUST, left="plain_certified", right=0.9),
        of="robust-keeps-labels", near_miss="plain training in place of robust training",
    ),
    Control(
        AtMost("control-robust-loses", "… so does robust training.", scope=ROBUST, left="robust_attacked", right=0.1),
        of="plain-loses-labels", near_miss="robust training in place of plain training",
    ),
    Control(
        AtMost("control-free-robustness", "… at no price.", scope=ROBUST,
               left="robust_value", right="plain_value", rtol=0.01),
        of="price-of-robustness", near_miss="equality within a percent",
    ),
)  # fmt: skip
