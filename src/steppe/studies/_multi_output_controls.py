"""The negative controls of `shenouda2023-multi-output`: near misses of its claims, each of which must be rejected."""

from steppe.harness import AtLeast, AtMost, Control, Equal, Row, Settles, Within

from ._multi_output_claims import (
    BARE,
    COMPRESSED,
    DUPLICATES,
    ENTRY,
    GROUP,
    LARGE,
    MEAN_WIDTH,
    RANK,
    SMALL,
    WIDTH,
    just_above_bound,
    nearly_all,
    teachers_objective,
)

_NEXT = {10: 20, 20: 30, 30: 40, 40: 30}


def over_third(row: Row) -> float:
    """Mean number of active neurons over N·D/3."""
    return float(row["mean_active"]) / (row["n"] * row["outputs"] / 3)


def over_next(row: Row) -> float:
    """Mean number of active neurons over the one recorded for another N."""
    return float(row["mean_active"]) / MEAN_WIDTH[_NEXT[row["n"]]]


def rank_sum(row: Row) -> int:
    """r_Φ + r_Ψ."""
    return int(row["n"] + row["outputs"])


def half_product(row: Row) -> float:
    """N·D/2."""
    return 0.5 * float(row["n"] * row["outputs"])


def over_full_rank(row: Row) -> float:
    """Mean number of active neurons over that of N features of full rank."""
    return float(row["mean_active"]) / MEAN_WIDTH[20]


def twice_reduced_bound(row: Row) -> float:
    """r_Φ r_Ψ − r_Ψ(r_Ψ + 1)."""
    return float(row["bound"] - row["outputs"] * (row["outputs"] + 1))


_WIDTHS = (
    Control(
        AtLeast("control-half", "… no fewer than N·D/2.", scope=WIDTH, left="fewest_active", right=half_product),
        of="at-least-n", near_miss="half the product in place of N",
    ),
    Control(
        AtMost("control-rank-sum", "… at most r_Φ + r_Ψ.", scope=WIDTH, left="most_reduced", right=rank_sum),
        of="rank-product", near_miss="a sum in place of the product",
    ),
    Control(
        AtMost("control-refined", "… at most r_Φ r_Ψ − r_Ψ(r_Ψ + 1).", scope=WIDTH | {"n": 10},
               left="most_reduced", right=twice_reduced_bound),
        of="refined-bound", near_miss="more than twice as much taken off the product",
    ),
    Control(
        AtMost("control-dropped", "… even if the neurons that stay keep their weights.", scope=DUPLICATES,
               left="dropped_slip", right=1e-8),
        of="reduction-keeps-outputs", near_miss="neurons dropped without moving their weights to others",
    ),
    Control(
        Within("control-third", "… N·D/3.", scope=WIDTH,
               column=over_third, low=0.92, high=1.08, by="n", statistic="mean"),
        of="width-as-recorded", near_miss="a width proportional to N·D",
    ),
    Control(
        Within("control-next", "… for another N.", scope=WIDTH,
               column=over_next, low=0.92, high=1.08, by="n", statistic="mean"),
        of="width-as-recorded", near_miss="the numbers of another N",
    ),
    Control(
        Within("control-full-rank", "… those of full rank.", scope=RANK | {"rank": [2, 5]},
               column=over_full_rank, low=0.88, high=1.12, by="rank", statistic="mean"),
        of="rank-as-recorded", near_miss="the width at full rank",
    ),
)  # fmt: skip

_SHARING = (
    Control(
        Equal("control-bare-width", "… also with the penalty.", scope=GROUP, left="used", right=100),
        of="bare-width", near_miss="the group penalty in place of none",
    ),
    Control(
        Within("control-entry-width", "… with a penalty on every entry.", scope=ENTRY,
               column="used", low=9, high=11, statistic="each"),
        of="shared-width", near_miss="Σ|v_kj| in place of Σ‖v_k‖",
    ),
    Control(
        Settles("control-entry-norm", "… with a penalty on every entry.", scope=ENTRY,
                column="norm", at=1.4563, within=0.01, statistic="each"),
        of="shared-norm", near_miss="Σ|v_kj| in place of Σ‖v_k‖",
    ),
    Control(
        AtLeast("control-entry-shared", "… also with a penalty on every entry.", scope=ENTRY,
                left="shared", right=1.0),
        of="shared-neurons", near_miss="Σ|v_kj| in place of Σ‖v_k‖",
    ),
    Control(
        Within("control-bare-shared", "… also without a penalty.", scope=BARE,
               column="used", low=9, high=11, statistic="each"),
        of="shared-width", near_miss="no penalty",
    ),
)  # fmt: skip

_OPTIMUM = (
    Control(
        AtMost("control-path-prox-optimal", "… so does PathProx with the group penalty.", scope=GROUP,
               left="objective", right=just_above_bound),
        of="optimum-found", near_miss="PathProx, a million steps, in place of the certified solver",
    ),
    Control(
        AtMost("control-path-prox-teacher", "… nor is PathProx with the group penalty.", scope=GROUP,
               left="objective", right=teachers_objective),
        of="optimum-below-teacher", near_miss="PathProx, a million steps, in place of the optimum",
    ),
)  # fmt: skip

_COMPRESSION = (
    Control(
        AtMost("control-one-fewer", "… with one neuron fewer.", scope=SMALL, left="change_one_fewer", right=1e-6),
        of="exact", near_miss="one neuron fewer than the rank",
    ),
    Control(
        AtMost("control-loose-random", "… with as many random neurons.", scope=COMPRESSED,
               left="change_random", right=0.1),
        of="loose-kept", near_miss="neurons at random, refitted",
    ),
    Control(
        AtMost("control-magnitude", "… with as many neurons of the largest weights.", scope=COMPRESSED,
               left="change_magnitude", right=0.1),
        of="loose-kept", near_miss="neurons of the largest outgoing weights, not refitted",
    ),
    Control(
        AtLeast("control-room", "… also at 80 digits and width 1000.", scope=SMALL,
                left="neurons_exact", right=nearly_all),
        of="no-room", near_miss="fewer samples than neurons",
    ),
    Control(
        AtMost("control-exact-large", "… also at 600 digits with at most 80 neurons.", scope=LARGE,
               left="neurons_exact", right=80),
        of="exact-digits", near_miss="more samples than neurons",
    ),
)  # fmt: skip

CONTROLS: tuple[Control, ...] = (*_WIDTHS, *_SHARING, *_OPTIMUM, *_COMPRESSION)
