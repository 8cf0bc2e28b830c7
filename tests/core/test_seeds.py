import itertools
import re
from pathlib import Path

import pytest
import torch

from steppe.core import PURPOSES, ParameterError, UnknownNameError, derived_seed, generator


def draw(purpose, seed):
    return torch.randn(4000, generator=generator(purpose, seed), dtype=torch.float64)


def test_same_purpose_and_seed_give_the_same_numbers_without_touching_the_global_state():
    before = torch.random.get_rng_state()
    assert torch.equal(draw("core.test", 3), draw("core.test", 3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_one_seed_for_every_purpose_gives_uncorrelated_numbers():
    draws = torch.stack([draw(purpose, 0) for purpose in PURPOSES])
    correlation = torch.corrcoef(draws).fill_diagonal_(0).abs()
    # 5 standard errors of the correlation of independent samples
    assert correlation.max() < 5 / 4000**0.5


def test_seeds_of_all_purposes_are_distinct_in_the_32_bits_that_the_generator_uses():
    seeds = {derived_seed(p, s) & 0xFFFFFFFF for p, s in itertools.product(PURPOSES, range(100))}
    assert len(seeds) == 100 * len(PURPOSES)


def test_every_purpose_in_the_sources_stands_in_the_table():
    sources = Path(__file__).parents[2] / "src" / "steppe"
    used = {
        name
        for path in sources.rglob("*.py")
        for name in re.findall(r"(?:generator|derived_seed)\(\s*\"([a-z_.]+)\"", path.read_text())
    }
    assert used <= set(PURPOSES)


@pytest.mark.door
def test_unknown_purpose_and_negative_seed_are_refused():
    with pytest.raises(UnknownNameError, match=r"did you mean 'data.uniform_ball'"):
        generator("data.uniform_bal", 0)
    with pytest.raises(ParameterError, match="`seed` must be ≥ 0, got -1"):
        generator("core.test", -1)
