"""The report while its run goes on: rewritten every half minute, by a thread that cannot hurt the run."""

import contextlib
import datetime
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from steppe.core import check_number
from steppe.harness import Store, Watch, load_rows
from steppe.report import Live, banner, restamp, write

from .concluding import page_of
from .judging import judge_rows

if TYPE_CHECKING:
    from .running import Plan

_FIRST = 1.0  # seconds before the first page; a run that is over by then has none
_SHARE = 10  # of the time, at most one part in so many goes into pages
_GRACE = 10.0  # seconds that the end of a run waits for a page in the making
_ABANDONED = 60.0  # age in seconds of a half-written page whose writer is gone


class LiveReport:
    """A listener that keeps `report.html` up to date while a run goes on; a context manager around the run.

    A thread of its own reads the store beside the writer, judges the rows that are there and replaces the page at once.
    It makes one page at a time and pauses nine times as long as a page took, if that is longer than the period. What
    goes wrong in it is kept in `problems` and ends nothing. When the run ends early, the last page says so.

    Args:
        planned: What runs.
        period: Seconds between two pages; None for no page before the end.

    Raises:
        ParameterError: `period` is not above zero.
    """

    def __init__(self, planned: "Plan", period: float | None) -> None:
        self._planned = planned
        self._period = None if period is None else check_number("live", period, above=0.0)
        self._watch = Watch()
        self._over, self._guard = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None
        self._page, self._rows, self._spent = "", 0, 0.0
        self.problems: dict[str, str] = {}

    # -- as a listener ------------------------------------------------------------------------------------------------

    def start(self, total: int, done: int, work: float) -> None:
        """A run begins; with nothing to compute there is nothing to watch."""
        self._watch.start(total, done, work)
        if self._period is not None and done < total and self._thread is None:
            self._thread = threading.Thread(target=self._go_on, args=(self._period,), daemon=True, name="live report")
            self._thread.start()

    def advance(self, status: str, label: str, work: float, *, seconds: float | None = None, reason: str = "") -> None:
        """One cell was computed and committed."""
        self._watch.advance(status, label, work, seconds=seconds, reason=reason)

    def finish(self) -> None:
        """The run ended: from now on no page claims that it goes on."""
        with self._guard:
            self._over.set()

    # -- around the run -----------------------------------------------------------------------------------------------

    def __enter__(self) -> "LiveReport":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()
        if self._thread is not None:
            self._thread.join(_GRACE)
        if error is not None and self._page:
            with contextlib.suppress(Exception):  # the error itself is what counts
                self._stamp(error)

    def _stamp(self, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        why = "The run was interrupted." if interrupted else f"It ended by {type(error).__name__}: {error}"
        live = Live(
            standing=self._watch.standing,
            written=datetime.datetime.now().astimezone(),
            period=self._period or 0.0,
            rows=self._rows,
            state="stopped",
            why=why,
        )
        write(self._path, restamp(self._page, banner(live, self._planned.command)))

    # -- the thread ---------------------------------------------------------------------------------------------------

    @property
    def _path(self) -> Path:
        return self._planned.folder / "report.html"

    def _go_on(self, period: float) -> None:
        with contextlib.ExitStack() as stack:
            pause, store = min(_FIRST, period), None
            while not self._over.wait(pause):
                start = time.perf_counter()
                try:
                    if store is None:
                        _sweep(self._planned.folder)
                        store = stack.enter_context(Store(self._planned.folder, read_only=True))
                    self._write(store, period)
                except (Exception, SystemExit) as error:  # figures and headlines are user code
                    self.problems.setdefault("live report", f"could not be written: {type(error).__name__}: {error}")
                self._spent = time.perf_counter() - start
                pause = self._pause(period)

    def _pause(self, period: float) -> float:
        return max(period, (_SHARE - 1) * self._spent)

    def _write(self, store: Store, period: float) -> None:
        planned, study = self._planned, self._planned.study
        cells = planned.cells
        rows = load_rows(study, cells, store, command=planned.row_command)
        standing = self._watch.standing
        live = Live(
            standing=standing,
            written=datetime.datetime.now().astimezone(),
            period=self._pause(period) + self._spent,
            rows=len(rows),
        )
        page = page_of(
            study,
            rows,
            judge_rows(study, rows),
            missing=len(cells) - len(rows),
            size=planned.size,
            command=planned.command,
            claims_changed=store.claims_changed(study),
            live=live,
        )
        with self._guard:
            if not self._over.is_set():
                write(self._path, page)
                self._page, self._rows = page, len(rows)


def _sweep(folder: Path) -> None:
    """Remove half-written pages of runs that were killed while they wrote."""
    for path in folder.glob(".report.html.*.part"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
