"""The report while its run goes on, as a file; what a browser makes of it is tested in tests/report."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from steppe.core import ParameterError
from steppe.harness import Store
from steppe.workflow import judge, load_study, plan, run, run_plan
from steppe.workflow import live as live_module

TOY = Path(__file__).with_name("toy_study.py")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(live_module, "_FIRST", 0.05)
    monkeypatch.setattr(live_module, "_SHARE", 1)  # as often as asked for, whatever it costs


def slow(tmp_path, seconds=0.3, also=""):
    """The toy study, whose cells take a while."""
    path = tmp_path / "slow.py"
    path.write_text(
        TOY.read_text().replace("    mean = ", f"    import time; time.sleep({seconds}){also}\n    mean = ")
    )
    return path


def banner(page):
    """The words above the page, or nothing."""
    found = re.search(r'<aside id="live".*?</aside>', page, re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", found[0]).split()) if found else ""


class Reader(threading.Thread):
    """Reads the report over and over while a run goes on, and keeps every version."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.path, self.pages, self._over = folder / "report.html", [], threading.Event()

    def run(self):
        while not self._over.wait(0.01):
            try:
                page = self.path.read_text("utf-8")
            except FileNotFoundError:
                continue
            if not self.pages or page != self.pages[-1]:
                self.pages.append(page)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self._over.set()
        self.join()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Every version of the report of a run of six cells, of which one fails, and its result."""
    folder = tmp_path_factory.mktemp("watched")
    path = slow(folder, also="\n    if seed == 1 and n == 8: raise ValueError('no <luck>')")
    with pytest.MonkeyPatch.context() as patch, Reader(folder / "out") as reader:
        patch.setattr(live_module, "_FIRST", 0.05)
        patch.setattr(live_module, "_SHARE", 1)
        result = run(path, quick=True, out=folder / "out", workers=1, live=0.1)
    return reader.pages, result


def test_the_report_is_there_from_the_start_and_grows(watched):
    pages, result = watched
    told = [banner(page) for page in pages]
    assert len(told) >= 4
    assert all(page.endswith(("</html>", "</html>\n")) for page in pages)  # never half a page
    assert told[0].startswith("Running: 0 of 6 cells, time left unknown; written at ")
    assert "No row is there yet, so nothing is judged." in told[0]
    assert "Not judged: no run in scope" in pages[0]
    seen = [int(re.match(r"Running: (\d)", words)[1]) for words in told if words]
    assert seen == sorted(seen)
    late = next(words for words in told if re.match("Running: [345]", words))
    assert re.search(r"Verdicts and figures are made from the [2345] rows that were there and may still change\.", late)
    assert re.search(r"Slowest: 0\.\d s \(n=\d+, seed=\d, inputs=fair\)", late)
    assert re.search(r"about \d+ s left; written at \d\d:\d\d:\d\d", late)
    assert "of 6 cells have no row yet." in pages[0]
    final = result.report.read_text("utf-8")
    assert banner(final) == ""
    assert "location.reload" not in final
    assert "location.reload" in pages[0]
    assert result.problems == {}


def test_failures_are_told_with_their_cell_and_reason(watched):
    told = [words for page in watched[0] if "1 failed" in (words := banner(page))]
    assert told
    assert "Latest failed: ValueError: no &lt;luck&gt; (n=8, seed=1, inputs=fair)" in told[-1]


def test_a_page_tells_the_browser_when_to_come_back(watched):
    pages = [page for page in watched[0] if banner(page)]
    assert min(float(re.search(r'data-period="([\d.]+)"', page)[1]) for page in pages) >= 0.1
    assert {float(re.search(r'data-silence="([\d.]+)"', page)[1]) for page in pages} == {120.0}


def test_nothing_to_compute_means_no_live_page(tmp_path):
    folder = tmp_path / "out"
    run(TOY, quick=True, out=folder, workers=1, live=None)
    before = (folder / "report.html").read_text("utf-8")
    with Reader(folder) as reader:
        run(TOY, quick=True, out=folder, workers=1, live=0.01)
        time.sleep(0.2)
    assert [banner(page) for page in [before, *reader.pages]] == [""] * (1 + len(reader.pages))


def test_what_goes_wrong_in_the_page_does_not_cost_the_run(tmp_path, monkeypatch):
    calls = []

    def broken(*arguments, **options):
        calls.append(1)
        raise SystemExit("user code ended the program")

    monkeypatch.setattr(live_module, "judge_rows", broken)
    found = run(slow(tmp_path, 0.1), quick=True, out=tmp_path / "out", workers=1, live=0.05)
    assert len(calls) > 1  # it goes on trying
    assert len(found.rows.done) == 6
    assert found.problems == {"live report": "could not be written: SystemExit: user code ended the program"}
    assert "live report" not in found.report.read_text("utf-8")


@pytest.mark.slow
def test_a_page_that_takes_forever_neither_delays_the_end_nor_overwrites_it(tmp_path, monkeypatch):
    release, judged = threading.Event(), live_module.judge_rows

    def stuck(study, rows):
        release.wait(20)
        return judged(study, rows)

    monkeypatch.setattr(live_module, "judge_rows", stuck)
    monkeypatch.setattr(live_module, "_GRACE", 0.1)
    start = time.perf_counter()
    found = run(slow(tmp_path, 0.05), quick=True, out=tmp_path / "out", workers=1, live=0.05)
    assert time.perf_counter() - start < 15
    final = found.report.read_text("utf-8")
    release.set()
    next((t.join(10) for t in threading.enumerate() if t.name == "live report"), None)
    assert found.report.read_text("utf-8") == final
    assert banner(final) == ""


@pytest.mark.slow
def test_pages_take_at_most_a_tenth_of_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(live_module, "_SHARE", 10)
    spans = []
    judged = live_module.judge_rows

    def costly(study, rows):
        spans.append(time.perf_counter())
        time.sleep(0.2)
        return judged(study, rows)

    monkeypatch.setattr(live_module, "judge_rows", costly)
    run(slow(tmp_path, 0.8), quick=True, out=tmp_path / "out", workers=1, live=0.05)
    gaps = [b - a for a, b in itertools.pairwise(spans)]
    assert gaps
    assert min(gaps) >= 10 * 0.2


def test_an_interrupt_leaves_a_page_that_says_so(tmp_path):
    path = slow(tmp_path, 0.4)
    script = (
        "import steppe.workflow.live as live; live._FIRST, live._SHARE = 0.05, 1; from steppe.workflow import run\n"
        f"run({str(path)!r}, quick=True, out='out', workers=1, live=0.1)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    wait_for_rows(tmp_path / "out", 2)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in error
    words = banner((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert re.match(r"Stopped at \d\d:\d\d:\d\d .*: [2-5] of 6 cells\. The run was interrupted\. ", words)
    assert f"steppe run {path} --quick --out out goes on where it ended." in words
    assert re.search(r"made from the (row that was|\d rows that were) there\.", words)
    assert judge(path, out=tmp_path / "out").missing >= 1
    assert banner((tmp_path / "out" / "report.html").read_text("utf-8")) == ""


@pytest.mark.slow
def test_a_killed_run_leaves_its_last_page_which_grows_silent(tmp_path):
    path = slow(tmp_path, 0.4)
    script = (
        "import steppe.workflow.live as live; live._FIRST, live._SHARE = 0.05, 1; from steppe.workflow import run\n"
        f"run({str(path)!r}, quick=True, out='out', workers=1, live=0.1)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_for_rows(tmp_path / "out", 2)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert banner(page).startswith("Running: ")
    assert "the run may have been stopped." in banner(page)
    (tmp_path / "out" / ".report.html.abc.part").write_text("half a page")
    for part in (tmp_path / "out").glob(".report.html.*"):  # ours, and the one that the kill may have left
        os.utime(part, (0, 0))
    again = run(path, quick=True, out=tmp_path / "out", workers=1, live=0.05)
    assert again.ok
    assert list((tmp_path / "out").glob(".report.html.*")) == []


def wait_for_rows(folder, rows):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (folder / "report.html").is_file():
            with Store(folder, read_only=True) as store:
                if len(store.statuses()) >= rows:
                    return
        time.sleep(0.05)
    raise AssertionError(f"no {rows} rows in {folder}")


def test_an_error_of_the_store_is_what_is_raised_and_told(tmp_path, monkeypatch):
    planned = plan(slow(tmp_path, 0.3), quick=True, out=tmp_path / "out", workers=1)
    written = Store.write
    count = []

    def full(store, study, records):
        count.append(1)
        if len(count) > 2:
            raise ZeroDivisionError("the disk is gone")
        written(store, study, records)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(ZeroDivisionError):
        run_plan(planned, live=0.1)
    words = banner((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert re.match(r"Stopped at .*: 2 of 6 cells\. It ended by ZeroDivisionError: the disk is gone", words)


@pytest.mark.door
def test_a_period_must_be_a_positive_number(tmp_path):
    with pytest.raises(ParameterError, match="`live` must be"):
        run(load_study(TOY), quick=True, out=tmp_path, live=0)


@pytest.mark.slow
def test_a_browser_left_open_sees_the_run_to_its_end(tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    chromium = next((found for name in names if (found := shutil.which(name))), None)
    if chromium is None:
        pytest.skip("no browser found: install Debian's or Ubuntu's `chromium` package, or Google Chrome")
    api = pytest.importorskip("playwright.sync_api", reason="install playwright: pip install playwright")
    script = (
        "import steppe.workflow.live as live; live._FIRST, live._SHARE = 0.05, 1; from steppe.workflow import run\n"
        f"run({str(slow(tmp_path, 2))!r}, quick=True, out='out', workers=1, live=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path)
    wait_for_rows(tmp_path / "out", 0)
    seen, end = [], time.monotonic() + 90
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto((tmp_path / "out" / "report.html").as_uri())
        while time.monotonic() < end and (not seen or seen[-1] != "final"):
            with contextlib.suppress(api.Error):  # on its way from one version to the next
                now = page.evaluate(
                    "(document.getElementById('live') || { dataset: { share: 'final' } }).dataset.share"
                )
                seen += [now] if now not in seen else []
            page.wait_for_timeout(100)
        headline = page.locator(".headline").inner_text()
        browser.close()
    assert process.wait(timeout=30) == 0
    assert seen[-1] == "final"
    assert len(seen) >= 3
    assert all(share.endswith(" of 6") for share in seen[:-1])
    assert headline == "6 means: holds."
