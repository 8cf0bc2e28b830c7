"""The negative controls of `neural-shattering`: near misses of its claims, each of which must be rejected."""

from typing import Any

from steppe.harness import AtLeast, AtMost, Control, Equal, PowerLaw, Row, Settles, SlopesOrdered, Within

from ._flatness_sides import (
    bound_minus_one,
    bound_quarter,
    bound_without_half,
    gauss_newton_bound,
    half_limit,
    mean_gradient_and_a_tenth,
)
from ._neural_shattering_claims import (
    DECAY,
    LARGE,
    REAL,
    SWEEP_DECAY,
    SWEEP_FLAT,
    quarter_noise,
    relu,
)

_WEIGHT: dict[str, Any] = {"experiment": "weight"}
_HARD: dict[str, Any] = {"experiment": "hard"}
_FLAT_FOR_DECAY = "the flat networks in place of the weight-decay ones"
_DECAY_FOR_FLAT = "the weight-decay networks in place of the flat ones"


def chain_floor_too_large(row: Row) -> float:
    """1 + 2.2 Σ |v_k| ‖w_k‖ g̃."""
    return 1 + 2.2 * float(row["one_sided_sum"])


def _on_real_inputs(name: str) -> tuple[Control, ...]:
    large: dict[str, Any] = {
        "experiment": "real",
        "network": "shallow-relu",
        "dataset": name,
        "recipe": "large-step",
    }
    return (
        Control(
            Within(f"control-{name}-shatters", "… with weight decay.", scope=large | {"recipe": "weight-decay"},
                   by=("labels",), column="rare_share", low=0.8, statistic="mean"),
            of=f"real-{name}-shatters", near_miss=_DECAY_FOR_FLAT,
        ),
        Control(
            Within(f"control-{name}-decay", "… at a large step.", scope=large, by=("labels",),
                   column="rare_share", high=0.05, statistic="mean"),
            of=f"real-{name}-decay", near_miss=_FLAT_FOR_DECAY,
        ),
        Control(
            Settles(f"control-{name}-edge", "… at one over the step.", scope=large, by=("labels",),
                    column="plateau_sharpness", at=half_limit, within=0.1),
            of=f"real-{name}-edge", near_miss="limit 1/η, as if the loss had no ½",
        ),
    )  # fmt: skip


CONTROLS = (
    Control(
        AtMost("control-minus-one", "… with −1 in place of −½.", scope=relu,
               left="weighted_norm", right=bound_minus_one),
        of="flatness-inequality", near_miss="−½ replaced by −1",
    ),
    Control(
        AtMost("control-loss-without-half", "… for a loss without ½.", scope=relu,
               left="weighted_norm", right=bound_without_half),
        of="flatness-inequality", near_miss="sharpness of the loss without its ½",
    ),
    Control(
        AtMost("control-quarter", "… with ¼ in place of ½.", scope=relu, left="one_sided_sum", right=bound_quarter),
        of="flatness-inequality-sharper", near_miss="constant ½ of the residual term replaced by ¼",
    ),
    Control(
        AtMost("control-chain", "… with 2.2 in place of 2.", scope=relu,
               left=chain_floor_too_large, right="mean_gradient_squared"),
        of="mean-gradient-floor", near_miss="factor 2 replaced by 2.2",
    ),
    Control(
        AtMost("control-ceiling", "… by a tenth.", scope=relu,
               left=mean_gradient_and_a_tenth, right=gauss_newton_bound),
        of="mean-gradient-ceiling", near_miss="squared length times 1.1",
    ),
    Control(
        AtMost("control-weight-lower", "… times √(1+R²).", scope=_WEIGHT,
               left="weight_upper", right="weight_one_sided", slack=1e-12),
        of="weight-lower-bound", near_miss="factor √(1+R²) added",
    ),
    Control(
        AtMost("control-weight-upper", "… without √(1+R²).", scope=_WEIGHT,
               left="weight_one_sided", right="weight_lower", slack=1e-12),
        of="weight-upper-bound", near_miss="factor √(1+R²) left out",
    ),
    Control(
        Equal("control-occupied-sharpness", "… also if one cap holds a sample.", scope=_HARD,
              left="hard_sharpness_occupied", right=1.0, atol=1e-9),
        of="hard-functions-flat", near_miss="one cap that holds a sample added",
    ),
    Control(
        Equal("control-occupied-error", "… also if one cap holds a sample.", scope=_HARD,
              left="hard_training_error_occupied", right=0.0),
        of="hard-functions-interpolate", near_miss="one cap that holds a sample added",
    ),
    Control(
        AtMost("control-all-caps", "… counting all caps.", scope=_HARD, left="hard_energy_deviation_all", right=5.0),
        of="hard-functions-energy", near_miss="occupied caps counted too",
    ),
    Control(
        AtMost("control-higher-caps", "… for caps of twice the height.", scope=_HARD,
               left="hard_overlap_twice", right=1.0),
        of="hard-functions-disjoint", near_miss="caps of twice the height",
    ),
    Control(
        Settles("control-one-over-step", "… at one over the step.", scope=LARGE,
                column="plateau_sharpness", at=half_limit, within=0.1),
        of="edge-of-stability", near_miss="limit 1/η, as if the loss had no ½",
    ),
    Control(
        Within("control-decay-rare", "… with weight decay.", scope=DECAY, column="rare_share", low=0.8,
               statistic="mean"),
        of="shattering-rare-neurons", near_miss=_DECAY_FOR_FLAT,
    ),
    Control(
        AtLeast("control-decay-path-norm", "… with weight decay.", scope=DECAY, left="path_norm", right=100.0),
        of="shattering-large-path-norm", near_miss=_DECAY_FOR_FLAT,
    ),
    Control(
        AtMost("control-unweighted-norm", "… without the weight.", scope=LARGE, left="path_norm", right=1.0),
        of="shattering-small-weighted-norm", near_miss="the path norm in place of the weighted one",
    ),
    Control(
        Equal("control-large-step-alive", "… at a large step.", scope=LARGE, left="live_fraction", right=1.0),
        of="decay-no-dead-neuron", near_miss=_FLAT_FOR_DECAY,
    ),
    Control(
        Within("control-decay-memorises", "… with weight decay.", scope=DECAY,
               column="memorised_share", low=0.65, high=1.25, statistic="mean"),
        of="large-step-memorises", near_miss=_DECAY_FOR_FLAT,
    ),
    Control(
        AtMost("control-decay-fits", "… with weight decay.", scope=DECAY, left="training_error", right=quarter_noise),
        of="large-step-fits", near_miss=_DECAY_FOR_FLAT,
    ),
    Control(
        AtMost("control-large-step-clean", "… at a large step.", scope=LARGE, left="clean_error", right=quarter_noise),
        of="decay-does-not-memorise", near_miss=_FLAT_FOR_DECAY,
    ),
    Control(
        PowerLaw("control-curse-decay", "… with weight decay.", scope=SWEEP_DECAY | {"d": 5},
                 x="n", y="clean_error", low=-0.3, high=0.1),
        of="curse-at-dimension-5", near_miss=_DECAY_FOR_FLAT,
    ),
    Control(
        SlopesOrdered("control-order", "… steepens as the dimension grows.", scope=SWEEP_FLAT | {"d": [1, 3, 5]},
                      x="n", y="clean_error", along="d", direction="increasing"),
        of="curse-of-dimension", near_miss="the order reversed",
    ),
    Control(
        PowerLaw("control-flat-fast", "… for flat networks at d = 5.", scope=SWEEP_FLAT | {"d": 5},
                 x="n", y="clean_error", high=-0.5),
        of="decay-no-curse", near_miss=_FLAT_FOR_DECAY,
    ),
    Control(
        PowerLaw("control-fast-rate", "… like 1/n.", scope=_WEIGHT, by=("d",),
                 x="n", y="weight_supremum", low=-1.15, high=-0.85),
        of="weight-converges", near_miss="exponent −1 in place of −½",
    ),
    Control(
        Equal("control-limit", "… up to one percent.", scope=_WEIGHT, left="weight_limit_ratio", right=1.01, rtol=1e-3),
        of="weight-boundary-limit", near_miss="a limit one percent larger",
    ),
    *(
        Control(
            PowerLaw(f"control-half-exponent-{d}", f"… like n^(−1/{d + 1}).", scope=_HARD | {"d": d},
                     x="n", y="hard_energy", low=-1 / (d + 1) - 0.05, high=-1 / (d + 1) + 0.05),
            of=f"lower-bound-scaling-{d}", near_miss="exponent halved",
        )
        for d in (2, 3)
    ),
    *(control for name in REAL for control in _on_real_inputs(name)),
)  # fmt: skip
