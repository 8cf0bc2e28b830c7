"""A page of its own: offline, escaped, complete."""

import re
import shutil

import pytest

from steppe.core import KindError, StoreError
from steppe.plotting import Axis, Figure, Lines, Panel, Section, standalone_page, write_page

pytestmark = pytest.mark.door
EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def page():
    figure = Figure("f", EVIL, [Panel(EVIL, Axis("x"), Axis("y"), [Lines(EVIL, [1.0, 2.0], [3.0, -4.5])])])
    return standalone_page(EVIL, [Section(EVIL, [EVIL], ("a",), [(EVIL,)], [figure])], lead=EVIL, facts=[EVIL])


def test_every_text_is_escaped_and_every_number_is_there(page):
    own = page.replace(page[page.index("<script>") : page.rindex("<script>")], "")  # plotly.js itself
    assert "alert(1)</script>" not in own
    assert own.count("&lt;/script&gt;") >= 8
    assert "<td>−4.5</td>" in page


def test_it_asks_for_nothing(page):
    own = page[: page.index("<script>")] + page[page.rindex("<script>") :]
    assert not re.search(r"(src|href)=\"(?!data:)", own)
    assert "default-src 'none'" in own.replace("&#39;", "'")


def test_without_figures_it_is_small():
    assert len(standalone_page("t", [Section("h", ["text"])])) < 10_000


def test_what_is_no_section_is_refused():
    with pytest.raises(KindError, match="must hold Sections, got str"):
        standalone_page("t", ["text"])


def test_it_is_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "a.html"
    target.write_text("old")
    assert write_page(target, "new").read_text() == "new"
    with pytest.raises(StoreError, match="choose an existing folder"):
        write_page(tmp_path / "nowhere" / "a.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_a_browser_draws_it_without_a_network(page, tmp_path):
    api = pytest.importorskip("playwright.sync_api", reason="install playwright: pip install playwright")
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no browser found: install the `chromium` package")
    path = write_page(tmp_path / "page.html", page)
    requests, trouble = [], []
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        opened = started.new_context(viewport={"width": 360, "height": 800}, offline=True).new_page()
        opened.on("request", lambda request: requests.append(request.url))
        opened.on("console", lambda message: trouble.append(message.text))
        opened.on("pageerror", lambda error: trouble.append(str(error)))
        opened.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
        opened.goto(path.as_uri())
        opened.wait_for_selector("html[data-ready]", timeout=30_000)
        assert opened.evaluate("document.documentElement.dataset.trouble") is None
        assert opened.evaluate("document.documentElement.scrollWidth") <= 360
        assert opened.locator(".plot .main-svg").count() > 0
        started.close()
    assert requests == [path.as_uri()]
    assert trouble == []
