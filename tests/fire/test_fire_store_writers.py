"""Writers that are killed, that compete, and that meet full or read-only disks."""

import contextlib
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from fire_cells import lines, slow, study
from fire_stores import contents, killed_store, numbered, records_of, study_of, truth_of

from steppe.core import StoreBusyError, StoreError
from steppe.harness import Store, run_cells

HERE = Path(__file__).parent
NOBODY = 65534
ROOT = os.geteuid() == 0

# Writes rows until it is killed, and logs each key after `write` returned; waits while another one has the folder.
WRITER = """
import itertools, sys, time
sys.path.insert(0, {here!r})
from fire_cells import log
from fire_stores import numbered, study_of
from steppe.core import StoreBusyError
from steppe.harness import Store

folder, name = sys.argv[1:]
while True:
    try:
        store = Store(folder)
        break
    except StoreBusyError:
        log(f"{{folder}}.busy", name)
        time.sleep(0.02)
log(f"{{folder}}.holder", f"{{name}}:{{time.time()}}")
for number in itertools.count(len(store.statuses())):
    store.write(study_of(1), [numbered(number)])
    log(f"{{folder}}.acknowledged", number)
"""


def writer(script, folder, name):
    return subprocess.Popen([sys.executable, str(script), str(folder), name], stderr=subprocess.PIPE)


def killed(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "writer.py"
    path.write_text(WRITER.format(here=str(HERE)))
    return path


def until(condition, seconds=60.0):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.005)


ROUNDS = [1, pytest.param(30, marks=[pytest.mark.fire, pytest.mark.timeout(900)])]


@pytest.mark.parametrize("rounds", ROUNDS)
def test_three_killed_writers_lose_no_acknowledged_row(tmp_path, script, rounds):
    chance, folders = random.Random(rounds), [tmp_path / f"store{index}" for index in range(3)]

    def acknowledged(folder):
        return set(map(int, lines(f"{folder}.acknowledged")))

    for _ in range(rounds):
        before = {folder: acknowledged(folder) for folder in folders}
        processes = [writer(script, folder, "one") for folder in folders]
        until(lambda: all(acknowledged(folder) > known for folder, known in before.items()))  # noqa: B023 - called at once
        time.sleep(chance.uniform(0, 0.3))
        for process in chance.sample(processes, 3):
            killed(process)
        for folder in folders:
            with Store(folder, read_only=True) as reader:
                found = {record.cell["seed"]: record for record in reader.records().values()}
            assert acknowledged(folder) <= set(found)
            assert len(set(found) - acknowledged(folder)) <= rounds  # stored, but killed before it was told
            assert set(found) == set(range(len(found)))
            assert all(record == numbered(number) for number, record in found.items())
            with Store(folder) as store:  # the lock is free at once, and the log is merged
                assert len(store.records()) == len(found)
    print(f"{3 * rounds} kills: {sum(len(acknowledged(folder)) for folder in folders)} acknowledged rows, 0 lost")


@pytest.mark.parametrize("rounds", ROUNDS)
def test_three_writers_of_one_folder_write_one_after_the_other(tmp_path, script, rounds):
    folder, waits, gone = tmp_path / "store", [], 0.0
    for round_ in range(rounds):
        names = [f"{round_}-{index}" for index in range(3)]
        processes = {name: writer(script, folder, name) for name in names}

        def holders():
            return [line.split(":") for line in lines(f"{folder}.holder")]

        until(lambda: set(names) - {names[0]} <= set(lines(f"{folder}.busy")) | {n for n, _ in holders()})  # noqa: B023 - called at once
        for number in range(3):
            until(lambda: len(holders()) > 3 * round_ + number)  # noqa: B023 - called at once
            name, since = holders()[-1]
            if number:
                waits.append(float(since) - gone)
            with pytest.raises(StoreBusyError):
                Store(folder)
            gone = time.time()
            killed(processes.pop(name))
        assert processes == {}
        assert len(holders()) == 3 * (round_ + 1)
    with Store(folder) as store:
        stored = {record.cell["seed"] for record in store.records().values()}
    assert set(map(int, lines(f"{folder}.acknowledged"))) <= stored
    print(f"{3 * rounds} kills: the next writer had the folder after {max(waits):.2f} s at most")
    assert max(waits) < 2.0  # one look at the lock and the verification of what is there


def test_readers_beside_a_writer_see_whole_commits_and_raise_no_false_alarm(tmp_path, script):
    folder = tmp_path / "store"
    process, seen, early = writer(script, folder, "one"), [], []
    begin = time.monotonic()
    try:
        while len(seen) < 60 or seen[-1] < 60:
            assert time.monotonic() - begin < 240  # a guard against hanging: 4 to 90 s were seen
            assert process.poll() is None
            try:
                with Store(folder, read_only=True) as store:
                    seen.append(len(store.records()))
            except StoreError as error:
                early.append((str(error), len(seen)))
    finally:
        killed(process)
    assert seen == sorted(seen)
    assert all("run the study first" in message and not rows for message, rows in early)  # there was no row yet


def test_a_store_whose_making_was_cut_short_is_made_anew(tmp_path):
    # The files as a kill leaves them in the middle of the first transaction: some pages written, the journal there.
    (tmp_path / "making").mkdir()
    connection = sqlite3.connect(tmp_path / "making" / "study.db", isolation_level=None)
    connection.execute("PRAGMA cache_size=2")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    connection.executemany("INSERT INTO meta VALUES (?, ?)", [(str(n), "x" * 3000) for n in range(50)])
    shutil.copytree(tmp_path / "making", tmp_path / "left")
    connection.close()
    assert (tmp_path / "left" / "study.db").stat().st_size > 4096
    assert (tmp_path / "left" / "study.db-journal").stat().st_size > 0
    with pytest.raises(StoreError):
        Store(tmp_path / "left", read_only=True)
    with Store(tmp_path / "left") as store:
        assert store.records() == {}
        store.write(study_of(1), [numbered(0)])
    with Store(tmp_path / "left", read_only=True) as store:
        assert len(store.records()) == 1


@contextlib.contextmanager
def mounted(folder, *options):
    """A file system of its own; skips where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", *options, str(folder)]
    if not ROOT or shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def write_until_full(folder, made):
    """Rows one by one until the disk is full; returns the keys that were acknowledged and the message."""
    acknowledged = []
    with Store(folder) as store:
        message = ""
        for record in made:
            try:
                store.write(study_of(1), [record])
            except StoreError as error:
                message = str(error)
                break
            acknowledged.append(record.key)
        assert set(store.records()) == set(acknowledged)  # still readable
    return acknowledged, message


def test_a_full_disk_keeps_every_row_and_goes_on_when_there_is_room(tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(300_000))
        made = records_of(study_of(600))
        acknowledged, message = write_until_full(disk / "store", made)
        assert "the disk is full; all rows committed so far are kept" in message
        assert 0 < len(acknowledged) < 600
        ballast.unlink()
        with Store(disk / "store") as store:
            assert set(store.records()) == set(acknowledged)
            store.write(study_of(1), made[len(acknowledged) : len(acknowledged) + 20])
        with Store(disk / "store", read_only=True) as store:
            assert len(store.records()) == len(acknowledged) + 20


def test_a_run_on_a_full_disk_stops_with_its_workers_and_goes_on_when_there_is_room(tmp_path):
    one = study(slow, tmp_path, 120)
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=512k", "tmpfs") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(250_000))
        with Store(disk / "store") as store:
            with pytest.raises(StoreError, match="the disk is full; all rows committed so far are kept"):
                run_cells(one, one.cells(), store, workers=2, preload=())
            kept = store.records()
        assert 0 < len(kept) < 120
        assert [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())] == []
        shutil.copytree(disk / "store", tmp_path / "roomy")
    with Store(tmp_path / "roomy") as store:
        assert store.records() == kept
        summary = run_cells(one, one.cells(), store, workers=2, preload=())
        assert (summary.reused, summary.done, summary.crashed) == (len(kept), 120, 0)


def test_a_disk_that_is_full_from_the_start_is_told(tmp_path):
    with mounted(tmp_path / "small", "-t", "tmpfs", "-o", "size=64k", "tmpfs") as disk:
        with contextlib.suppress(OSError):
            (disk / "ballast").write_bytes(bytes(80_000))
        with pytest.raises(StoreError, match=r"disk is full|database or disk"):
            Store(disk / "store").close()


def test_a_limit_on_file_sizes_is_told_and_keeps_every_row(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))  # Python ignores the signal that comes with it
    try:
        acknowledged, message = write_until_full(tmp_path, records_of(study_of(600)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "could not write to" in message
    with Store(tmp_path, read_only=True) as store:
        assert set(store.records()) == set(acknowledged)


@pytest.mark.parametrize("log", [False, True])
def test_a_read_only_disk_is_read_whole_and_refused_for_writing(tmp_path, log):
    source = killed_store(tmp_path, 60)
    truth = truth_of(source)
    if not log:
        Store(source).close()  # merges the log
        assert not (source / "study.db-wal").exists()
    with mounted(tmp_path / "frozen", "--bind", str(source)) as folder:
        if subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], capture_output=True).returncode:
            pytest.skip("needs the right to mount read-only")
        with Store(folder, read_only=True) as store:
            assert contents(store) == truth
        with pytest.raises(StoreError, match=r"must be writable.*--out"):
            Store(folder)
    with Store(source) as store:
        assert contents(store) == truth


AS_NOBODY = """
import os, sys
sys.path.insert(0, {here!r})
from fire_stores import contents
from steppe.core import StoreError
from steppe.harness import Store
os.setgroups([])
os.setgid({nobody})
os.setuid({nobody})
for read_only in (True, False):
    try:
        with Store(sys.argv[1], read_only=read_only) as store:
            print(len(store.records()))
    except StoreError as error:
        print(error)
"""


@pytest.mark.skipif(not ROOT, reason="needs the right to become another user")
@pytest.mark.parametrize(
    ("folder_mode", "file_mode", "read", "written"),
    [
        (0o755, 0o644, "60", "must be writable"),
        (0o777, 0o644, "60", "must be writable"),
        (0o755, 0o600, "must be readable", "must be writable"),
        (0o700, 0o644, "must be readable", "must be writable"),
    ],
)
def test_permissions_are_told_with_the_remedy(tmp_path_factory, folder_mode, file_mode, read, written):
    place = Path("/var/tmp") / tmp_path_factory.mktemp("x").name  # pytest's own folders are closed to others
    place.mkdir()
    try:
        folder = killed_store(place, 60)
        for name in os.listdir(folder):
            (folder / name).chmod(file_mode)
        place.chmod(0o755)
        folder.chmod(folder_mode)
        code = AS_NOBODY.format(here=str(HERE), nobody=NOBODY)
        done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert read in first
        assert written in second
        assert "--out" in second
    finally:
        shutil.rmtree(place)
