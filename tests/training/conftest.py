"""Both closed forms on the CPU: the compiled kernel and NumPy."""

import pytest

from steppe.training import paths


@pytest.fixture(params=["kernel", "numpy"])
def closed_form(request, monkeypatch):
    """The name that `History.backend` starts with; the path is the one that trains in this test."""
    if request.param == "numpy":
        monkeypatch.setenv("STEPPE_KERNELS", "off")
    elif paths.kernels() is None:
        pytest.skip("the compiled kernel is not installed; pip install ./kernels")
    return request.param
