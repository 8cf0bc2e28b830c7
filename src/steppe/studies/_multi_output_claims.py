"""What `shenouda2023-multi-output` claims. The controls stand in `_multi_output_controls`.

Bands were fixed after a prototype on other random draws and before the first run of this study.
"""

from typing import Any

from steppe.harness import AtLeast, AtMost, Claim, Equal, Row, Settles, Within

PAPER = "JMLR 25(231), 2024"
CODE = "the authors' public code"
WIDTH: dict[str, Any] = {"experiment": "width"}
RANK: dict[str, Any] = {"experiment": "rank"}
SOLVED: dict[str, Any] = {"experiment": ["width", "rank"]}
REDUCED: dict[str, Any] = {"experiment": ["width", "rank", "duplicates"]}
DUPLICATES: dict[str, Any] = {"experiment": "duplicates"}
SHARING: dict[str, Any] = {"experiment": "sharing"}
LONG = 1_000_000
GROUP = SHARING | {"penalty": "group", "steps": LONG}
ENTRY = SHARING | {"penalty": "entry", "steps": LONG}
OPTIMUM = SHARING | {"penalty": "optimum"}
BARE = SHARING | {"penalty": "none"}
COMPRESSED: dict[str, Any] = {"experiment": "compression"}
CONNECTED = COMPRESSED | {"network": "connected"}
SMALL = CONNECTED | {"inputs": "digits", "n": 80}
LARGE = CONNECTED | {"inputs": "digits", "n": 600}
PATCHES = COMPRESSED | {"inputs": "patches"}
MEAN_WIDTH = {10: 34.4, 20: 82.3, 30: 126.8, 40: 167.9}
MEAN_AT_RANK = {2: 2.6, 5: 11.4}


def over_recorded(row: Row) -> float:
    """Mean number of active neurons over the recorded one."""
    return float(row["mean_active"]) / MEAN_WIDTH[row["n"]]


def over_recorded_rank(row: Row) -> float:
    """Mean number of active neurons over the recorded one at this rank."""
    return float(row["mean_active"]) / MEAN_AT_RANK[row["rank"]]


def teachers_objective(row: Row) -> float:
    """The teacher's own objective, which has no error."""
    return 5e-5 * float(row["teacher_norm"])


def just_above_bound(row: Row) -> float:
    """1 % above the lower bound."""
    return 1.01 * float(row["lower_bound"])


def nearly_all(row: Row) -> float:
    """95 % of the neurons."""
    return 0.95 * float(row["neurons_before"])


def half(row: Row) -> float:
    """Half of the neurons."""
    return 0.5 * float(row["neurons_before"])


_WIDTHS = (
    AtMost(
        "certified", "The norm of every solution is the smallest possible, by its duality gap.",
        source="weak duality", kind="theorem", scope=SOLVED, left="largest_gap", right=1e-7,
    ),
    AtLeast(
        "at-least-n", "With Gaussian features and at least one target no fewer than N neurons fit.",
        source=f"{PAPER}, marker N of the width histograms", kind="theorem", figure="widths", scope=WIDTH,
        left="fewest_active", right="n",
    ),
    AtMost(
        "rank-product", "After the reduction at most r_Φ · r_Ψ neurons are active.",
        source=f"{PAPER}, width bound; proof derived here", kind="theorem", figure="widths", scope=REDUCED,
        left="most_reduced", right="bound",
    ),
    AtMost(
        "refined-bound", "More precisely, at most r_Φ r_Ψ − r_Ψ(r_Ψ − 1)/2.",
        source="derived here", kind="theorem", figure="widths", scope=SOLVED,
        left="most_reduced", right="refined_bound",
    ),
    AtMost(
        "reduction-keeps-outputs", "The reduction changes no output.",
        source="derived here", kind="theorem", scope=REDUCED, left="largest_slip", right=1e-8,
    ),
    AtMost(
        "reduction-keeps-norm", "The reduction does not raise the norm.",
        source="derived here", kind="theorem", scope=REDUCED, left="norm_rise", right=1e-8,
    ),
    AtMost(
        "duplicates-merge", "Of 60 active copies of 5 neurons at most 5 are left.",
        source="derived here", kind="theorem", scope=DUPLICATES, left="most_reduced", right=5,
    ),
    Within(
        "width-as-recorded", "Mean widths are the recorded 34.4, 82.3, 126.8, 167.9, within 8 %.",
        source=f"{CODE}, width histograms", kind="figure", figure="widths", scope=WIDTH,
        column=over_recorded, low=0.92, high=1.08, by="n", statistic="mean",
    ),
    Within(
        "rank-as-recorded", "At ranks 2 and 5 mean widths are the recorded 2.6 and 11.4, within 12 %.",
        source=f"{CODE}, low-rank features", kind="figure", figure="ranks", scope=RANK | {"rank": [2, 5]},
        column=over_recorded_rank, low=0.88, high=1.12, by="rank", statistic="mean",
    ),
)  # fmt: skip

_SHARING = (
    Equal(
        "draw-teacher", "The teacher is the authors': its norm is 0.998064.",
        source=CODE, kind="ours", scope=SHARING, left="teacher_norm", right=0.998064, atol=1e-6,
    ),
    Equal(
        "draw-student", "The student starts as the authors' does: mean squared error 0.219415.",
        source=CODE, kind="ours", scope=SHARING, left="initial_error", right=0.219415, atol=1e-6,
    ),
    Within(
        "shared-width", "With the group penalty about ten neurons are left.",
        source=f"{CODE}, neuron sharing (10)", kind="figure", figure="sharing", scope=GROUP,
        column="used", low=9, high=11, statistic="each",
    ),
    Settles(
        "shared-norm", "Their norm is 1.4563.",
        source=f"{CODE}, neuron sharing", kind="figure", figure="sharing", scope=GROUP,
        column="norm", at=1.4563, within=0.01, statistic="each",
    ),
    Settles(
        "shared-error", "The mean squared error is 2.93e-5.",
        source=f"{CODE}, neuron sharing", kind="figure", figure="sharing", scope=GROUP,
        column="final_error", at=2.93e-5, within=0.02, statistic="each",
    ),
    AtLeast(
        "shared-neurons", "All of them serve both outputs.",
        source=f"{PAPER}, neuron sharing", kind="figure", figure="sharing", scope=GROUP, left="shared", right=1.0,
    ),
    Equal(
        "bare-width", "Without a penalty all 100 neurons stay in use.",
        source=f"{CODE}, neuron sharing (100)", kind="figure", figure="sharing", scope=BARE, left="used", right=100,
    ),
)  # fmt: skip

# Added after the first run, which had shown that the penalty on entries ends with a lower objective than PathProx.
_OPTIMUM = (
    AtLeast(
        "not-below-optimum", "No training ends below the certified lower bound.",
        source="weak duality; the maximum of the dual is searched, not proved", kind="ours", scope=SHARING,
        left="objective", right="lower_bound",
    ),
    AtMost(
        "optimum-found", "The certified solver ends within 1 % of it.",
        source="certified networks with several outputs", kind="ours", figure="sharing", scope=OPTIMUM,
        left="objective", right=just_above_bound,
    ),
    AtMost(
        "optimum-below-teacher", "The optimum is not above the teacher's own objective.",
        source="the teacher is a network", kind="ours", scope=OPTIMUM, left="objective", right=teachers_objective,
    ),
)  # fmt: skip

_COMPRESSION = (
    AtMost(
        "exact", "Compressed exactly, training outputs change by at most 1e-6.",
        source=f"{PAPER}, compression", kind="ours", figure="curves", scope=COMPRESSED,
        left="change_exact", right=1e-6,
    ),
    AtMost(
        "exact-rank", "No more neurons are left than the rank of the features.",
        source="linear algebra", kind="theorem", figure="curves", scope=COMPRESSED,
        left="neurons_exact", right="feature_ranks",
    ),
    AtMost(
        "exact-digits", "A network of width 1000 on 80 digits is left with at most 80 neurons.",
        source=f"{PAPER}, compression", kind="ours", figure="curves", scope=SMALL, left="neurons_exact", right="n",
    ),
    AtLeast(
        "no-room", "At 600 digits and width 200 exactness leaves no room: the features have nearly full rank.",
        source="the same count", kind="ours", figure="curves", scope=LARGE, left="neurons_exact", right=nearly_all,
    ),
    AtMost(
        "loose", "A relative change of 0.1 lets go of half the neurons, also of convolutions.",
        source=f"{PAPER}, compression", kind="ours", figure="curves", scope=COMPRESSED,
        left="neurons_loose", right=half,
    ),
    AtMost(
        "loose-kept", "It is not exceeded.",
        source="measured end to end", kind="ours", figure="curves", scope=COMPRESSED, left="change_loose", right=0.1,
    ),
    AtMost(
        "norm-kept", "By smallest norm the path norm does not rise.",
        source=f"{PAPER}, multi-task lasso", kind="theorem", scope=CONNECTED, left="norm_rise", right=1e-6,
    ),
    AtMost(
        "norm-bound", "By smallest norm at most r_Φ · r_Ψ neurons are left.",
        source=f"{PAPER}, width bound", kind="theorem", scope=CONNECTED, left="neurons_normed", right="bound",
    ),
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = (*_WIDTHS, *_SHARING, *_OPTIMUM, *_COMPRESSION)
