"""The negative controls of `liang2026-locality`: near misses of its claims, each of which must be rejected."""

from steppe.harness import AtMost, Control, Equal, Ordered, Row, Settles, Within

from ._flatness_sides import (
    bound_minus_one,
    bound_quarter,
    bound_without_half,
    gauss_newton_bound,
    half_limit,
    mean_gradient_and_a_tenth,
    paper_bound,
)
from ._locality_claims import (
    GEOMETRY,
    PATCHWISE,
    SPHERE,
    VOCABULARY,
    measured,
    memorised,
    word_share,
)


def chain_floor_too_large(row: Row) -> float:
    """1 + 2.2 Σ |v_k| ‖w_k‖ g̃."""
    return 1 + 2.2 * float(row["weighted_sum"])


CONTROLS = (
    Control(
        AtMost("control-minus-one", "… with −1 in place of −½.", scope=measured,
               left="weighted_sum", right=bound_minus_one),
        of="patch-inequality", near_miss="−½ replaced by −1",
    ),
    Control(
        AtMost("control-loss-without-half", "… for a loss without ½.", scope=measured,
               left="weighted_sum", right=bound_without_half),
        of="patch-inequality", near_miss="sharpness of the loss without its ½",
    ),
    Control(
        AtMost("control-connected-weight", "… with the weight of a fully connected network.",
               scope={"experiment": "inequality"}, left="connected_sum", right=paper_bound),
        of="patch-inequality", near_miss="the weight of inputs in place of that of patches",
    ),
    Control(
        AtMost("control-quarter", "… with ¼ in place of ½.", scope=measured, left="weighted_sum", right=bound_quarter),
        of="patch-inequality-sharper", near_miss="constant ½ of the residual term replaced by ¼",
    ),
    Control(
        AtMost("control-chain", "… with 2.2 in place of 2.", scope=measured,
               left=chain_floor_too_large, right="mean_gradient_squared"),
        of="mean-gradient-floor", near_miss="factor 2 replaced by 2.2",
    ),
    Control(
        AtMost("control-ceiling", "… by a tenth.", scope=measured,
               left=mean_gradient_and_a_tenth, right=gauss_newton_bound),
        of="mean-gradient-ceiling", near_miss="squared length times 1.1",
    ),
    Control(
        Equal("control-unpooled", "… without the mean over patches.", scope={"experiment": "construction"},
              left="construction_sharpness", right="construction_formula_unpooled", rtol=1e-3),
        of="patch-sphere-flat", near_miss="1 + 2√2/n in place of 1 + 2√2/(n l)",
    ),
    Control(
        AtMost("control-whole-tail", "… with exponent d/2.", scope={"experiment": "tail"},
               left="tail_deviation_whole", right=5.0),
        of="patch-radius-tail", near_miss="exponent (d − m)/2 replaced by d/2",
    ),
    Control(
        Ordered("control-reversed", "… larger.", scope=SPHERE | {"network": ["shared", "connected"]},
                column="gap", along="network", direction="increasing"),
        of="shared-below-connected", near_miss="the order reversed",
    ),
    Control(
        AtMost("control-shared-memorises", "… shared ones, too.", scope=SPHERE | {"network": "shared"},
               left=memorised, right=0.1),
        of="connected-memorises", near_miss="shared patches in place of fully connected networks",
    ),
    Control(
        Settles("control-sphere-half", "… at one over the step.", scope=SPHERE | {"network": ["shared", "connected"]},
                by=("network",), column="plateau_sharpness", at=half_limit, within=0.1),
        of="sphere-edge", near_miss="limit 1/η, as if the loss had no ½",
    ),
    Control(
        AtMost("control-whole-sphere", "… on a whole sphere.", scope=SPHERE | {"network": "shared"},
               left=memorised, right=0.2),
        of="patchwise-memorises", near_miss="inputs on one sphere in place of patch-wise spheres",
    ),
    Control(
        Settles("control-patchwise-half", "… at one over the step.", scope=PATCHWISE,
                column="plateau_sharpness", at=half_limit, within=0.1),
        of="patchwise-edge", near_miss="limit 1/η, as if the loss had no ½",
    ),
    Control(
        Within("control-activation-sphere", "… on a whole sphere.", scope=SPHERE | {"network": "shared"},
               column="last_activation", high=0.1, statistic="mean"),
        of="patchwise-collapse", near_miss="inputs on one sphere in place of patch-wise spheres",
    ),
    Control(
        Ordered("control-depth-reversed", "… less deep.", scope=GEOMETRY | {"scheme": ["convolution", "shuffled"]},
                column="depth_area", along="scheme", direction="increasing"),
        of="natural-above-shuffled", near_miss="the order reversed",
    ),
    Control(
        Within("control-unshared-words", "… without sharing.", scope=VOCABULARY | {"network": "unshared"},
               column=word_share, high=0.05, statistic="mean"),
        of="vocabulary-sharing-generalises", near_miss="filters of their own in place of shared ones",
    ),
)  # fmt: skip
