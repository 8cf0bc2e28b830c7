"""Leave the random generators of a process as they were found."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def same_random_states() -> Iterator[None]:
    """A context that leaves torch's (on CPU and on used CUDA devices), NumPy's and Python's generators as they were."""
    cuda = torch.cuda.is_available() and torch.cuda.is_initialized()
    devices = torch.cuda.get_rng_state_all() if cuda else []
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state is what we protect
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])  # noqa: NPY002 - the global state is what we protect
        if devices:
            torch.cuda.set_rng_state_all(devices)
