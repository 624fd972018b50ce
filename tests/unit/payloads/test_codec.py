"""The codec compresses and encrypts payloads, and refuses those that it cannot read."""

from __future__ import annotations

import base64
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload

from kubiya_worker.payloads.codec import ENCRYPTED, LARGEST, SMALLEST, ZLIB, Codec, Undecodable
from kubiya_worker.payloads.keys import KeyRing, UnknownKey

ONE, TWO = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def ring(path: Path, *lines: str) -> KeyRing:
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return KeyRing(path)


def plain(data: bytes) -> Payload:
    return Payload(metadata={"encoding": b"json/plain"}, data=data)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    return ring(tmp_path_factory.mktemp("keys") / "keys", f"new {ONE}", f"old {TWO}")


@settings(max_examples=50)
@given(data=st.lists(st.binary(max_size=2000), max_size=4), compress=st.booleans(), encrypt=st.booleans())
async def test_what_was_encoded_is_decoded(keys: KeyRing, data: list[bytes], compress: bool, encrypt: bool) -> None:
    codec = Codec(keys if encrypt else None, compress=compress)
    payloads = [plain(each) for each in data]
    assert await codec.decode(await codec.encode(payloads)) == payloads


async def test_large_payloads_do_not_hold_the_event_loop_and_come_back(keys: KeyRing) -> None:
    payloads = [plain(b"canary " * 100_000)]
    encoded = await Codec(keys, compress=True).encode(payloads)
    assert encoded[0].ByteSize() < 10_000
    assert await Codec(keys).decode(encoded) == payloads


async def test_nothing_of_a_payload_can_be_read(keys: KeyRing) -> None:
    payload = plain(b"canary")
    first, second = await Codec(keys).encode([payload, payload])
    assert first != second
    assert b"canary" not in first.SerializeToString() and b"json/plain" not in first.SerializeToString()
    assert dict(first.metadata) == {"encoding": ENCRYPTED, "encryption-key-id": b"new"}


async def test_compression_is_left_out_where_it_does_not_help() -> None:
    codec = Codec(compress=True)
    small, noise, text = plain(b"a" * (SMALLEST - 100)), plain(random.Random(1).randbytes(999)), plain(b"a" * 999)
    assert await codec.encode([small]) == [small]
    assert await codec.encode([noise]) == [noise]
    assert (await codec.encode([text]))[0].metadata["encoding"] == ZLIB


async def test_an_old_key_still_decrypts_and_the_new_one_encrypts(keys: KeyRing, tmp_path: Path) -> None:
    before = await Codec(ring(tmp_path / "before", f"old {TWO}")).encode([plain(b"x")])
    assert await Codec(keys).decode(before) == [plain(b"x")]
    after = await Codec(keys).encode([plain(b"x")])
    assert after[0].metadata["encryption-key-id"] == b"new"


async def test_plain_payloads_pass_where_encryption_was_switched_on_later(keys: KeyRing) -> None:
    assert await Codec(keys, compress=True).decode([plain(b"x")]) == [plain(b"x")]


async def test_what_cannot_be_read_is_refused_by_name(keys: KeyRing, tmp_path: Path) -> None:
    [encrypted] = await Codec(keys).encode([plain(b"x")])
    with pytest.raises(UnknownKey, match="'new', and this process has no keys"):
        await Codec().decode([encrypted])
    with pytest.raises(UnknownKey, match="'new', which is not in"):
        await Codec(ring(tmp_path / "other", f"other {ONE}")).decode([encrypted])
    with pytest.raises(Undecodable, match="cannot be decrypted with the key 'new'"):
        await Codec(ring(tmp_path / "same", f"new {TWO}")).decode([encrypted])
    for data in (b"", encrypted.data[:5], encrypted.data[:-1], encrypted.data[:-1] + b"\0"):
        changed = Payload(metadata=encrypted.metadata, data=data)
        with pytest.raises(Undecodable):
            await Codec(keys).decode([changed])


async def test_broken_and_huge_compressed_payloads_are_refused() -> None:
    bomb = zlib.compress(bytes(LARGEST + 1), 9)
    for data, says in ((b"x", "decompressed"), (bomb, "larger than"), (zlib.compress(b"abc" * 99)[:-6], "cut off")):
        with pytest.raises(Undecodable, match=says):
            await Codec().decode([Payload(metadata={"encoding": ZLIB}, data=data)])
