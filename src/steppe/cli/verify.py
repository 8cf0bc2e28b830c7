"""`steppe verify`."""

import warnings
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from .output import FAILS, OK, answer, print_json


def verify(certificate: Path, data: Path, *, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Check a certificate of a shallow network on the data it was fitted to, without the solver.

    Exit code 0 if everything that it claims is confirmed, 1 if it is refused; the reasons are printed.

    Args:
        certificate: A .json that Certificate.save wrote.
        data: An .npz with x and y (and sample_weight, if there were weights), or a .csv whose last column is y.
        json: Print JSON.
    """
    from steppe.workflow import verify_certificate

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # data of another scale: the reason says it
        found, verification = verify_certificate(certificate, data)
    if json:
        numbers = ("primal", "dual", "maximum", "relative_gap")
        print_json(
            {
                "verified": verification.holds,
                "kind": found.kind,
                "claim": found.sentence(),
                "reasons": list(verification.reasons),
                **{n: v if (v := getattr(verification, n)) == v else None for n in numbers},
            }
        )
    else:
        answer(f"verified: {found.sentence()}" if verification.holds else "refused: what is claimed is not confirmed")
        for reason in verification.reasons:
            answer(f"  {reason}")
    return OK if verification.holds else FAILS
