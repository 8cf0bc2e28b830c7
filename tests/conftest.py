"""Shapes are checked in every test, except where a test shows what the library itself says to bad input."""

import os

# Before torch: one thread, so that numbers do not depend on the machine's load and workers do not fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jaxtyping
import pytest

jaxtyping.install_import_hook("steppe", "typechecker.typechecked")


@pytest.fixture(autouse=True)
def shapes(request):
    door = request.node.get_closest_marker("door") is not None
    jaxtyping.config.update("jaxtyping_disable", door)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
