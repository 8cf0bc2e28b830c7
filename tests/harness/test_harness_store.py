import errno
import os
import sqlite3
from types import SimpleNamespace

import psutil
import pytest
from harness_toys import SMALL, toy

from steppe.core import CorruptStoreError, StoreBusyError, StoreError
from steppe.harness import AtMost, Record, Store, compute, keys_of

STUDY = toy()
CELLS = STUDY.cells()


def records(study=STUDY, **changes):
    outcomes = compute(study, CELLS)
    return [
        Record(
            **{"key": key, "cell": o.cell, "status": o.status, "result": o.result, "provenance": {"n": 1}, **changes}
        )
        for key, o in zip(keys_of(study, CELLS), outcomes, strict=True)
    ]


def test_what_is_written_is_read(tmp_path):
    written = records()
    with Store(tmp_path / "deep" / "er") as store:
        store.write(STUDY, written)
        assert store.records() == {record.key: record for record in written}
    with Store(tmp_path / "deep" / "er", read_only=True) as store:
        assert list(store.records([written[2].key]).values()) == [written[2]]
        assert store.statuses()[written[0].key] == ("done", 1)
        assert store.meta()["slug"] == "toy"


def test_it_is_an_ordinary_database_with_full_sync(tmp_path):
    with Store(tmp_path) as store:
        store.write(STUDY, records())
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    other = sqlite3.connect(tmp_path / "study.db")
    assert other.execute("SELECT count(*) FROM cells").fetchone() == (6,)
    assert other.execute("SELECT result FROM cells").fetchone() == (b'{"pid":0,"value":1.0}',)
    other.close()


def test_a_reader_reads_beside_the_writer(tmp_path):
    with Store(tmp_path) as writer:
        writer.write(STUDY, records()[:2])
        with Store(tmp_path, read_only=True) as reader:
            assert len(reader.records()) == 2
            writer.write(STUDY, records()[2:])
            assert len(reader.records()) == 6


def test_a_second_writer_is_refused_until_the_first_ends(tmp_path):
    with Store(tmp_path), pytest.raises(StoreBusyError, match="another run is writing there"):
        Store(tmp_path)
    Store(tmp_path).close()


def test_replaced_rows_are_kept_aside(tmp_path):
    with Store(tmp_path) as store:
        store.write(STUDY, records(status="failed", result=None))
        store.write(STUDY, records())
        assert store._db.execute("SELECT count(*) FROM superseded").fetchone() == (0,)  # a crash has no row to keep
        store.write(STUDY, records(attempts=2))
        assert store._db.execute("SELECT count(*), max(attempts) FROM superseded").fetchone() == (6, 1)


def test_changed_claims_are_noticed_per_revision(tmp_path):
    with Store(tmp_path) as store:
        assert store.claims_changed(STUDY) is None
        store.write(STUDY, records())
        assert store.claims_changed(STUDY) is False
        changed = toy(claims=(AtMost("small", SMALL.statement, left="value", right=999, kind="theorem"),))
        assert store.claims_changed(changed) is True
        store.write(changed, records())
        assert store.claims_changed(changed) is True  # the first digest stays
        assert store.claims_changed(toy(revision=2)) is None


def test_another_study_is_refused(tmp_path):
    with Store(tmp_path) as store:
        store.write(STUDY, records())
        with pytest.raises(StoreError, match="got rows of `toy`"):
            store.check_slug(toy(slug="other"))


def read_all(folder, *, read_only):
    with Store(folder, read_only=read_only) as store:
        return store.records()


def foreign_text(path):
    path.write_text("this is my diary\n" * 100)


def foreign_database(path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE diary (day TEXT)")
    connection.commit()
    connection.close()


def truncated(path):
    with Store(path.parent) as store:
        store.write(STUDY, records())
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def zeroed_page(path):
    with Store(path.parent) as store:
        store.write(STUDY, [r for i in range(40) for r in records(key=f"{i:064}", error="x" * 500)[:1]])
    data = bytearray(path.read_bytes())
    data[8192:12288] = bytes(4096)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("spoil", [foreign_text, foreign_database, truncated, zeroed_page])
@pytest.mark.parametrize("read_only", [False, True])
def test_a_damaged_or_foreign_file_is_named_and_left_alone(tmp_path, spoil, read_only):
    path = tmp_path / "study.db"
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(CorruptStoreError, match=r"nothing was changed or deleted.*--out"):
        read_all(tmp_path, read_only=read_only)
    assert path.read_bytes() == before


def test_every_flipped_byte_of_a_record_is_noticed(tmp_path):
    with Store(tmp_path) as store:
        store.write(STUDY, records(error="none at all"))
        record = records(error="none at all")[0]
    path = tmp_path / "study.db"
    whole = path.read_bytes()
    for piece in (record.result, record.key.encode(), b'"n":1', b"none at all", b"done"):
        at = whole.rindex(piece)
        for offset in range(len(piece)):
            data = bytearray(whole)
            data[at + offset] ^= 1
            path.write_bytes(bytes(data))
            with pytest.raises(CorruptStoreError):
                read_all(tmp_path, read_only=True)
    path.write_bytes(whole)


def test_an_empty_file_is_a_new_store(tmp_path):
    (tmp_path / "study.db").touch()
    with Store(tmp_path) as store:
        store.write(STUDY, records())


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "study.db").mkdir()
    with pytest.raises(StoreError, match="folder"):
        Store(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_folder_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match=r"writable.*--out"):
        Store(tmp_path / "x")


@pytest.mark.skipif(not os.path.isdir("/sys/kernel"), reason="needs a folder where even root may not write")
def test_a_folder_that_even_root_may_not_write_is_named():
    with pytest.raises(StoreError, match=r"must be writable.*--out"):
        Store("/sys/steppe")


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match=r"writable.*--out"):
        Store(tmp_path / "runs" / "toy")


def test_nothing_to_read(tmp_path):
    with pytest.raises(StoreError, match="got none; run the study first"):
        Store(tmp_path, read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_keeps_what_was_committed(tmp_path):
    with Store(tmp_path) as store:
        store.write(STUDY, records()[:1])
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count={pages + 1}")
        with pytest.raises(StoreError, match=r"the disk is full; all rows committed so far are kept.*--out"):
            store.write(STUDY, [Record(key="f" * 64, cell={}, status="failed", error="x" * 100_000)])
        assert len(store.records()) == 1
        store._db.execute("PRAGMA max_page_count=100000")
        store.write(STUDY, records())  # the same store goes on
    with Store(tmp_path, read_only=True) as store:
        assert len(store.records()) == 6


def test_a_full_disk_told_by_the_system_is_told_the_same_way(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    with pytest.raises(StoreError, match="the disk is full"):
        Store(tmp_path / "x")


def test_network_file_systems_are_refused(tmp_path, monkeypatch):
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    with pytest.raises(StoreError, match=r"local disk.*nfs4.*--out"):
        Store(tmp_path / "x")
    mounts.append(SimpleNamespace(mountpoint=str(tmp_path / "x"), fstype="xfs"))
    Store(tmp_path / "x").close()


def test_a_newer_format_is_not_guessed_at(tmp_path):
    Store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreError, match="newer steppe"):
        Store(tmp_path)


def test_a_closed_store_says_so(tmp_path):
    store = Store(tmp_path)
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.records()
