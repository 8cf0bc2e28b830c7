"""Small studies whose rows are known by construction."""

import os
import time

from steppe.harness import AtMost, Control, Diverged, Grid, Row, Rows, Slot, Study

SMALL = AtMost("small", "the value is at most 1000", left="value", right=1000, kind="theorem")
TINY = Control(AtMost("tiny", "the value is at most ½", left="value", right=0.5), "small", "a wrong constant")


def row(d: int, seed: int) -> dict:
    return {"value": d + seed / 7, "pid": 0}


def troubled(d: int, seed: int) -> dict | Diverged:
    if seed == 1:
        raise RuntimeError(f"seed {seed} always raises")
    if seed == 2:
        return Diverged("loss above 1e10", {"value": 5.0})
    if seed == 3:
        os._exit(7)
    if seed == 4:
        return {"value": float("nan"), "pid": 0}
    return row(d, seed)


def hangs(d: int, seed: int) -> dict:
    if seed == 1:
        time.sleep(60)
    return row(d, seed)


def logged(folder: str, d: int, seed: int) -> dict:
    with open(f"{folder}/calls", "a") as file:
        file.write(f"{d} {seed}\n")
    return row(d, seed)


def stacked(cells):
    """Numbers that would depend on the company, if the groups did."""
    total = sum(cell["seed"] for cell in cells)
    for cell in reversed(cells):
        if cell.get("seed") == 99:
            raise RuntimeError("no 99")
        yield cell, {"value": float(cell["d"]), "pid": total}


def double(x: float) -> float:
    """Twice."""
    return 2 * x


def triple(x: float) -> float:
    return 3 * x


def sloted(x: float, seed: int, map: str, parts: dict) -> dict:
    return {"value": parts["map"](x), "pid": seed}


MAPS = {"map": Slot("(x) -> float", {"double": double, "triple": triple})}


def toy(**changes) -> Study:
    pieces = {
        "slug": "toy",
        "title": "A toy",
        "columns": {"value": "1", "pid": "1"},
        "grid": Grid(d=(1, 2), seed=range(3)),
        "row": row,
        "claims": (SMALL,),
        "controls": (TINY,),
    }
    return Study(**{**pieces, **changes})


def toy_rows(cells_and_results, slug: str = "toy") -> Rows:
    return Rows([Row(cell=cell, result=result) for cell, result in cells_and_results], slug)
