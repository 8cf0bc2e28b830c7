"""The Python in the README and in the pages runs as printed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"(<!-- takes a minute -->\n)?```python\n(.*?)```", re.DOTALL)
PAGES = [
    "README.md",
    "docs/quickstart.md",
    "docs/howto/certified-network.md",
    "docs/howto/check-a-network.md",
    "docs/howto/compare-runs.md",
    "docs/howto/compress.md",
    "docs/howto/estimators.md",
    "docs/howto/fast-training.md",
    "docs/howto/follow-training.md",
    "docs/howto/from-pyhessian-and-curvlinops.md",
    "docs/howto/image-patches.md",
    "docs/howto/measure.md",
    "docs/howto/your-data.md",
    "docs/howto/several-processes.md",
    "docs/howto/shatterability.md",
    "docs/howto/watch-a-sweep.md",
    "docs/studies/edge-of-stability.md",
    "docs/studies/near-minimax.md",
    "docs/studies/factorization-sharpness.md",
    "docs/studies/global-optimization.md",
    "docs/studies/representer.md",
    "docs/studies/activation-functions.md",
    "docs/studies/multi-output.md",
    "docs/studies/factorization-decay.md",
    "docs/studies/minima-stability.md",
    "docs/studies/univariate.md",
    "docs/studies/locality.md",
    "docs/theory/certificates.md",
    "docs/theory/data-geometry.md",
    "docs/theory/deep-linear-decay.md",
    "docs/theory/deep-linear-sharpness.md",
    "docs/theory/flatness-measures.md",
    "docs/theory/one-dimension.md",
    "docs/theory/univariate.md",
    "docs/theory/patches.md",
]


def blocks(page):
    return [code for long, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")) if not long]


@pytest.mark.parametrize("page", PAGES)
def test_python_on_the_page_runs(page, capsys, tmp_path, monkeypatch):
    assert blocks(page)
    monkeypatch.chdir(tmp_path)  # a finished run in the checkout would leave nothing to foretell
    names = {}
    for code in blocks(page):
        exec(compile(code, page, "exec"), names)
    if "print(" in "".join(blocks(page)):
        assert capsys.readouterr().out


def test_every_page_is_in_the_table_of_contents():
    listed = re.search(r"```\{toctree\}\n.*?\n\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL).group(1)
    pages = {str(path.relative_to(ROOT / "docs")).removesuffix(".md") for path in (ROOT / "docs").rglob("*.md")}
    assert set(listed.split()) == {page for page in pages if page != "index" and not page.startswith("_build")}


def test_every_door_is_in_the_reference():
    reference = (ROOT / "docs/reference.md").read_text()
    rooms = {path.parent.name for path in (ROOT / "src/steppe").glob("*/__init__.py")} - {"cli", "studies"}
    assert {room for room in rooms if f"automodule:: steppe.{room}\n" not in reference} == set()
