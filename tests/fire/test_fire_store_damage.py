"""Damaged stores: every flipped bit and every cut gives a typed error or exactly the data that were there."""

import os
import random
import shutil

import pytest
from fire_stores import bytes_of, closed_store, contents, killed_store, records_of, study_of, truth_of

from steppe.core import CorruptStoreError, StoreError
from steppe.harness import Store
from steppe.workflow.remembering import remember, remembered

CELLS = 240
MORE = records_of(study_of(CELLS + 1))[-1:]


@pytest.fixture(scope="module")
def closed(tmp_path_factory):
    folder = closed_store(tmp_path_factory.mktemp("store") / "closed", CELLS)
    return folder, truth_of(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    folder = killed_store(tmp_path_factory.mktemp("store"), CELLS)
    return folder, truth_of(folder)


class Verdicts:
    """Damage done to copies of a folder, and what came of it."""

    def __init__(self, source, truth, place):
        self.source, self.truth, self.place = source, truth, place
        self.refused = self.identical = 0
        self.silent = []

    def judge(self, name, spoil):
        """Spoil one file of a copy by bytes → bytes; open it for reading, for writing, and after one more row."""
        for way in ("reading", "writing"):
            shutil.rmtree(self.place, ignore_errors=True)
            shutil.copytree(self.source, self.place)
            path = self.place / name
            path.write_bytes(spoil(path.read_bytes()))
            self._open(way, (name, way, getattr(spoil, "what", "")))

    def _open(self, way, label):
        before = bytes_of(self.place)
        try:
            with Store(self.place, read_only=way == "reading") as store:
                found = contents(store)
                if way == "writing":
                    store.write(study_of(CELLS), MORE)
            if way == "writing":
                with Store(self.place, read_only=True) as store:
                    after = store.records()
                assert after.pop(MORE[0].key) == MORE[0], label
                assert after == found[0], label
        except StoreError:
            self.refused += 1
            assert bytes_of(self.place) == before, label  # nothing deleted, nothing changed
            return
        if found == self.truth:
            self.identical += 1
        else:
            self.silent.append(label)


def flip(position):
    """One bit, at a share of the file or at a number of bits from its start."""

    def spoil(data):
        bit = int(position * 8 * len(data)) if isinstance(position, float) else position
        spoiled = bytearray(data)
        spoiled[bit // 8] ^= 1 << bit % 8
        return bytes(spoiled)

    spoil.what = f"flip {position}"
    return spoil


def cut(share):
    """Only the first bytes: a share of the file, or a number."""

    def spoil(data):
        return data[: int(share * len(data)) if isinstance(share, float) else share]

    spoil.what = f"cut {share}"
    return spoil


def flips(verdicts, name, count, seed):
    chance = random.Random(seed)
    for _ in range(count):
        verdicts.judge(name, flip(chance.random()))


@pytest.mark.parametrize("count", [24, pytest.param(700, marks=pytest.mark.fire)])
def test_a_flipped_bit_in_the_database_is_never_silent(closed, tmp_path, count):
    verdicts = Verdicts(*closed, tmp_path / "copy")
    flips(verdicts, "study.db", count, seed=1)
    assert verdicts.silent == []
    assert verdicts.refused > verdicts.identical > 0  # most bits are data, some are free space


@pytest.mark.parametrize("count", [24, pytest.param(700, marks=pytest.mark.fire)])
def test_a_flipped_bit_in_the_log_of_a_killed_run_is_never_silent(killed, tmp_path, count):
    verdicts = Verdicts(*killed, tmp_path / "copy")
    flips(verdicts, "study.db-wal", count, seed=2)
    flips(verdicts, "study.db", count // 4, seed=3)
    assert verdicts.silent == []
    assert verdicts.refused > 0


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.fire)])
def test_a_flipped_bit_in_a_header_is_never_silent(closed, killed, tmp_path, step):
    for (folder, truth), name, length in ((closed, "study.db", 108), (killed, "study.db-wal", 56)):
        verdicts = Verdicts(folder, truth, tmp_path / "copy")
        for bit in range(0, 8 * length, step):
            verdicts.judge(name, flip(bit))
        assert verdicts.silent == []


@pytest.mark.parametrize("count", [2, pytest.param(200, marks=pytest.mark.fire)])
def test_a_cut_file_is_never_silent(closed, killed, tmp_path, count):
    chance = random.Random(4)
    for (folder, truth), name in ((closed, "study.db"), (killed, "study.db-wal"), (killed, "study.db")):
        size = (folder / name).stat().st_size
        ends = [0, 1, 31, 32, 56, 100, 4096, 32 + 4120, size - 4120, size - 4096, size - 1]
        verdicts = Verdicts(folder, truth, tmp_path / "copy")
        for end in [*ends, *(chance.random() for _ in range(count))]:
            verdicts.judge(name, cut(end))
        assert verdicts.silent == []
        if (folder, name) != (killed[0], "study.db"):  # what the log holds anew may be cut from the database
            assert verdicts.identical == 0


def test_a_log_that_is_gone_foreign_or_of_another_run_is_noticed(killed, closed, tmp_path):
    folder, truth = killed
    verdicts = Verdicts(folder, truth, tmp_path / "copy")
    with Store(tmp_path / "other") as store:
        store.write(study_of(1), records_of(study_of(1)))
        log = (tmp_path / "other" / "study.db-wal").read_bytes()
    for content in (b"", b"diary\n" * 5000, bytes(40000), log):
        verdicts.judge("study.db-wal", lambda _, content=content: content)
    assert (verdicts.silent, verdicts.identical) == ([], 0)
    shutil.copytree(folder, tmp_path / "without")
    (tmp_path / "without" / "study.db-wal").unlink()
    with pytest.raises(CorruptStoreError, match=r"commits of \d+ \(was its -wal file damaged or deleted\?\)"):
        Store(tmp_path / "without")


def test_an_older_copy_of_the_database_is_noticed(closed, tmp_path):
    with Store(tmp_path) as store:
        store.write(study_of(2), records_of(study_of(2))[:1])
    older = (tmp_path / "study.db").read_bytes()
    with Store(tmp_path) as store:
        store.write(study_of(2), records_of(study_of(2))[1:])
    (tmp_path / "study.db").write_bytes(older)
    with pytest.raises(CorruptStoreError, match="must hold every row that was committed") as caught:
        Store(tmp_path)
    assert f"delete {tmp_path / 'study.mark'}" in str(caught.value)  # the remedy …
    (tmp_path / "study.mark").unlink()
    with Store(tmp_path) as store:  # … works
        assert len(store.records()) == 1


def test_a_damaged_mark_costs_nothing(closed, tmp_path):
    verdicts = Verdicts(*closed, tmp_path / "copy")
    chance = random.Random(5)
    for share in (0, 1, 0.5, 70):
        verdicts.judge("study.mark", cut(share))
    for _ in range(8):
        verdicts.judge("study.mark", flip(chance.random()))
    assert (verdicts.silent, verdicts.refused) == ([], 0)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_a_mark_that_is_no_file_is_left_alone(closed, tmp_path, kind):
    folder, truth = closed
    shutil.copytree(folder, tmp_path / "copy")
    mark, outside = tmp_path / "copy" / "study.mark", tmp_path / "outside"
    outside.write_text("mine" * 100)
    mark.unlink()
    {"link": lambda: mark.symlink_to(outside), "pipe": lambda: os.mkfifo(mark), "folder": mark.mkdir}[kind]()
    for read_only in (True, False):
        with Store(tmp_path / "copy", read_only=read_only) as store:
            assert contents(store) == truth
    with Store(tmp_path / "copy") as store:
        store.write(study_of(CELLS), MORE)
    assert outside.read_text() == "mine" * 100


def test_a_folder_moved_or_begun_anew_is_no_damage(closed, killed, tmp_path):
    for folder, truth in (closed, killed):
        moved = tmp_path / folder.name
        shutil.copytree(folder, moved)
        with Store(moved) as store:
            assert contents(store) == truth
        (moved / "study.db").unlink()  # what someone does who wants to begin anew
        with Store(moved) as store:
            assert store.records() == {}
        shutil.copy(folder / "study.mark", moved / "study.mark")  # another store's
        with Store(moved) as store:
            assert store.records() == {}


def test_rows_that_vanish_together_with_their_index_are_noticed(closed, tmp_path):
    import sqlite3

    folder, _ = closed
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy" / "study.db"
    whole = path.read_bytes()
    for statement in (
        "DELETE FROM cells WHERE rowid = 5",
        "DELETE FROM superseded WHERE rowid = 5",
        "INSERT INTO superseded SELECT * FROM superseded WHERE rowid = 5",
        "UPDATE meta SET value = 'other' WHERE name = 'slug'",
        "DELETE FROM meta WHERE name LIKE 'claims%'",
        "DELETE FROM meta WHERE name = 'seal'",
    ):
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()
        for read_only in (True, False):
            with pytest.raises(CorruptStoreError):
                Store(tmp_path / "copy", read_only=read_only)
        path.write_bytes(whole)


def test_a_store_without_a_seal_is_read_and_sealed_by_the_next_run(closed, tmp_path):
    import sqlite3

    folder, truth = closed
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "study.mark").unlink()
    connection = sqlite3.connect(tmp_path / "copy" / "study.db")
    connection.execute("DELETE FROM meta WHERE name = 'seal'")
    connection.execute("PRAGMA user_version=1")
    connection.commit()
    connection.close()
    for read_only in (True, False, True):
        with Store(tmp_path / "copy", read_only=read_only) as store:
            assert contents(store) == truth
    verdicts = Verdicts(tmp_path / "copy", truth, tmp_path / "spoiled")
    flips(verdicts, "study.db", 10, seed=6)
    assert verdicts.silent == []


@pytest.mark.parametrize("count", [60, pytest.param(600, marks=pytest.mark.fire)])
def test_a_damaged_note_of_the_last_run_is_never_silent(tmp_path, count):
    one, chance = study_of(30), random.Random(7)
    cells = [dict(cell) for cell in one.cells()]
    remember(tmp_path, one, "quick", cells)
    note = tmp_path / "asked.json"
    whole = note.read_bytes()
    assert remembered(tmp_path, one) == ("quick", cells)
    refused = 0
    for index in range(count):
        note.write_bytes((flip if index % 3 else cut)(chance.random())(whole))
        try:
            found = remembered(tmp_path, one)
        except CorruptStoreError:
            refused += 1
        else:
            assert found == ("quick", cells)
    assert refused > 0.9 * count
