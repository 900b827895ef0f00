from __future__ import annotations

import hashlib
import threading

import pytest

from narthex.base import InputError
from narthex.store import Store, StoreError


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        yield opened


def files(store: Store) -> list[str]:
    return [path.name for path in (store.folder / "blobs").rglob("*") if path.is_file()]


def test_bytes_come_back_by_their_hash_and_are_kept_once(store):
    name = store.blobs.put(b"picture", "image/png")
    assert name == hashlib.sha256(b"picture").hexdigest()
    assert store.blobs.put(b"picture", "image/jpeg") == name
    assert store.blobs.get(name) == (b"picture", "image/png")
    assert name in store.blobs
    assert files(store) == [name]


def test_they_are_there_when_the_store_is_opened_again(tmp_path):
    with Store.open(tmp_path) as store:
        name = store.blobs.put(b"", "text/plain")
    with Store.open(tmp_path) as store:
        assert store.blobs.get(name).data == b""


@pytest.mark.parametrize("name", ["0" * 64, "", "../../etc/passwd", "A" * 64, "0" * 63 + "/"])
def test_what_is_not_there(store, name):
    assert name not in store.blobs
    with pytest.raises(InputError, match="nothing is stored") as caught:
        store.blobs.get(name)
    assert caught.value.hint


@pytest.mark.parametrize("damage", [b"", b"pictura", None])
def test_damage_is_told_and_mended_by_the_same_bytes(store, damage):
    name = store.blobs.put(b"picture", "image/png")
    path = store.folder / "blobs" / name[:2] / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(StoreError):
        store.blobs.get(name)
    store.blobs.put(b"picture", "image/png")
    assert store.blobs.get(name).data == b"picture"


def test_a_disk_that_refuses_leaves_no_half_file(store, monkeypatch):
    def refuse(_):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(StoreError, match="no space left"):
        store.blobs.put(b"picture", "image/png")
    assert files(store) == []
    assert hashlib.sha256(b"picture").hexdigest() not in store.blobs


def test_the_same_bytes_from_many_threads(store):
    threads = [threading.Thread(target=store.blobs.put, args=(b"same" * 1000, "image/png")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(files(store)) == 1
