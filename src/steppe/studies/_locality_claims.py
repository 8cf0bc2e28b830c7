"""What `liang2026-locality` claims. The controls stand in `_locality_controls`."""

from typing import Any

from steppe.harness import AtLeast, AtMost, Claim, Equal, Ordered, PowerLaw, Row, Settles, Within

from ._flatness_sides import gauss_newton_bound, paper_bound, sharper_bound

PAPER = "arXiv 2603.04807"
DERIVED = "derived by the proof of arXiv 2506.20779, Theorem 3.2"
SPHERE: dict[str, Any] = {"experiment": "sphere"}
PATCHWISE: dict[str, Any] = {"experiment": "patch-sphere"}
IMAGES: dict[str, Any] = {"experiment": "images"}
VOCABULARY: dict[str, Any] = {"experiment": "vocabulary"}
GEOMETRY: dict[str, Any] = {"experiment": "geometry"}


def measured(row: Row) -> bool:
    return "weighted_sum" in row


def chain_floor(row: Row) -> float:
    """1 + 2 Σ |v_k| ‖w_k‖ g̃."""
    return 1 + 2 * float(row["weighted_sum"])


def memorised(row: Row) -> float:
    """Training error over the variance of the noise."""
    return float(row["training_error"]) / float(row["noise_variance"])


def word_share(row: Row) -> float:
    """Held-out error over that of the mean word."""
    return float(row["word_error"]) / float(row["word_null_error"])


def word_training_share(row: Row) -> float:
    """Training error over the error of the mean word."""
    return float(row["word_training_error"]) / float(row["word_null_error"])


def late_activation(row: Row) -> float:
    """The last share of active patches over the first."""
    return float(row["last_activation"]) / float(row["first_activation"])


_THEOREMS = (
    AtMost(
        "patch-inequality", "Flatness bounds the path norm that is weighed by the patches.",
        source=DERIVED, kind="theorem", figure="slack", scope=measured, left="weighted_sum", right=paper_bound,
    ),
    AtMost(
        "patch-inequality-sharper", "It does so with a smaller constant on the residual.",
        source=DERIVED, kind="theorem", figure="slack", scope=measured, left="weighted_sum", right=sharper_bound,
    ),
    AtMost(
        "mean-gradient-floor", "The mean gradient is at least as long as the weighted path norm says.",
        source=DERIVED, kind="theorem", scope=measured,
        left=chain_floor, right="mean_gradient_squared", rtol=1e-9,
    ),
    AtMost(
        "mean-gradient-ceiling", "The Gauss–Newton sharpness is at least the squared length of the mean gradient.",
        source=DERIVED, kind="theorem", scope=measured, left="mean_gradient_squared", right=gauss_newton_bound,
    ),
    Equal(
        "patch-sphere-flat",
        "On patch-wise spheres a shared network with sharpness 1 + 2√2/(n l) interpolates labels ±1.",
        source="derived", kind="theorem", scope={"experiment": "construction"},
        left="construction_sharpness", right="construction_formula", rtol=1e-9,
    ),
    AtMost(
        "patch-sphere-interpolates", "It interpolates up to rounding.",
        source="derived", kind="theorem", scope={"experiment": "construction"},
        left="interpolation_error", right=1e-10,
    ),
    AtMost(
        "patch-radius-tail",
        "Patches of points on a sphere have the radial tail of exponent (d − m)/2 (within 5 standard errors).",
        source="derived: ‖patch‖² is Beta(m/2, (d − m)/2)", kind="theorem", scope={"experiment": "tail"},
        left="tail_deviation", right=5.0,
    ),
    AtMost(
        "patch-mean-square", "Their mean square is m/d (within 5 standard errors).",
        source="derived", kind="theorem", scope={"experiment": "tail"}, left="mean_square_deviation", right=5.0,
    ),
)  # fmt: skip


def _pair(name: str, words: str, first: str, second: str) -> Claim:
    """The gap of `first` is below that of `second`; the judge orders networks by name."""
    return Ordered(
        name, words, source=f"{PAPER}, experiment 1 (secondary source)", kind="figure", figure="gap",
        scope=SPHERE | {"network": [first, second]}, column="gap", along="network",
        direction="increasing" if first < second else "decreasing",
    )  # fmt: skip


_SPHERES = (
    _pair(
        "shared-below-connected",
        "On a sphere the gap of shared patches is smaller than that of a fully connected network as wide.",
        "shared", "connected",
    ),
    _pair(
        "shared-below-connected-small", "It is smaller than that of a fully connected one of as many parameters.",
        "shared", "connected-small",
    ),
    _pair(
        "shared-below-unshared", "It is smaller than that of patches with filters of their own.",
        "shared", "unshared",
    ),
    _pair("unshared-below-connected", "Patches alone, without sharing, help too.", "unshared", "connected"),
    PowerLaw(
        "shared-not-worse-with-dimension", "The gap of shared patches does not grow with the dimension.",
        source=f"{PAPER}, experiment 1 (secondary source)", kind="figure", figure="gap",
        scope=SPHERE | {"network": "shared"}, x="d", y="gap", high=0.0, by=("n",),
    ),
    PowerLaw(
        "unshared-not-worse-with-dimension", "Nor does that of unshared ones.",
        source=f"{PAPER}, experiment 1b (secondary source)", kind="figure", figure="gap",
        scope=SPHERE | {"network": "unshared"}, x="d", y="gap", high=0.0, by=("n",),
    ),
    PowerLaw(
        "connected-worse-with-dimension", "The gap of fully connected networks grows with the dimension.",
        source=f"{PAPER}, experiment 1 (secondary source)", kind="figure", figure="gap",
        scope=SPHERE | {"network": "connected"}, x="d", y="gap", low=0.0, by=("n",),
    ),
    PowerLaw(
        "shared-gap-falls", "More data close the gap of shared patches at least as fast as n^(−1/4).",
        source=f"{PAPER}, experiment 1 (reference line; secondary source)", kind="figure", figure="gap",
        scope=SPHERE | {"network": "shared"}, x="n", y="gap", high=-0.25, by=("d",),
    ),
    AtMost(
        "connected-memorises", "Fully connected networks as wide fit the noise on the sphere.",
        source="arXiv 2510.18120, sphere; here at finite width", kind="figure", figure="gap",
        scope=SPHERE | {"network": "connected"}, left=memorised, right=0.1,
    ),
    Settles(
        "sphere-edge", "Shared and fully connected networks settle at two over the step.",
        source=f"{PAPER}, experiments (secondary source)", kind="figure", figure="sharpness",
        scope=SPHERE | {"network": ["shared", "connected"]}, by=("network",),
        column="plateau_sharpness", at="stability_limit", within=0.1,
    ),
)  # fmt: skip
_FAILURE = (
    AtMost(
        "patchwise-memorises", "On patch-wise spheres a shared network fits the noise all the same …",
        source=f"{PAPER}, experiment 2 (secondary source)", kind="figure", figure="patchwise",
        scope=PATCHWISE, left=memorised, right=0.2,
    ),
    Settles(
        "patchwise-edge", "… at sharpness two over the step …",
        source=f"{PAPER}, experiment 2 (secondary source)", kind="figure", figure="patchwise",
        scope=PATCHWISE, column="plateau_sharpness", at="stability_limit", within=0.1,
    ),
    Within(
        "patchwise-half", "… with filters that were active on half of the patches at first …",
        source=f"{PAPER}, experiment 2 (secondary source)", kind="figure", figure="patchwise",
        scope=PATCHWISE, column="first_activation", low=0.45, high=0.55, statistic="each",
    ),
    Within(
        "patchwise-collapse", "… and on at most a tenth of them at the end.",
        source=f"{PAPER}, experiment 2: 5.5 % (secondary source)", kind="figure", figure="patchwise",
        scope=PATCHWISE, column="last_activation", high=0.1, statistic="mean",
    ),
)  # fmt: skip
_IMAGES = (
    Ordered(
        "images-excess", "On photographs shared patches come closer to a teacher of patches than a connected network.",
        source=f"{PAPER}, experiment 3 (secondary source)", kind="figure", figure="images",
        scope=IMAGES | {"scheme": "convolution"}, column="excess", along="network", direction="decreasing",
    ),
    AtMost(
        "images-connected-memorises", "The fully connected network fits the noise …",
        source=f"{PAPER}, experiment 3 (secondary source)", kind="figure", figure="images",
        scope=IMAGES | {"network": "connected"}, left=memorised, right=0.1,
    ),
    AtLeast(
        "images-shared-does-not", "… and the shared one does not.",
        source=f"{PAPER}, experiment 3 (secondary source)", kind="figure", figure="images",
        scope=IMAGES | {"network": "shared", "scheme": "convolution"}, left=memorised, right=0.5,
    ),
    Settles(
        "images-edge", "Shared patches settle at two over the step.",
        source=f"{PAPER}, experiment 3 (secondary source)", kind="figure", figure="images",
        scope=IMAGES | {"network": "shared"}, by=("scheme",),
        column="plateau_sharpness", at="stability_limit", within=0.15,
    ),
    Ordered(
        "images-natural-below-shuffled", "The gap is smaller on natural patches than on patches of shuffled pixels.",
        source="the same question, asked of training", figure="images",
        scope=IMAGES | {"network": "shared"}, column="gap", along="scheme", direction="increasing",
    ),
    Ordered(
        "natural-above-shuffled", "Natural patches are deeper than patches of shuffled pixels.",
        source=f"{PAPER}, experiment 4 (secondary source)", kind="figure", figure="geometry",
        scope=GEOMETRY | {"scheme": ["convolution", "shuffled"]}, column="depth_area", along="scheme",
    ),
    Ordered(
        "shuffled-above-full", "Those are deeper than whole images (as in the source, by random directions).",
        source=f"{PAPER}, experiment 4 (secondary source)", kind="figure", figure="geometry",
        scope=GEOMETRY | {"scheme": ["full", "shuffled"]}, column="depth_area", along="scheme", direction="increasing",
    ),
    Ordered(
        "natural-above-shuffled-outward", "Natural patches are deeper also by an outward direction for each point …",
        source="our remedy for random directions in high dimension", figure="geometry",
        scope=GEOMETRY | {"scheme": ["convolution", "shuffled"]}, column="depth_area_outward", along="scheme",
    ),
    Ordered(
        "shuffled-above-full-outward", "… and so are shuffled ones, than whole images.",
        source="our remedy for random directions in high dimension", figure="geometry",
        scope=GEOMETRY | {"scheme": ["full", "shuffled"]}, column="depth_area_outward", along="scheme",
        direction="increasing",
    ),
    Ordered(
        "components-order", "Natural patches need fewer principal components than shuffled ones.",
        source=f"{PAPER}, experiment 4 (secondary source)", kind="figure", figure="geometry",
        scope=GEOMETRY | {"scheme": ["convolution", "shuffled"]}, column="components", along="scheme",
        direction="increasing",
    ),
    Ordered(
        "components-order-full", "Shuffled ones need fewer than whole images.",
        source=f"{PAPER}, experiment 4 (secondary source)", kind="figure", figure="geometry",
        scope=GEOMETRY | {"scheme": ["full", "shuffled"]}, column="components", along="scheme",
    ),
)  # fmt: skip
_WORDS = (
    Within(
        "vocabulary-all-fit", "With and without sharing, words in random places are fitted …",
        source=f"{PAPER}, experiment 5 (secondary source)", kind="figure", figure="vocabulary",
        scope=VOCABULARY, by=("network",), column=word_training_share, high=0.2, statistic="mean",
    ),
    Within(
        "vocabulary-sharing-generalises", "… but sharing finds them in new places …",
        source=f"{PAPER}, experiment 5 (secondary source)", kind="figure", figure="vocabulary",
        scope=VOCABULARY | {"network": "shared"}, column=word_share, high=0.05, statistic="mean",
    ),
    Within(
        "vocabulary-others-do-not", "… and the others miss more than a tenth.",
        source=f"{PAPER}, experiment 5 (secondary source)", kind="figure", figure="vocabulary",
        scope=VOCABULARY | {"network": ["unshared", "connected-small"]}, by=("network",),
        column=word_share, low=0.1, statistic="mean",
    ),
)  # fmt: skip
CLAIMS = (*_THEOREMS, *_SPHERES, *_FAILURE, *_IMAGES, *_WORDS)
