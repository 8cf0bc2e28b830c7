"""Rounding of long vectors is no direction: Lanczos keeps a block of one, however many entries a vector has."""

import torch

from steppe.linalg import SymmetricOperator
from steppe.linalg.krylov import KrylovBasis


def test_leftovers_of_long_vectors_are_taken_for_rounding():
    """Inner products over p entries carry errors beyond 64 units of rounding, which are no directions to follow."""
    p = 600_000
    rng = torch.Generator().manual_seed(0)
    bulk = torch.rand(p - 20, generator=rng, dtype=torch.float64)
    entries = torch.cat([torch.linspace(10, 30, 20, dtype=torch.float64), bulk])[:, None]
    operator = SymmetricOperator(lambda block: entries * block, p)
    krylov = KrylovBasis(operator, torch.randn(1, p, generator=rng, dtype=torch.float64), rng, keep=1)
    longest = 0
    for _ in range(14):
        krylov.step()
        krylov.advance()
        longest = max(longest, len(krylov.remainders))
    assert longest == 1
    assert krylov.size == 14
