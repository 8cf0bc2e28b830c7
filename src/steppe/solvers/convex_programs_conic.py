"""Cone programs assembled block by block and solved by Clarabel: what the sampled programs are written in."""

from collections.abc import Sequence
from typing import Any, Literal

import clarabel
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from steppe.core import ComputationError

Array = NDArray[np.float64]
Cone = Literal["zero", "nonnegative", "second-order", "exponential"]
_CONES: dict[Cone, Any] = {
    "zero": clarabel.ZeroConeT,
    "nonnegative": clarabel.NonnegativeConeT,
    "second-order": clarabel.SecondOrderConeT,
}
_GOOD = ("Solved", "AlmostSolved")
MAX_ITER = 400


class ConicProgram:
    """min ½ xᵀ diag(q) x + cᵀx subject to affine expressions of x lying in cones.

    Variables come in blocks, so that a program reads like its formula.
    """

    def __init__(self) -> None:
        self._size = 0
        self._linear: list[Array] = []
        self._quadratic: list[Array] = []
        self._rows: list[tuple[list[tuple[slice, Any]], Array]] = []
        self._cones: list[Any] = []

    def variables(self, count: int, *, linear: Any = 0.0, quadratic: Any = 0.0) -> slice:
        """A block of `count` variables with its part of the cost: linear·x + ½ Σ quadratic x²."""
        block = slice(self._size, self._size + count)
        self._size += count
        self._linear.append(np.broadcast_to(np.asarray(linear, dtype=float), (count,)))
        self._quadratic.append(np.broadcast_to(np.asarray(quadratic, dtype=float), (count,)))
        return block

    def require(self, cone: Cone, terms: Sequence[tuple[slice, Any]], constant: Any = 0.0) -> None:
        """Σ matrix · block + constant lies in the cone.

        Args:
            cone: `"zero"` and `"nonnegative"` of any length; `"second-order"`, ‖last entries‖ ≤ first; `"exponential"`,
                rows in threes (x, y, z) with y exp(x/y) ≤ z.
            terms: Pairs of a block and its matrix [rows, size of block], dense or sparse; a number is a multiple of
                the identity.
            constant: The constant, a number or one per row.
        """
        found = []
        for block, matrix in terms:
            size = block.stop - block.start
            found.append((block, matrix * sparse.identity(size) if np.isscalar(matrix) else matrix))
        rows = found[0][1].shape[0]
        self._rows.append((found, np.broadcast_to(np.asarray(constant, dtype=float), (rows,))))
        if cone == "exponential":
            self._cones.extend(clarabel.ExponentialConeT() for _ in range(rows // 3))
        else:
            self._cones.append(_CONES[cone](rows))

    def solve(self, *, tol: float, max_iter: int = MAX_ITER) -> tuple[Array, float, int]:
        """The minimiser, its value and the iterations it took.

        Raises:
            ComputationError: The interior point method ended without a solution.
        """
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.max_iter = max_iter
        settings.max_threads = 1  # the same bits whatever the machine
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
        matrix = sparse.csc_matrix(-self._matrix())
        quadratic = sparse.csc_matrix(sparse.diags(np.concatenate(self._quadratic)))
        constant = np.concatenate([constant for _, constant in self._rows])
        solver = clarabel.DefaultSolver(
            quadratic, np.concatenate(self._linear), matrix, constant, self._cones, settings
        )
        solution = solver.solve()
        if str(solution.status) not in _GOOD:
            raise ComputationError(
                f"the interior point method ended with status {solution.status} after {solution.iterations} "
                "iterations; rescale the columns of X, take fewer patterns, or loosen `tol`"
            )
        return np.asarray(solution.x), float(solution.obj_val), int(solution.iterations)

    def _matrix(self) -> Any:
        """All rows below each other, as one sparse matrix."""
        data, row, column = [], [], []
        offset = 0
        for terms, constant in self._rows:
            for block, matrix in terms:
                entries = sparse.coo_array(matrix)
                data.append(entries.data)
                row.append(entries.coords[0] + offset)
                column.append(entries.coords[1] + block.start)
            offset += len(constant)
        entries = (np.concatenate(data), (np.concatenate(row), np.concatenate(column)))
        return sparse.coo_matrix(entries, shape=(offset, self._size))


def add_fit(
    program: ConicProgram, fit: str, terms: Sequence[tuple[slice, Any]], y: Array, weights: Array, *, delta: float = 1.0
) -> None:
    """Add Σ_i weights_i ℓ(y_i, f_i) to the cost, where f = Σ matrix · block.

    Args:
        program: What is added to.
        fit: `"squared"`, `"huber"` or `"logistic"`.
        terms: f [n].
        y: Targets [n]; −1 or 1 for `"logistic"`.
        weights: Weights [n].
        delta: Where the Huber loss turns linear.
    """
    n = len(y)
    if fit == "logistic":
        scaled = [(block, _rows_times(matrix, y)) for block, matrix in terms]
        add_logistic(program, scaled, weights)
        return
    residual = program.variables(n, quadratic=weights)
    rest: list[tuple[slice, Any]] = [(residual, 1.0), *terms]
    if fit == "huber":
        over, under = (program.variables(n, linear=delta * weights) for _ in range(2))
        for block in (over, under):
            program.require("nonnegative", [(block, 1.0)])
        rest += [(over, 1.0), (under, -1.0)]
    program.require("zero", rest, -y)


def add_logistic(program: ConicProgram, margins: Sequence[tuple[slice, Any]], weights: Array) -> None:
    """Add Σ weights_i log(1 + exp(−m_i)): the least t with exp(−m − t) + exp(−t) ≤ 1."""
    n = len(weights)
    t = program.variables(n, linear=weights)
    first, second = program.variables(n), program.variables(n)
    place = np.arange(n)

    def spread(position: int) -> Any:
        return sparse.coo_matrix((np.ones(n), (3 * place + position, place)), shape=(3 * n, n)).tocsr()

    ones = np.tile([0.0, 1.0, 0.0], n)
    lifted = [(block, -(spread(0) @ sparse.csr_matrix(matrix))) for block, matrix in _matrices(margins)]
    program.require("exponential", [(t, -spread(0)), (first, spread(2)), *lifted], ones)
    program.require("exponential", [(t, -spread(0)), (second, spread(2))], ones)
    program.require("nonnegative", [(first, -1.0), (second, -1.0)], 1.0)


def _matrices(terms: Sequence[tuple[slice, Any]]) -> list[tuple[slice, Any]]:
    return [
        (block, matrix * sparse.identity(block.stop - block.start) if np.isscalar(matrix) else matrix)
        for block, matrix in terms
    ]


def _rows_times(matrix: Any, factors: Array) -> Any:
    return sparse.diags(factors) @ sparse.csr_matrix(matrix)
