"""Markup in everything that a study or its parts can name stays text in the report."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from steppe.workflow import run

TOY = Path(__file__).parents[1] / "workflow" / "toy_study.py"
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"`<svg/onload=alert(3)>"


def evil_file(path):
    """The toy study with markup in its title, a part's name, an axis value, an error and a reason."""
    text = TOY.read_text()
    for old, new in (
        ('title="Means of signs"', f"title={EVIL!r}"),
        ('{"fair": fair}', f'{{"fair": fair, {EVIL!r}: fair}}'),
        ("128), seed=range(2)", "64), seed=range(3)"),
        ('inputs="fair"),\n    columns', f'inputs=("fair", {EVIL!r})),\n    columns'),
        ("import AtMost", "import Absent, Diverged, AtMost"),
        ("    mean = ", f"    if seed == 1:\n        raise ValueError({EVIL!r})\n    mean = "),
        ("    mean = ", f"    if seed == 2:\n        return Diverged({EVIL!r})\n    mean = "),
        ('"the error is at most its bound"', repr(EVIL)),
        ('{verdicts[\'bounded\'].words}."', f'" + {EVIL!r}'),
        ('"the first signs"', repr(EVIL)),
    ):  # fmt: skip
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


class Elements(HTMLParser):
    """Every element with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found, self.handlers, self.links = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append(tag)
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        self.links += [value for name, value in attributes if name in ("href", "src")]


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil")
    return run(evil_file(folder / "evil.py"), quick=True, out=folder / "run", workers=1)


def test_markup_in_names_values_and_errors_is_text_in_the_report(evil, tmp_path):
    page = Elements(evil.report.read_text(encoding="utf-8"))
    harmless = Elements(run(TOY, quick=True, out=tmp_path, workers=1).report.read_text(encoding="utf-8"))
    for tag in ("script", "img", "svg", "iframe", "object", "embed", "form", "base", "link"):
        assert page.found.count(tag) == harmless.found.count(tag), tag
    assert "script" in page.found
    assert page.handlers == []
    assert all(link.startswith(("#", "data:", "https://")) for link in page.links)
    assert EVIL not in evil.report.read_text(encoding="utf-8")
    assert len(evil.rows.with_status("failed")) == len(evil.rows.with_status("diverged")) == 6


def test_markup_does_nothing_in_a_browser(evil, chromium):
    api = pytest.importorskip("playwright.sync_api", reason="install playwright: pip install playwright")
    trouble, requests = [], []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(offline=True).new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        page.goto(evil.report.as_uri())
        page.wait_for_selector("html[data-ready]", timeout=30_000)
        page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        page.wait_for_timeout(500)
        assert page.locator("img, iframe").count() == 0
        browser.close()
    assert trouble == []
    assert requests == [evil.report.as_uri()]
