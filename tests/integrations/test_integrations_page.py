"""The page about the callbacks runs as printed."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/howto/lightning-and-huggingface.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the trainers warn about the machine and the data
@pytest.mark.parametrize(("needs", "block"), list(zip(["transformers", "lightning"], BLOCKS, strict=True)))
def test_the_page_runs(needs, block, tmp_path, monkeypatch, capsys):
    pytest.importorskip(needs)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, PAGE.name, "exec"), {})
    assert len(re.findall(r"^(?:10|20|30|40) (?:below|at|beyond) ", capsys.readouterr().out, re.MULTILINE)) == 4
