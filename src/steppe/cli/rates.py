"""`steppe rates`."""

from typing import Annotated, Any

from cyclopts import Parameter

from .output import answer, print_json, print_table
from .values import numbers


def rates(
    *,
    d: str = "1,2,3,5,10",
    alpha: str = "",
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Exponents e of the rates n^(-e) that theory gives, with their sources.

    Args:
        d: Input dimensions, separated by commas.
        alpha: Exponents α of radial inputs, separated by commas; adds their rates.
        json: Print JSON.
    """
    dimensions = [int(value) for value in numbers("d", d, integer=True)]
    facts = _facts(dimensions, numbers("alpha", alpha))
    if json:
        print_json(
            [
                {"quantity": name, "d": d, "alpha": a, "exponent": float(f), "source": f.source, "status": f.status}
                for name, d, a, f in facts
            ]
        )
        return 0
    columns = list(dict.fromkeys((a is not None, a or 0.0, name) for name, _, a, _ in facts))
    heads = [name if not radial else f"{name}, α={a:g}" for radial, a, name in columns]
    cells = {((a is not None, a or 0.0, name), d): f for name, d, a, f in facts}
    print_table(["d", *heads], [[d, *(f"{cells[c, d]:.4f}" for c in columns)] for d in dimensions])
    answer("The error scales as n^(-e), logarithms and constants left out.")
    for name, source, status in dict.fromkeys((name, f.source, f.status) for name, _, _, f in facts):
        answer(f"  {name}: {source} ({status})")
    return 0


def _facts(dimensions: list[int], alphas: list[float]) -> list[tuple[str, int, float | None, Any]]:
    from steppe.theory import rates as theory

    plain = {
        "flat, upper": theory.flat_upper,
        "flat, lower": theory.flat_lower,
        "low norm, gap": theory.low_norm_gap,
        "low norm, error": theory.low_norm_mse,
    }
    facts: list[tuple[str, int, float | None, Any]] = [
        (name, d, None, rate(d)) for name, rate in plain.items() for d in dimensions
    ]
    for a in alphas:
        for d in dimensions:
            facts += [
                ("radial, upper (published)", d, a, theory.radial_upper(d, a, kind="published")),
                ("radial, upper (valid)", d, a, theory.radial_upper(d, a, kind="valid")),
                ("radial, lower", d, a, theory.radial_lower(d, a)),
            ]
    return facts
