from typing import Any

class _Descent:
    """One network in training; arrays are C-contiguous NumPy arrays of the class's type, on the CPU."""

    def __init__(
        self,
        w: Any,
        b: Any,
        v: Any,
        output_bias: Any,
        skip: Any,
        x: Any,
        y: Any,
        loss: str = "squared",
        instruction_set: str | None = None,
        patches: Any = None,
    ) -> None: ...
    @property
    def instruction_set(self) -> str: ...
    def evaluate(self) -> float: ...
    def descend(
        self, steps: int, step_size: float, keep: float, clip: float, limit: float
    ) -> tuple[int, int, float]: ...
    def look(self, clean: Any = None) -> tuple[float, int]: ...
    def gradient_norm(self, decay: float, /) -> float: ...
    def parameter_norm(self) -> float: ...
    def read(self, w: Any, b: Any, v: Any, output_bias: Any, skip: Any) -> None: ...
    def read_gradient(self, w: Any, b: Any, v: Any, output_bias: Any, skip: Any) -> None: ...
    def save(self) -> None: ...
    def restore(self) -> None: ...

class Descent32(_Descent): ...
class Descent64(_Descent): ...

def instruction_sets() -> list[str]: ...

# Points found: value, problem (-1 where there is only one), unit vector.
_Found = list[tuple[float, int, list[float]]]

def enumerate_arcs(z: Any, rho: Any, centred: bool, target: float, threads: int) -> tuple[float, _Found]: ...
def bound_cones(
    z: Any,
    rho: Any,
    centred: bool,
    target: float,
    precision: float,
    known: float,
    halves: bool,
    early: bool,
    most_cones: int,
    threads: int,
    steps: int,
) -> tuple[float, float, int, bool, _Found]: ...
