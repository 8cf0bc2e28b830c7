"""The page in a real browser, without a network, at the widths of a telephone and of a desk."""

import time

import pypdf
import pytest

from steppe.harness import Row, Rows
from steppe.plotting import Axis, Figure, Panel, Scatter

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module")
def browser(chromium):
    api = pytest.importorskip("playwright.sync_api", reason="install playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield started
        started.close()


class Opened:
    """A page with everything it asked for and complained about."""

    def __init__(self, browser, path, width, **options):
        self.requests, self.trouble = [], []
        self.context = browser.new_context(viewport={"width": width, "height": 800}, offline=True, **options)
        self.page = self.context.new_page()
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.trouble.append(message.text))
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.trouble.append(dialog.message), dialog.dismiss()))
        self.page.route(lambda url: not url.startswith("file:"), lambda route: route.abort())
        started = time.perf_counter()
        self.page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-ready]", timeout=30_000)
        self.seconds = time.perf_counter() - started

    def run(self, script):
        return self.page.evaluate(script)


@pytest.fixture(scope="module")
def path(specimen, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(specimen.page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=[360, 1280])
def opened(browser, path, request):
    result = Opened(browser, path, request.param)
    yield result
    result.context.close()


def test_it_opens_fast_asks_for_nothing_and_does_not_complain(opened, path):
    assert opened.seconds < 10
    assert opened.requests == [path.as_uri()]
    assert opened.trouble == []
    assert opened.run("document.documentElement.dataset.trouble") is None


def test_every_figure_is_drawn_with_one_point_per_row(opened, specimen):
    rows = specimen.rows()
    for spec in specimen.study().figures:
        headers, table = spec.build(rows).table()
        expected = sum(line[headers.index("kind")] == "point" for line in table)
        figure = opened.page.locator(f"#figure-{spec.id}")
        assert figure.locator(".scatterlayer .point").count() == expected
        assert figure.locator(".plot .main-svg").count() >= len(spec.build(rows).panels)
        shown = figure.locator("tbody tr").count()
        assert shown == min(len(table), 500)
        if len(table) <= 500:
            kind = headers.index("kind") + 1
            kinds = figure.locator(f"tbody td:nth-child({kind})").all_text_contents()
            assert kinds.count("point") == expected
    assert opened.page.locator("canvas").count() == 0  # SVG throughout: no WebGL


def test_nothing_scrolls_sideways(opened):
    assert opened.run("document.documentElement.scrollWidth") <= opened.run("window.innerWidth")
    opened.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert opened.run("document.documentElement.scrollWidth") <= opened.run("window.innerWidth")
    outside = opened.run(
        """[...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll') && !e.closest('.skip')
           && !e.closest('svg') && e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.className)"""
    )
    assert outside == []


def test_panels_stand_side_by_side_where_there_is_room(opened):
    tops = opened.run(
        "[...document.querySelectorAll('#figure-rates .plot')].map((e) => Math.round(e.getBoundingClientRect().top))"
    )
    wide = opened.run("innerWidth") > 1000
    assert (len(set(tops)) == 1) is wide


def test_it_prints_with_its_figures(opened, tmp_path):
    target = tmp_path / "report.pdf"
    opened.page.pdf(path=target, format="A4")
    pages = pypdf.PdfReader(target).pages
    words = " ".join(page.extract_text() for page in pages)
    assert 3 <= len(pages) <= 10
    for part in ("Verdicts", "samples n", "large step", "Provenance", "How to cite"):
        assert part in words
    assert "Numbers (" not in words
    opened.page.wait_for_timeout(200)
    assert opened.run("document.documentElement.scrollWidth") <= opened.run("window.innerWidth")


def test_hover_tells_the_cell_and_a_click_copies_its_command(browser, path, specimen):
    opened = Opened(browser, path, 1280, permissions=["clipboard-read", "clipboard-write"])
    figure = opened.page.locator("#figure-slack")
    figure.scroll_into_view_if_needed()
    opened.page.wait_for_timeout(800)  # smooth scrolling
    box = figure.locator(".point").nth(100).bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    figure.locator(".hoverlayer .hovertext").first.wait_for(timeout=3000)
    assert "seed=" in figure.locator(".hoverlayer").text_content()
    opened.page.mouse.down()
    opened.page.mouse.up()
    opened.page.locator("#toast.shown").wait_for()
    copied = opened.run("navigator.clipboard.readText()")
    assert copied in {row.command for row in specimen.rows()}
    assert copied in figure.locator(".readout").text_content()
    opened.context.close()


def test_enlarging_a_part_brings_new_ticks_and_a_double_click_the_old_ones(browser, path):
    opened = Opened(browser, path, 1280)
    plot = opened.page.locator("#figure-rates .plot").first
    plot.scroll_into_view_if_needed()
    opened.page.wait_for_timeout(800)
    box = plot.locator(".nsewdrag").bounding_box()
    mode = "document.querySelector('#figure-rates .plot').layout.xaxis.tickmode"
    assert opened.run(mode) == "array"
    opened.page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    opened.page.mouse.down()
    opened.page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    opened.page.mouse.up()
    opened.page.wait_for_timeout(500)
    assert opened.run(mode) == "auto"
    opened.page.mouse.dblclick(box["x"] + 0.5 * box["width"], box["y"] + 0.1 * box["height"])
    opened.page.wait_for_timeout(700)
    assert opened.run(mode) == "array"
    assert opened.trouble == []
    opened.context.close()


def test_the_long_csv_is_saved_plain(browser, path, specimen):
    opened = Opened(browser, path, 1280)
    with opened.page.expect_download() as caught:
        opened.page.locator("#figure-shattering a.csv").click()
    assert caught.value.suggested_filename == "shattering.csv"
    text = caught.value.path().read_text("utf-8")
    assert text.count("\n") == 1001
    assert "point,live neuron," in text
    opened.context.close()


def test_links_lead_somewhere_and_keys_reach_them(browser, path):
    opened = Opened(browser, path, 1280)
    missing = opened.run(
        """[...document.querySelectorAll('a[href^="#"]')].map((a) => a.getAttribute('href').slice(1))
           .filter((id) => !document.getElementById(id))"""
    )
    assert missing == []
    ids = opened.run("[...document.querySelectorAll('body [id]:not(svg *):not(svg)')].map((e) => e.id)")
    assert len(set(ids)) == len(ids) > 15
    opened.page.keyboard.press("Tab")
    assert opened.run("document.activeElement.className") == "skip"
    for _ in range(30):
        opened.page.keyboard.press("Tab")
        if opened.run("document.activeElement.tagName") == "SUMMARY":
            break
    assert opened.run("document.activeElement.tagName") == "SUMMARY"
    opened.page.keyboard.press("Enter")
    assert opened.run("document.activeElement.parentElement.open") is True
    opened.context.close()


def test_it_can_be_read_without_scripts(browser, path):
    opened = Opened(browser, path, 360, java_script_enabled=False)
    assert opened.requests == [path.as_uri()]
    body = opened.page.locator("body")
    assert "Drawing needs JavaScript" in body.inner_text()
    opened.page.locator("#figure-rates summary").click()
    assert opened.page.locator("#figure-rates tbody tr").first.is_visible()
    opened.context.close()


def test_hostile_labels_do_nothing_but_stand_there(browser, specimen, tmp_path):
    evil = "</script><script>alert(1)</script><img src=http://127.0.0.1:9/x onerror=alert(2)>"
    link = "<a href='javascript:alert(3)'>x</a>"
    rows = Rows([Row(cell={"name": evil, "seed": i}, result={"error": 1.0}) for i in range(3)], "neural-shattering")
    labels = [row.label for row in rows]
    axes = Axis(evil), Axis(link)
    layers = [Scatter(evil, [1, 2, 3], [1, 2, 3], labels, labels), Scatter(link, [1], [2], link, link)]
    figure = Figure("evil", evil, [Panel(evil, *axes, layers), Panel(link, *axes, layers)], evil)
    study = specimen.study(title=evil, figures=(), headline=lambda rows, verdicts: evil)
    page = specimen.page(study, rows, figures={"evil": figure}, left_out=[evil])
    path = tmp_path / "evil.html"
    path.write_text(page, encoding="utf-8")
    opened = Opened(browser, path, 1280)
    plot = opened.page.locator("#figure-evil")
    plot.scroll_into_view_if_needed()
    opened.page.wait_for_timeout(800)
    for index in (0, 3):
        box = plot.locator(".point").nth(index).bounding_box()
        opened.page.mouse.move(box["x"] + 2, box["y"] + 2)
        opened.page.mouse.click(box["x"] + 2, box["y"] + 2)
        opened.page.wait_for_timeout(150)
    assert opened.trouble == []
    assert opened.requests == [path.as_uri()]
    assert opened.page.locator("figure img").count() == 0
    assert opened.page.locator("#figure-evil svg a").count() == 0
    assert opened.page.locator("h1").text_content() == evil
    opened.context.close()
