"""The claims of `bai2022-global-optimization`; bands were fixed after a prototype on a few of its cells."""

from typing import Any

from steppe.harness import AtLeast, AtMost, Claim, Equal, Row, Within

BAI = "Bai, Gautam, Sojoudi 2023"
PILANCI = "Pilanci, Ergen 2020"
PROVED = ["exact", "bound"]
DESCENT: dict[str, Any] = {"experiment": "descent"}
PATTERNS: dict[str, Any] = {"experiment": "patterns"}
ADMM: dict[str, Any] = {"experiment": "admm"}
EVERY: dict[str, Any] = {"experiment": "all-patterns"}
ROBUST: dict[str, Any] = {"experiment": "robust"}
ROUNDING = 1e-8  # accuracy of the interior point, relative


def last_excess(row: Row) -> float:
    """Excess of the sampled program with the most patterns."""
    return float(row["pattern_excess"][-1])


def last_gated(row: Row) -> float:
    """Gated relaxation with the most patterns."""
    return float(row["gated_value"][-1])


_OPTIMUM = (
    AtLeast(
        "no-run-below", "No first-order run ends below the certified optimum.",
        source="weak duality", kind="theorem", figure="descent", scope=DESCENT | {"proof": PROVED},
        left="objective", right="certified_bound", rtol=1e-12,
    ),
    AtLeast(
        "no-run-below-heuristic", "Nor where the certificate is a heuristic one.",
        source="ours", kind="ours", figure="descent", scope=DESCENT | {"proof": "heuristic"},
        left="objective", right="certified_bound",
    ),
    AtMost(
        "own-certificate", "The certificate evaluated on a run's own network never claims more than the optimum.",
        source="weak duality", kind="theorem", scope=DESCENT | {"proof": PROVED},
        left="own_bound", right="certified", rtol=1e-12,
    ),
    AtMost(
        "runs-come-close", "Adam with a falling step comes within 1 % of the optimum: the landscape is benign.",
        source="ours, after a prototype", kind="ours", figure="descent", scope=DESCENT | {"method": "adam"},
        left="excess", right=0.01,
    ),
)  # fmt: skip

_PROGRAMS = (
    Equal(
        "all-patterns", "With all activation patterns the convex program is the training problem.",
        source=f"{PILANCI}, Theorem 1", kind="theorem", scope=EVERY,
        left="all_value", right="certified", rtol=1e-5,
    ),
    AtMost(
        "patterns-never-hurt", "More patterns never raise the optimum of the sampled program, if they are nested.",
        source="derived (a larger feasible set)", kind="theorem", figure="patterns", scope=PATTERNS,
        left="largest_rise", right=ROUNDING,
    ),
    AtLeast(
        "sampled-above", "Sampled programs never pass the certified optimum.",
        source="derived (recovery map)", kind="theorem", figure="patterns", scope=PATTERNS | {"proof": PROVED},
        left="pattern_value", right="certified_bound", rtol=ROUNDING,
    ),
    AtMost(
        "sampled-certificate", "The certificate evaluated on a sampled program's network is a lower bound.",
        source="weak duality", kind="theorem", scope=PATTERNS | {"proof": PROVED},
        left="sampled_bound", right="certified", rtol=1e-12,
    ),
    AtMost(
        "gated-below", "Gated relaxations lie below the sampled program on the same patterns.",
        source="derived (fewer constraints)", kind="theorem", figure="patterns", scope=PATTERNS,
        left="gated_value", right="pattern_value", rtol=ROUNDING,
    ),
    AtMost(
        "gated-below-optimum", "With 120 gates the relaxation lies more than 5 % below the certified optimum.",
        source="ours, after a prototype", kind="ours", figure="patterns", scope=PATTERNS,
        left=last_gated, right=lambda row: 0.95 * row["certified_bound"],
    ),
    AtLeast(
        "sampling-is-not-enough", "With 120 patterns in four dimensions the program is still more than 1 % above.",
        source="ours, after a prototype", kind="ours", figure="patterns", scope=PATTERNS | {"d": [4, 10]},
        left=last_excess, right=0.01,
    ),
    Within(
        "admm-agrees", "ADMM reaches the optimum of the interior point on the same patterns.",
        source=f"{BAI}, Section 3", kind="ours", scope=ADMM,
        column="admm_ratio", low=1 - 1e-4, high=1 + 1e-4, statistic="each",
    ),
)  # fmt: skip

_ADVERSARY = (
    Equal(
        "worst-case-exact", "The worst-case loss of the robust program is that over all corners of all boxes.",
        source=f"{BAI}, Section 4; derived", kind="theorem", scope=ROBUST,
        left="robust_loss", right="corner_loss", rtol=1e-6, atol=1e-7,
    ),
    AtLeast(
        "robust-keeps-labels", "Robust training keeps at least 90 % of fresh labels against its adversary, provably.",
        source=f"{BAI}, Section 5 (other data)", kind="figure", figure="robust", scope=ROBUST,
        left="robust_certified", right=0.9,
    ),
    AtMost(
        "plain-loses-labels", "Plain training, as accurate on clean samples, keeps at most a tenth of them.",
        source=f"{BAI}, Section 5 (other data)", kind="figure", figure="robust", scope=ROBUST,
        left="plain_attacked", right=0.1,
    ),
    AtLeast(
        "price-of-robustness", "The robust program costs more than the one without adversary.",
        source="derived (the worst case is no better than the data)", kind="theorem", scope=ROBUST,
        left="robust_value", right="plain_value",
    ),
)  # fmt: skip

CLAIMS: tuple[Claim, ...] = (*_OPTIMUM, *_PROGRAMS, *_ADVERSARY)
