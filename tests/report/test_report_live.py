"""The page of a run that goes on, in a real browser from a file: it reloads itself, and knows when to stop."""

import dataclasses
import datetime
import re
import time

import pytest

from steppe.harness import Crash, Rows, Slow, Standing
from steppe.report import Live, banner, restamp, write

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
WRITTEN = datetime.datetime(2026, 11, 21, 14, 3, 20, tzinfo=datetime.UTC)
STANDING = Standing(
    total=964,
    ended=312,
    computed=312,
    failed=2,
    diverged=1,
    seconds_left=233.0,
    crash=Crash(label="d=5, n=512, seed=0", status="timeout", reason="Timeout (0:00:02)! <b>"),
    slowest=Slow(label="d=10, n=512, seed=3", seconds=12.34),
)


def live(written=None, period=1.0, **changes):
    written = datetime.datetime.now(datetime.UTC) if written is None else written
    return Live(**{"standing": STANDING, "written": written, "period": period, "rows": 310, **changes})


def words(markup):
    return " ".join(re.sub(r"<[^>]+>", " ", markup).split())


def test_the_banner_tells_all_in_one_sentence():
    said = words(banner(live(WRITTEN), "steppe run x"))
    assert said.startswith(
        "Running: 312 of 964 cells, 2 failed, 1 diverged, about 4 min left; written at 14:03:20 UTC. "
        "No news since 14:03:20 UTC: the run may have been stopped. By then: 312 of 964 cells, 2 failed, 1 diverged. "
        "If it was, steppe run x goes on where it ended. "
        "Verdicts and figures are made from the 310 rows that were there and may still change. "
        "Latest timeout: Timeout (0:00:02)! &lt;b&gt; (d=5, n=512, seed=0) Slowest: 12 s (d=10, n=512, seed=3)"
    )
    assert words(banner(live(WRITTEN, standing=Standing(total=3), rows=0), "")).startswith(
        "Running: 0 of 3 cells, time left unknown; written at 14:03:20 UTC."
    )


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "about 5 s"), (42, "about 40 s"), (100, "about 2 min"), (3700, "about 62 min"), (9000, "about 2 h 30 min")],
)
def test_the_time_left_has_no_more_digits_than_it_deserves(seconds, said):
    assert live(standing=Standing(seconds_left=seconds)).left == f"{said} left"


def test_a_page_goes_silent_after_two_minutes_or_four_of_its_periods():
    assert live(period=1.0).silence == live(period=30.0).silence == 120.0
    assert live(period=60.0).silence == 240.0


def test_a_stopped_page_is_the_same_page_under_another_banner(specimen):
    page = specimen.page(live=live(WRITTEN))
    stopped = restamp(page, banner(live(WRITTEN, state="stopped", why="The run was interrupted."), "steppe run x"))
    told = "Stopped at 14:03:20 UTC: 312 of 964 cells, 2 failed, 1 diverged. The run was interrupted. steppe run x goes"
    assert told in words(stopped[: stopped.index("<h1>")])
    assert stopped[stopped.index("<header>") :] == page[page.index("<header>") :]
    assert stopped.count('id="live"') == page.count('id="live"') == 1


def test_a_control_that_is_not_rejected_yet_is_no_verdict_on_the_study(specimen):
    false = dataclasses.replace(specimen.study().controls[0].claim, right=1e9)
    controls = (dataclasses.replace(specimen.study().controls[0], claim=false),)
    study = specimen.study(controls=controls)
    assert "No power so far. 1 statement known to be false is not rejected by the rows" in words(
        specimen.page(study, live=live()).partition("<main>")[0]
    )
    assert "The test had no power. 1 statement known to be false was not rejected" in words(
        specimen.page(study).partition("<main>")[0]
    )


def test_a_page_without_rows_and_the_final_page(specimen):
    study = specimen.study(figures=(), headline=None)
    empty = specimen.page(study, rows=Rows([], "neural-shattering"), live=live(rows=0))
    assert "No row is there yet, so nothing is judged." in empty
    assert empty.count("not judged") > 5
    assert len(empty.encode()) <= 6_000_000
    final = specimen.page()
    assert 'id="live"' not in final
    assert "location.reload" not in final


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(chromium):
    api = pytest.importorskip("playwright.sync_api", reason="install playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        yield started
        started.close()


@pytest.fixture
def watching(browser, tmp_path, specimen):
    """A page in a browser, and a way to write its next version."""
    context = browser.new_context(viewport={"width": 1000, "height": 700}, offline=True)
    page = context.new_page()
    trouble = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    path = tmp_path / "report.html"

    def put(**options):
        write(path, specimen.page(**options))

    page.put, page.path = put, path
    yield page
    page.goto("about:blank")
    context.close()
    assert trouble == []


def opened(page):
    page.goto(page.path.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=30_000)


def says(page, script):
    """What a script returns; None while the page is being loaded."""
    try:
        return page.evaluate(script)
    except Exception as error:
        if not re.search("navigat|destroyed|context", str(error), re.IGNORECASE):
            raise
        return None


def wait_for(page, script):
    """The first value of a script that counts as true."""
    end = time.monotonic() + 60
    while not (value := says(page, f"{DRAWN} && ({script})")):
        assert time.monotonic() < end, f"never: {script}"
        page.wait_for_timeout(100)
    return value


def settle(page, script):
    """Does something to the page, again if it reloads meanwhile, and marks it."""
    for _ in range(20):
        says(page, f"{script}; window.marked = true")
        page.wait_for_timeout(500)
        if says(page, "window.marked === true"):
            return
    raise AssertionError(f"the page never stayed: {script}")


def stays(page, seconds=3.5):
    """Whether the marked page is there after a while, which is longer than its period."""
    page.wait_for_timeout(1000 * seconds)
    return says(page, "window.marked === true")


DRAWN = "document.documentElement.dataset.ready === 'true'"
AT = "document.querySelector('#figure-slack').getBoundingClientRect().top"


def test_it_reloads_itself_keeps_the_place_and_stops_when_the_run_ends(watching, specimen):
    # The next version is longer above the reader's place.
    grown = live(period=2, standing=Standing(total=964, ended=400, computed=400, seconds_left=100.0))
    longer = specimen.page(live=grown, left_out=["Something is missing."] * 40, headline="A longer sentence. " * 60)
    final = specimen.page(headline="The end.")
    watching.put(live=live(period=2))
    opened(watching)
    assert watching.title().startswith("312 of 964 · ")
    settle(
        watching,
        f"""document.querySelector('#figure-slack details').open = true;
        window.scrollTo({{ top: window.scrollY + {AT} + 150, behavior: 'instant' }})""",
    )
    before = wait_for(watching, AT)
    assert before == pytest.approx(-150, abs=2)
    write(watching.path, longer)
    told = "document.querySelector('#live .news').textContent"
    assert "400 of 964 cells" in wait_for(watching, f"{told}.includes('400 of 964') && {told}")
    assert wait_for(watching, AT) == pytest.approx(before, abs=3)
    opened_parts = "[...document.querySelectorAll('details[open]')].map((d) => d.closest('[id]').id)"
    assert wait_for(watching, opened_parts) == ["figure-slack"]
    # The final version comes by itself, in the same place, and stays.
    write(watching.path, final)
    wait_for(watching, "!document.getElementById('live')")
    assert wait_for(watching, AT) == pytest.approx(before, abs=3)
    settle(watching, "0")
    assert stays(watching)
    assert watching.evaluate("sessionStorage.length") == 0


@pytest.mark.slow
def test_it_does_not_reload_while_it_is_printed_or_held(watching):
    watching.put(live=live(period=2))
    opened(watching)
    settle(watching, "window.dispatchEvent(new Event('beforeprint'))")
    assert stays(watching)
    watching.evaluate("window.dispatchEvent(new Event('afterprint'))")
    wait_for(watching, "window.marked !== true")
    settle(watching, "window.getSelection().selectAllChildren(document.querySelector('h1'))")
    assert stays(watching)
    watching.evaluate("window.getSelection().removeAllRanges()")
    wait_for(watching, "window.marked !== true")


def test_it_stops_claiming_to_run_when_no_news_come(watching):
    watching.put(live=live(WRITTEN, period=30.0))
    watching.clock.set_fixed_time(WRITTEN + datetime.timedelta(seconds=100))
    opened(watching)
    news, silence = watching.locator("#live .news"), watching.locator("#live .silence")
    assert news.is_visible()
    assert not silence.is_visible()
    watching.clock.set_fixed_time(WRITTEN + datetime.timedelta(seconds=125))
    silence.wait_for(state="visible", timeout=5000)
    assert not news.is_visible()
    assert silence.inner_text().startswith("No news since 14:03:20 UTC: the run may have been stopped. By then: 312 of")
    watching.clock.set_fixed_time(WRITTEN - datetime.timedelta(hours=1))  # a reader's clock that is behind
    news.wait_for(state="visible", timeout=5000)


@pytest.mark.slow
def test_it_reloads_where_a_browser_keeps_nothing(watching):
    blocked = "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('kept from you'); } });"
    watching.add_init_script(blocked)
    watching.put(live=live(period=3))
    opened(watching)
    settle(watching, "0")
    wait_for(watching, "window.marked !== true && !document.querySelector('#live .news').hidden")


@pytest.mark.slow
def test_a_stopped_page_does_not_reload(watching):
    watching.put(live=live(period=2, state="stopped", why="The run was interrupted."))
    opened(watching)
    settle(watching, "0")
    assert stays(watching)
    assert watching.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
