"""The studies that come with steppe, as a literal table: reading it imports no study."""

from importlib.metadata import entry_points
from typing import NamedTuple

ENTRY_POINTS = "steppe.studies"


class Entry(NamedTuple):
    """One line of the catalog.

    Args:
        slug: What `steppe run` takes.
        module: Where the study is: a module with `STUDY`, or `module:attribute`.
        title: What it is about.
        cost: Wall time of the default grid on two cores, and of the quick one.
    """

    slug: str
    module: str
    title: str
    cost: str


CATALOG: tuple[Entry, ...] = (
    Entry(
        slug="neural-shattering",
        module="steppe.studies.neural_shattering",
        title="Neural shattering: what flatness buys, and what it hides",
        cost="about 4 min on 2 cores; --quick about 1 min; --full about 7 min",
    ),
    Entry(
        slug="cohen2021-edge-of-stability",
        module="steppe.studies.edge_of_stability",
        title="The edge of stability, and the flow through its middle",
        cost="about 4 min on 2 cores; --quick about 1 min; --full about 15 min",
    ),
    Entry(
        slug="parhi2020-representer",
        module="steppe.studies.representer",
        title="Finite networks solve the function-space problem: how many neurons are enough",
        cost="about 1 min on 2 cores; --quick about 10 s; --full about 8 min",
    ),
    Entry(
        slug="parhi2019-activations",
        module="steppe.studies.activation_functions",
        title="Each activation belongs to a derivative",
        cost="about 10 s on 2 cores; --quick about 5 s; --full about 30 s",
    ),
    Entry(
        slug="shenouda2023-multi-output",
        module="steppe.studies.multi_output",
        title="Several outputs: shared neurons, width bounds, compression",
        cost="about 2 min on 2 cores; --quick about 15 s; --full about 10 min",
    ),
    Entry(
        slug="bai2022-global-optimization",
        module="steppe.studies.global_optimization",
        title="Convex programs for ReLU networks against the certified optimum",
        cost="about 3 min on 2 cores; --quick about 20 s; --full about 20 min",
    ),
    Entry(
        slug="parhi2021-near-minimax",
        module="steppe.studies.near_minimax",
        title="Near-minimax estimation: least variation against linear methods",
        cost="about 2 min on 2 cores; --quick about 15 s; --full about 20 min",
    ),
    Entry(
        slug="kamber2025-sharpness",
        module="steppe.studies.factorization_sharpness",
        title="How sharp the minimizers of deep matrix factorization are",
        cost="about 2 min on 2 cores; --quick about 10 s; --full about 20 min",
    ),
    Entry(
        slug="kamber2026-regularized",
        module="steppe.studies.factorization_decay",
        title="What weight decay leaves of a deep matrix factorization",
        cost="about 2 min on 2 cores; --quick about 10 s; --full about 35 min",
    ),
    Entry(
        slug="liang2025-data-geometry",
        module="steppe.studies.data_geometry",
        title="Data geometry: what flatness protects, and what it leaves to be memorised",
        cost="about 3 min on 2 cores; --quick about 15 s; --full about 30 min",
    ),
    Entry(
        slug="liang2026-locality",
        module="steppe.studies.locality",
        title="Locality and shared weights: when flatness prevents memorisation",
        cost="about 3 min on 2 cores; --quick about 15 s; --full about 60 min",
    ),
    Entry(
        slug="mulayoff2021-minima-stability",
        module="steppe.studies.minima_stability",
        title="Minima stability in one dimension: large steps and small batches want smooth interpolants",
        cost="about 30 s on 2 cores; --quick about 10 s; --full about 10 min",
    ),
    Entry(
        slug="qiao2024-univariate",
        module="steppe.studies.univariate",
        title="Noisy labels in one dimension: large steps give sparse linear splines",
        cost="about 45 s on 2 cores; --quick about 10 s; --full about 15 min",
    ),
)


def known_studies() -> tuple[Entry, ...]:
    """The catalog and the studies of other installed packages (entry-point group `steppe.studies`, named by slug).

    Nothing is imported. A slug of the catalog cannot be taken over by another package.
    """
    own = {entry.slug for entry in CATALOG}
    foreign = [
        Entry(
            slug=point.name,
            module=point.value,
            title=f"from the package {point.dist.name}" if point.dist else "from another package",
            cost="not stated",
        )
        for point in entry_points(group=ENTRY_POINTS)
        if point.name not in own
    ]
    return (*CATALOG, *sorted(foreign))
