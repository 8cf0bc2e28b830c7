# ruff: noqa: D102 - methods of a script's adapters; their classes say what they are
"""What steppe is compared with, each peer as its own documentation uses it; a peer that is not installed is None.

`make peers` creates `.venv-peers`, which holds them. Versions stand in `peers.txt`.
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from workloads import Workload

NAMES = {"curvlinops": "curvlinops-for-pytorch", "hessian_eigenthings": "hessian-eigenthings", "pyhessian": "pyhessian"}


def installed(name: str) -> Any:
    """The module, or None where the environment lacks it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError:
        return None


class Reduced(nn.Module):
    """A mean loss under the attribute that curvlinops asks for."""

    reduction = "mean"

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The loss."""
        return self.loss(outputs, targets)


class Curvlinops:
    """curvlinops: `jvp(jacrev)` products; eigenvalues by SciPy's `eigsh`, as its examples do."""

    name = "curvlinops"

    def __init__(self, work: Workload, *, kind: str = "Hessian", check: bool = True) -> None:
        library = installed("curvlinops")
        loss = work.loss if isinstance(work.loss, nn.CrossEntropyLoss) else Reduced(work.loss)
        if kind == "Gauss–Newton" and isinstance(loss, Reduced):
            loss = nn.MSELoss()  # it must know the loss; for one output this is twice half the squared error
        make = library.HessianLinearOperator if kind == "Hessian" else library.GGNLinearOperator
        parameters = [p for p in work.model.parameters() if p.requires_grad]
        self.operator = make(work.model, loss, parameters, [work.data], check_deterministic=check)

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.operator @ v

    def sharpness(self) -> float:
        from scipy.sparse.linalg import eigsh

        return float(eigsh(self.operator.to_scipy(), k=1, which="LA", tol=1e-3, return_eigenvectors=False)[0])

    def top(self, k: int) -> list[float]:
        from scipy.sparse.linalg import eigsh

        return sorted(eigsh(self.operator.to_scipy(), k=k, which="LA", tol=1e-3, return_eigenvectors=False))[::-1]

    def density(self) -> Any:
        from curvlinops.papyan2020traces.spectrum import lanczos_approximate_spectrum

        return lanczos_approximate_spectrum(self.operator, ncv=40)


class EigenThings:
    """hessian-eigenthings: double backward on a graph rebuilt at each product."""

    name = "HET"

    def __init__(self, work: Workload, *, kind: str = "Hessian") -> None:
        library = installed("hessian_eigenthings")
        if kind == "Hessian":
            loss = library.supervised_loss(work.loss)
            self.operator = library.HessianOperator(work.model, [work.data], loss)
        else:
            of_output = library.supervised_loss_of_output(work.loss)
            self.operator = library.GGNOperator(work.model, [work.data], library.supervised_forward, of_output)
        self.library = library

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.operator.matvec(v)

    def sharpness(self) -> float:
        return float(self.library.lanczos(self.operator, k=1, max_iter=20, which="LA").eigenvalues[0])


class PyHessian:
    """PyHessian: double backward on a graph retained for one batch; power iteration."""

    name = "PyHessian"

    def __init__(self, work: Workload) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it leaves its graph in .grad, and torch says so
            self.operator = installed("pyhessian").hessian(work.model, work.loss, data=work.data, cuda=False)
        self.sizes = [p.numel() for p in self.operator.params]

    def __matmul__(self, v: Tensor) -> Tensor:
        from pyhessian.utils import hessian_vector_product

        parts = [part.view_as(p) for part, p in zip(v.split(self.sizes), self.operator.params, strict=True)]
        image = hessian_vector_product(self.operator.gradsH, self.operator.params, parts)
        return torch.cat([part.detach().reshape(-1) for part in image])

    def sharpness(self) -> float:
        return float(self.operator.eigenvalues()[0][0])

    def release(self) -> None:
        """Break the reference cycle that it leaves on the model."""
        self.operator.model.zero_grad(set_to_none=True)


def curvlinops_estimators(work: Workload, products: int) -> dict[str, tuple[str, Callable[[], Any]]]:
    """Its stochastic estimators with a number of products: quantity and call."""
    library, operator = installed("curvlinops"), Curvlinops(work, check=False).operator
    third = products - products % 3
    return {
        "curvlinops Hutchinson": ("trace", lambda: library.hutchinson_trace(operator, products)),
        "curvlinops Hutch++": ("trace", lambda: library.hutchpp_trace(operator, third)),
        "curvlinops XTrace": ("trace", lambda: library.xtrace(operator, products - products % 2)),
        "curvlinops Hutchinson diagonal": ("diagonal", lambda: library.hutchinson_diag(operator, products)),
        "curvlinops XDiag": ("diagonal", lambda: library.xdiag(operator, products - products % 2)),
    }


def eigenthings_estimators(work: Workload, products: int) -> dict[str, tuple[str, Callable[[], Any]]]:
    """The same of hessian-eigenthings."""
    peer = EigenThings(work)
    library = peer.library
    return {
        "HET Hutchinson": ("trace", lambda: library.hutchinson(peer.operator, num_samples=products).estimate),
        "HET Hutch++": (
            "trace",
            lambda: library.hutch_plus_plus(peer.operator, num_matvecs=products - products % 3).estimate,
        ),
    }


def pyhessian_estimators(work: Workload, products: int) -> dict[str, tuple[str, Callable[[], Any]]]:
    """The same of PyHessian, without its own stopping rule."""
    peer = PyHessian(work)
    return {
        "PyHessian Hutchinson": ("trace", lambda: float(np.mean(peer.operator.trace(maxIter=products, tol=0.0)))),
    }
