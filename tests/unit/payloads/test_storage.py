"""Large payloads are stored in a folder, and a reference opens only the very payload that it names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverClaim, StorageDriverRetrieveContext, StorageDriverStoreContext

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.payloads.codec import Undecodable
from kubiya_worker.payloads.converter import Payloads
from kubiya_worker.payloads.options import STORED_FROM, PayloadOptions
from kubiya_worker.payloads.storage import (
    INLINE_BYTES,
    FolderDriver,
    InlineFallbackDriver,
    NotStored,
    storage_of,
)
from kubiya_worker.protocol import names

PAYLOAD = Payload(metadata={"encoding": b"json/plain"}, data=b'"large"')
STORE, RETRIEVE = StorageDriverStoreContext(), StorageDriverRetrieveContext()


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_what_is_stored_twice_is_there_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    driver = FolderDriver(folder)
    first, second = await driver.store(STORE, [PAYLOAD, PAYLOAD])
    assert first == second
    [path] = files(folder)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    assert await driver.retrieve(RETRIEVE, [first, second]) == [PAYLOAD, PAYLOAD]


async def test_what_is_stored_again_is_young_again(tmp_path: Path) -> None:
    driver = FolderDriver(tmp_path)
    await driver.store(STORE, [PAYLOAD])
    [path] = files(tmp_path)
    os.utime(path, (1, 1))
    await driver.store(STORE, [PAYLOAD])
    assert path.stat().st_mtime > 1_000_000


async def test_what_is_not_there_or_was_changed_is_refused(tmp_path: Path) -> None:
    driver = FolderDriver(tmp_path)
    [claim] = await driver.store(STORE, [PAYLOAD])
    [path] = files(tmp_path)
    path.write_bytes(b"other")
    with pytest.raises(Undecodable, match="is not what was stored"):
        await driver.retrieve(RETRIEVE, [claim])
    path.unlink()
    with pytest.raises(Undecodable, match="No such file"):
        await driver.retrieve(RETRIEVE, [claim])


class Broken(FolderDriver):
    """A disk that is full, until it is mended."""

    mended = False

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        if not self.mended:
            raise OSError(28, "No space left on device")
        return await super().store(context, payloads)


async def test_what_cannot_be_stored_stays_in_the_history(tmp_path: Path) -> None:
    inner = Broken(tmp_path)
    driver = InlineFallbackDriver(inner)
    [kept] = await driver.store(STORE, [PAYLOAD])
    assert files(tmp_path) == []
    inner.mended = True
    other = Payload(metadata={"encoding": b"json/plain"}, data=b'"other"')
    [stored] = await driver.store(STORE, [other])
    assert len(files(tmp_path)) == 1
    assert await driver.retrieve(RETRIEVE, [stored, kept, stored]) == [other, PAYLOAD, other]
    assert (driver.name(), driver.type()) == (inner.name(), inner.type())


async def test_what_is_too_large_for_a_history_is_said_by_name(tmp_path: Path) -> None:
    with pytest.raises(NotStored, match="No space left on device") as raised:
        await InlineFallbackDriver(Broken(tmp_path)).store(STORE, [Payload(data=b"x" * INLINE_BYTES)])
    assert type(raised.value).__name__ == names.NOT_STORED  # by which the workflow knows it


@pytest.mark.parametrize("text", ["?", "aGVsbG8gd29ybGQ=", ""])
async def test_a_reference_that_holds_no_payload_is_refused(tmp_path: Path, text: str) -> None:
    claim = StorageDriverClaim({"inline": text})
    try:
        assert await InlineFallbackDriver(FolderDriver(tmp_path)).retrieve(RETRIEVE, [claim]) == [Payload()]
        assert text == ""
    except Undecodable:
        assert text


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "/etc/passwd", "0" * 63, "0" * 64 + "\n", "A" * 64])
async def test_a_reference_leads_nowhere_else(tmp_path: Path, digest: str) -> None:
    with pytest.raises(Undecodable, match="was not made by this storage"):
        await FolderDriver(tmp_path).retrieve(RETRIEVE, [StorageDriverClaim({"sha256": digest})])


async def test_only_large_payloads_are_stored_and_all_come_back(tmp_path: Path) -> None:
    converter = Payloads.open(PayloadOptions(storage=str(tmp_path))).converter()
    for size, stored in ((10, 0), (STORED_FROM, 1)):
        wanted = "x" * size
        encoded = await converter.encode([wanted])
        await converter._transform_outbound_payload(encoded[0])
        assert len(files(tmp_path)) == stored


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("/proc/nowhere", "Payloads cannot be stored in /proc/nowhere"),
        ("s3://", "is not s3:// and the name of a bucket"),
        ("s3://UPPER", "is not s3:// and the name of a bucket"),
        ("s3://bucket/with/a/prefix", "is not s3:// and the name of a bucket"),
    ],
)
def test_a_place_that_cannot_be_used_is_refused_at_the_start(storage: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        storage_of(PayloadOptions(storage=storage))
