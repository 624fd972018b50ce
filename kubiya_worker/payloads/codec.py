"""Temporal's payloads, compressed and encrypted; the formats are those of Temporal's own samples and Go SDK.

`binary/zlib` is a payload in zlib, `binary/encrypted` one in AES-256-GCM: nonce (12 bytes), ciphertext, tag. Each holds
a whole payload, including its metadata. Payloads in another format pass unchanged, so both can be switched on while
executions run. Payloads in these formats are always read, also when both are switched off.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from kubiya_worker.errors import WorkerError
from kubiya_worker.payloads.keys import KeyRing, UnknownKey

ENCODING: Final = "encoding"
KEY_ID: Final = "encryption-key-id"
ZLIB: Final = b"binary/zlib"
ENCRYPTED: Final = b"binary/encrypted"
NONCE: Final = 12  # bytes; at random: one key is good for 2**32 payloads (NIST SP 800-38D)
SMALLEST: Final = 256  # bytes of a payload from which compression is tried
LARGEST: Final = 64 * 2**20  # bytes of a payload when decompressed, so that a small payload cannot fill the memory
IN_THREAD: Final = 65_536  # bytes from which a thread does the work: about 2 ms of zlib would block the event loop
_OTHER_CODEC: Final = "Give this worker the payload settings and the version of the one that wrote it"
LOG_EVERY: Final = 30.0  # seconds between two lines about payloads that cannot be read

log = logging.getLogger(__name__)


class Undecodable(WorkerError):
    """A payload that this process cannot read; the message has the reason."""


class Codec(PayloadCodec):
    def __init__(self, keys: KeyRing | None = None, *, compress: bool = False) -> None:
        self._keys = keys
        self._compress = compress
        self._logged_at = -LOG_EVERY

    @property
    def encodes(self) -> bool:
        """Return whether anything is written in another form than it came."""
        return self._keys is not None or self._compress

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        if not self.encodes:
            return list(payloads)
        return await _run_for_each(self._encoded, payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Decode payloads. Raises UnknownKey, Undecodable."""
        if not any(payload.metadata.get(ENCODING) in (ZLIB, ENCRYPTED) for payload in payloads):
            return list(payloads)
        try:
            return await _run_for_each(self._decoded, payloads)
        except WorkerError as error:
            self._log_unreadable(error)
            raise

    def _log_unreadable(self, error: WorkerError) -> None:
        """Log one line for the operator: Temporal's library shows only a traceback, and tries again and again."""
        if time.monotonic() - self._logged_at >= LOG_EVERY:
            self._logged_at = time.monotonic()
            log.error("payload.unreadable %s", error.line())

    def _encoded(self, payload: Payload) -> Payload:
        if self._compress and payload.ByteSize() >= SMALLEST:
            plain = payload.SerializeToString()
            packed = Payload(metadata={ENCODING: ZLIB}, data=zlib.compress(plain))
            if packed.ByteSize() < len(plain):
                payload = packed
        if self._keys is not None:
            id, cipher = self._keys.first
            nonce = os.urandom(NONCE)
            data = nonce + cipher.encrypt(nonce, payload.SerializeToString(), None)
            payload = Payload(metadata={ENCODING: ENCRYPTED, KEY_ID: id.encode()}, data=data)
        return payload

    def _decoded(self, payload: Payload) -> Payload:
        if payload.metadata.get(ENCODING) == ENCRYPTED:
            payload = self._decrypted(payload)
        if payload.metadata.get(ENCODING) == ZLIB:
            payload = _parsed(_inflated(payload.data))
        return payload

    def _decrypted(self, payload: Payload) -> Payload:
        id = payload.metadata.get(KEY_ID, b"").decode(errors="replace")
        if self._keys is None:
            raise UnknownKey(
                f"A payload is encrypted with the key {id!r}, and this process has no keys",
                remedy="Set KUBIYA_PAYLOAD_KEYS_FILE",
            )
        from cryptography.exceptions import InvalidTag

        cipher = self._keys.find(id)
        try:
            return _parsed(cipher.decrypt(payload.data[:NONCE], payload.data[NONCE:], None))
        except (InvalidTag, ValueError) as error:
            raise Undecodable(
                f"A payload cannot be decrypted with the key {id!r}: another key had that id, or it was changed",
                remedy="Compare the files of payload keys",
            ) from error


async def _run_for_each(work: Callable[[Payload], Payload], payloads: Sequence[Payload]) -> list[Payload]:
    if sum(payload.ByteSize() for payload in payloads) >= IN_THREAD:
        return await asyncio.to_thread(lambda: [work(payload) for payload in payloads])
    return [work(payload) for payload in payloads]


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, LARGEST)
    except zlib.error as error:
        raise Undecodable(f"A payload cannot be decompressed: {error}", remedy=_OTHER_CODEC) from error
    if not inflater.eof:
        raise Undecodable(
            f"A payload is cut off, or larger than {LARGEST >> 20} MiB when decompressed", remedy=_OTHER_CODEC
        )
    return plain


def _parsed(data: bytes) -> Payload:
    try:
        return Payload.FromString(data)
    except Exception as error:  # protobuf's DecodeError has no documented, stable import path
        raise Undecodable("The decoded bytes are not a payload", remedy=_OTHER_CODEC) from error
