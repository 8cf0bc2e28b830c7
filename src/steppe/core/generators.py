"""The one way to get a random generator."""

import torch

from .seeds import derived_seed


def generator(purpose: str, seed: int) -> torch.Generator:
    """A CPU generator seeded from (purpose, seed); the global state is never touched.

    Numbers are drawn on the CPU and moved, so that a seed gives the same numbers on every device.

    Args:
        purpose: One of `core.PURPOSES`, such as `"data.uniform_ball"`.
        seed: Any integer ≥ 0.

    Raises:
        UnknownNameError: The purpose is not in the table.
        ParameterError: The seed is negative.
    """
    return torch.Generator().manual_seed(derived_seed(purpose, seed))
