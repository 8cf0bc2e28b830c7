"""What `liang2025-data-geometry` claims. The controls stand in `_data_geometry_controls`."""

from collections.abc import Callable
from typing import Any

from steppe.harness import AtLeast, AtMost, Claim, Equal, Ordered, PowerLaw, Row, SlopesOrdered, Within

from ._flatness_sides import paper_bound, sharper_bound

PAPER = "arXiv 2510.18120"
SECOND_HAND = f"{PAPER}, experiments, from secondary sources"
RADIAL: dict[str, Any] = {"experiment": "radial", "law": "radial"}
LINES: dict[str, Any] = {"experiment": "ambient", "law": "lines"}
BALL: dict[str, Any] = {"experiment": "ambient", "law": "radial"}
SPHERE: dict[str, Any] = {"experiment": "sphere", "law": "sphere"}
TABLES: dict[str, Any] = {"experiment": "table", "table": ["digits", "photo-patches"]}
CONSTRUCTION: dict[str, Any] = {"experiment": ["construction", "patch-construction"]}
PLANE: dict[str, Any] = {"experiment": "plane"}
PRECISION = 2.0**-52
TABLE_WORDS = {"digits": "handwritten digits", "photo-patches": "patches of photographs"}
TABLE_IDS = tuple(f"{name}-{kind}" for name in TABLE_WORDS for kind in ("resist", "resist-covariance"))


def rounding(row: Row) -> float:
    """(s + 4) (2 condition + 1) times precision times label size, s inputs per neuron."""
    return float(row.get("d", 6) + 4) * PRECISION * (2 * float(row["condition"]) + 1) * float(row["size"])


def certificate_gap(row: Row) -> float:
    """|certified − Lanczos| sharpness."""
    return abs(float(row["certified_sharpness"]) - float(row["hessian_sharpness"]))


def promised_less_certified(row: Row) -> float:
    """Promised − certified sharpness where all labels have one size."""
    return float(row["promised_sharpness"]) - float(row["certified_sharpness"])


def fullest(**scope: Any) -> Callable[[Row], bool]:
    """Rows at 256 samples or more: below, everything is memorised under every law."""

    def inside(row: Row) -> bool:
        wanted = ((row.get(key), value) for key, value in scope.items())
        return row.get("n", 0) >= 256 and all(a in b if isinstance(b, list) else a == b for a, b in wanted)

    return inside


def _tables(name: str, words: str) -> tuple[Claim, ...]:
    scope = {"experiment": "table", "table": name}
    shared: dict[str, Any] = {"source": "the paper's MNIST experiment on data at hand", "figure": "tables"}
    return (
        Ordered(
            f"{name}-resist", f"Less noise is memorised on {words} than on Gaussian inputs of their dimension.",
            **shared, scope=scope | {"inputs": ["data", "gaussian"]},
            column="memorised_share", along="inputs", direction="increasing",
        ),
        Ordered(
            f"{name}-resist-covariance", f"… and, on {words}, less than on Gaussian inputs of the same covariance.",
            **shared, scope=scope | {"inputs": ["data", "gaussian-covariance"]},
            column="memorised_share", along="inputs", direction="increasing",
        ),
    )  # fmt: skip


CLAIMS: tuple[Claim, ...] = (
    # Theorems: inequalities and identities at finite n.
    AtMost(
        "flatness-inequality", "Flatness bounds the data-weighted seminorm, whatever the data.",
        source="arXiv 2506.20779, Theorem 3.2", kind="theorem",
        left="weighted_norm", right=paper_bound, scope=lambda row: "weighted_norm" in row,
    ),
    AtMost(
        "flatness-inequality-sharper", "It bounds even the one-sided, unmerged sum, with a smaller constant.",
        source="derived from the proof of arXiv 2506.20779, Theorem 3.2", kind="theorem",
        left="one_sided_sum", right=sharper_bound, scope=lambda row: "one_sided_sum" in row,
    ),
    AtMost(
        "sphere-interpolates", "On the sphere one neuron per sample interpolates any labels, to rounding.",
        source=f"{PAPER}, sphere; explicit weights derived", kind="theorem", figure="construction",
        scope=CONSTRUCTION, left="interpolation_error", right=rounding,
    ),
    Equal(
        "sphere-one-neuron", "Each sample activates one neuron, its own.",
        source=f"{PAPER}, sphere; explicit weights derived", kind="theorem", scope=CONSTRUCTION,
        left="largest_active", right=1.0,
    ),
    AtMost(
        "sphere-certified", "Its sharpness is the root of the secular equation: Lanczos on the Hessian agrees.",
        source="derived", kind="theorem", figure="construction", scope=CONSTRUCTION,
        left=certificate_gap, right="certified_error", slack=1e-12,
    ),
    AtMost(
        "sphere-flat", "It is at most 1 + 2√2 D/(nL), or 1 + (D² + 2)/n where v has size one.",
        source=f"{PAPER}, sphere; best split and patches derived", kind="theorem", figure="construction",
        scope=CONSTRUCTION, left="certified_sharpness", right="promised_sharpness", rtol=1e-13,
    ),
    Equal(
        "sphere-flat-attained", "Where all labels have one size it is exactly that.",
        source="derived", kind="theorem", scope=CONSTRUCTION | {"labels": "signs"},
        left=promised_less_certified, right=0.0, atol=1e-13,
    ),
    AtMost(
        "rare-neurons-reach-shallow-points", "A neuron active on a share p of the data reaches no point deeper than p.",
        source=f"derived from the definition of depth in {PAPER}", kind="theorem", figure="reach", scope=PLANE,
        left="reached_depth", right="reached_share", slack=1e-12,
    ),
    AtMost(
        "piece-inequality", "On line j a neuron weighs at least π_j² ‖proj u‖/√(1+R_j²) times what it weighs there.",
        source=f"derived, for the mixtures of {PAPER}", kind="theorem", scope=LINES,
        left="piece_ratio", right=1.0, slack=1e-12,
    ),
    # Figures of the paper.
    Ordered(
        "radial-ordered", "The more mass in the centre, the smaller the error to the clean targets.",
        source=SECOND_HAND, kind="figure", figure="radial", scope=fullest(**RADIAL),
        column="clean_error", along="alpha", direction="decreasing",
    ),
    SlopesOrdered(
        "radial-slopes-ordered", "… and the faster it falls with n.",
        source=SECOND_HAND, kind="figure", figure="radial", scope=RADIAL,
        x="n", y="clean_error", along="alpha", direction="increasing",
    ),
    PowerLaw(
        "lines-overlap", "On twenty lines the memorised share does not depend on the ambient dimension.",
        source=SECOND_HAND, kind="figure", figure="ambient", scope=LINES,
        x="d", y="memorised_share", by=("n",), low=-0.1, high=0.1,
    ),
    PowerLaw(
        "ball-degrades", "On the radial law with α = 1 it grows with the dimension.",
        source=SECOND_HAND, kind="figure", figure="ambient", scope=fullest(**BALL),
        x="d", y="memorised_share", low=0.1,
    ),
    PowerLaw(
        "lines-fall", "On lines it falls with n at least as fast as the guaranteed n^(−1/6).",
        source=f"{PAPER}, mixture theorem (exponent 1/(2m+4) at m = 1)", kind="figure", figure="ambient", scope=LINES,
        x="n", y="clean_error", by=("d",), high=-1 / 6,
    ),
    AtMost(
        "sphere-memorised", "On the sphere gradient descent fits the noise to a training error below 0.01 …",
        source=SECOND_HAND, kind="figure", figure="sphere", scope=SPHERE | {"step_size": 0.4},
        left="training_error", right=0.01,
    ),
    AtMost(
        "sphere-stable", "… at a sharpness of at most two over the step.",
        source=SECOND_HAND, kind="figure", figure="sphere", scope=SPHERE,
        left="plateau_sharpness", right="stability_limit", rtol=0.05,
    ),
    Within(
        "sphere-specialised", "On the sphere neurons specialise: most live ones fire on at most 10 % of the data.",
        source=SECOND_HAND, kind="figure", figure="activation", scope=SPHERE,
        column="rare_share", low=0.6, statistic="mean",
    ),
    Within(
        "lines-shared", "On lines that hardly interfere (d ≥ 50) most live neurons fire on more than 10 %.",
        source=SECOND_HAND, kind="figure", figure="activation", scope=LINES | {"d": [50, 100, 500]}, by=("d",),
        column="rare_share", high=0.4, statistic="mean",
    ),
    Within(
        "shallow-first", "Shallow points carry the larger error: negative rank correlation of depth and error.",
        source=SECOND_HAND, kind="figure", figure="depth", scope=RADIAL | {"alpha": [1.5, 5.0]}, by=("alpha",),
        column="depth_rank_correlation", high=0.0, statistic="mean",
    ),
    Within(
        "shallow-first-images", "… on images too.",
        source=SECOND_HAND, kind="figure", figure="depth", scope=TABLES | {"inputs": "data"}, by=("table",),
        column="depth_rank_correlation", high=0.0, statistic="mean",
    ),
    # Ours.
    AtMost(
        "shell-mass", "The radial law puts the mass δ^α outside 1 − δ (within 5 standard errors).",
        source=f"{PAPER}, radial family", scope={"experiment": "shell"}, left="shell_deviation", right=5.0,
    ),
    AtLeast(
        "sphere-hides-weights", "Curvature does not see the weights: path norms of one neuron beyond its label's size.",
        source="derived", scope={"experiment": "construction"}, left="largest_path", right="size",
    ),
    *(claim for name, words in TABLE_WORDS.items() for claim in _tables(name, words)),
)  # fmt: skip
