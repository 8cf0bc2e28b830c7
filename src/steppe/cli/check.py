"""`steppe check`."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from .output import FAILS, INCONCLUSIVE, OK, answer, print_json, print_table


def check(
    network: Path,
    data: Path,
    *,
    step_size: float | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Check the theorems about one shallow ReLU network on your own network and data.

    Exit code 0 if every inequality holds, 1 if one fails though its theorem applies, 3 if a hypothesis does not hold.

    Args:
        network: A .safetensors file with w, b, v (and output_bias, skip), or the state of Linear, ReLU, Linear, or that
            of a PatchReLU.
        data: An .npz with x and y, or a .csv whose last column is y.
        step_size: Also check what stability of gradient descent with this step implies.
        json: Print JSON.
    """
    from steppe.workflow import check_network

    checks = check_network(network, data, step_size=step_size)
    if json:
        print_json([check.to_dict() for check in checks])
    else:
        rows = [
            [c.name, f"{c.left:.6g}", f"{c.right:.6g}", f"{c.slack:.4g}", f"{c.error:.1g}", _state(c)] for c in checks
        ]
        print_table(["theorem", "left", "right", "slack", "± numerics", "verdict"], rows)
        _explain(checks)
    states = {_state(check) for check in checks}
    return FAILS if "fails" in states else INCONCLUSIVE if "does not apply" in states else OK


def _state(check: Any) -> str:
    return "does not apply" if not check.applies else "holds" if check.holds else "fails"


def _explain(checks: Any) -> None:
    terms = checks[0].terms
    answer(
        f"sharpness {terms['sharpness']:.6g} ± {terms['sharpness_error']:.2g} (½ squared error, mean over samples); "
        f"training loss {terms['training_loss']:.6g}; |f| in V_g {terms['seminorm']:.6g}; R {terms['radius']:.6g}"
    )
    for check in checks:
        answer(f"  {check.name}: {check.statement}  ({check.source}; {check.status})")
        for hypothesis in check.hypotheses:
            if hypothesis.state == "violated":
                answer(f"    {hypothesis}")
