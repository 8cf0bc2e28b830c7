"""Seeds derived from a purpose and a seed, so that one integer given to several samplers correlates nothing."""

import hashlib

from .validation import check_integer, check_known

# Every purpose that draws random numbers. Changing a name changes every number drawn for it.
PURPOSES: dict[str, str] = {
    "activations.directions": "random directions of half-space depth",
    "activations.neighbors": "points whose nearest neighbours are sought",
    "core.part": "choice of samples where only part of the data is measured",
    "core.test": "tests of the generator itself",
    "curvature.fisher": "labels drawn from a model for the sampled Fisher matrix",
    "curvature.probe": "start vectors and probes of curvature estimators",
    "data.images": "choice of images and of their tiles",
    "data.mixture_of_subspaces": "sampler",
    "data.mixture_of_subspaces.bases": "the subspaces of that sampler",
    "data.noise": "additive label noise",
    "data.patches": "choice of image patches",
    "data.radial": "sampler",
    "data.subset": "choice of rows of a real data set",
    "data.teacher.hoelder": "directions of the Hölder-1/2 teacher",
    "data.teacher.packing": "greedy spherical packing",
    "data.teacher.ridges": "directions and knots of ridge teachers",
    "data.teacher.unit_linear": "direction of the linear teacher",
    "data.uniform_ball": "sampler",
    "data.uniform_sphere": "sampler",
    "linalg.start": "start vectors of iterative methods",
    "networks.deep_linear": "initialisation",
    "networks.factorization": "bases of factorizations of a matrix",
    "networks.factorization.spread": "how far random factorizations are from balanced ones",
    "networks.patch_relu": "initialisation",
    "networks.patches": "patch index schemes that draw",
    "networks.random_relu": "random ReLU process",
    "networks.shallow_relu": "initialisation",
    "networks.sequential": "initialisation of ordinary modules",
    "panel.reference_laws": "Gaussian tables that the depth of a table is compared with",
    "panel.patch_geometry": "choice of patches",
    "solvers.attack": "starts of attacks on a network's inputs",
    "solvers.first_order": "initialisation of first-order training",
    "solvers.multi_output": "first network and starts of the oracle for several outputs",
    "solvers.oracle": "starts of the local oracle of column generation",
    "solvers.patterns": "hyperplanes of sampled activation patterns",
    "solvers.verification": "fresh starts of the search that checks a heuristic certificate",
    "stats.bootstrap": "resampling",
    "study.control": "shuffles of negative controls",
    "study.extra": "whatever a user's own part draws",
    "study.holdout": "held-out inputs",
    "training.factorization": "starts of deep matrix factorization",
}


def derived_seed(purpose: str, seed: int) -> int:
    """A 63-bit seed from (purpose, seed).

    Args:
        purpose: One of `PURPOSES`.
        seed: Any integer ≥ 0.

    Raises:
        UnknownNameError: The purpose is not in the table.
        ParameterError: The seed is negative.
        KindError: The seed is not an integer.
    """
    check_known("purpose", purpose, PURPOSES)
    check_integer("seed", seed, minimum=0)
    digest = hashlib.sha256(f"{purpose}:{int(seed)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
