"""Large payloads kept outside of Temporal, by its own driver interface: the history has a reference of some bytes.

The codec's output is stored, so stored payloads are encrypted when payloads are. A payload's name is its SHA-256: equal
payloads are stored once, and a changed one is noticed when it is read. Temporal never deletes stored payloads: old
files are removed by age (docs/payloads.md).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from temporalio.api.common.v1 import Payload
from temporalio.contrib.aws.s3driver import S3StorageDriver, S3StorageDriverClient
from temporalio.converter import (
    ExternalStorage,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverStoreContext,
)

from kubiya_worker import aws
from kubiya_worker.errors import ConfigurationError, WorkerError
from kubiya_worker.payloads.codec import Undecodable

if TYPE_CHECKING:
    from kubiya_worker.payloads.options import PayloadOptions

NAME: Final = "kubiya.folder"  # part of every reference: must never change
DIGEST: Final = "sha256"
INLINE: Final = "inline"  # in a reference: the payload itself, in base64
INLINE_BYTES: Final = 1_400_000  # in base64, with the rest of a message, below the 2 MB that Temporal takes
S3: Final = "s3://"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MISSING: Final = frozenset({"404", "NoSuchKey", "NotFound"})


log = logging.getLogger(__name__)


class NotStored(WorkerError):
    """A payload could neither be stored nor be kept in the history.

    Workflows know the failure by this class's name (`protocol.names.NOT_STORED`), so the name must not change.
    """


class FolderDriver(StorageDriver):
    """A folder that all workers of the queue and the control plane share: on one host, or a network file system."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self) -> str:
        return NAME

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        return [await asyncio.to_thread(self._store, payload.SerializeToString()) for payload in payloads]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        """Read stored payloads. Raises Undecodable for one that is missing or was changed."""
        return [await asyncio.to_thread(self._retrieve, claim.claim_data.get(DIGEST, "")) for claim in claims]

    def _path(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):  # others can write histories: a name such as `../x` would leave the folder
            raise Undecodable(
                "The reference to a stored payload was not made by this storage",
                remedy="Set KUBIYA_PAYLOAD_STORAGE to the storage of the worker that made it",
            )
        return self._folder / digest[:2] / digest

    def _store(self, data: bytes) -> StorageDriverClaim:
        digest = hashlib.sha256(data).hexdigest()
        path = self._path(digest)
        try:
            os.utime(path)  # exists: renew its age, because old files are removed
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, data)
        return StorageDriverClaim({DIGEST: digest})

    def _retrieve(self, digest: str) -> Payload:
        try:
            data = self._path(digest).read_bytes()
        except OSError as error:
            raise Undecodable(
                f"The payload {digest[:12]}… cannot be read from {self._folder}: {error.strerror}",
                remedy="Is it the folder that the other workers use?",
            ) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise Undecodable(
                f"The payload {digest[:12]}… in {self._folder} is not what was stored",
                remedy="Put the file back from a backup of the folder; without it, start the run anew",
            )
        return Payload.FromString(data)


class InlineFallbackDriver(StorageDriver):
    """A driver that falls back to inline payloads in the history when the storage fails.

    Without it a failing storage would lose finished work: the result of a tool call cannot be produced a second time.
    """

    def __init__(self, driver: StorageDriver) -> None:
        self._driver = driver

    def name(self) -> str:
        return self._driver.name()

    def type(self) -> str:
        return self._driver.type()

    async def store(self, context: StorageDriverStoreContext, payloads: Sequence[Payload]) -> list[StorageDriverClaim]:
        """Store payloads. Raises NotStored for one that is too large for a history."""
        try:
            return await self._driver.store(context, payloads)
        except Exception as error:
            log.error("payload.not_stored error=%s", f"{type(error).__name__}: {error}")
            return [_inline(payload.SerializeToString(), error) for payload in payloads]

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        stored = [claim for claim in claims if INLINE not in claim.claim_data]
        retrieved = iter(await self._driver.retrieve(context, stored) if stored else ())
        return [_inlined(claim) if INLINE in claim.claim_data else next(retrieved) for claim in claims]


def _inline(data: bytes, error: Exception) -> StorageDriverClaim:
    if len(data) > INLINE_BYTES:
        raise NotStored(
            f"A payload of {len(data):,} bytes could not be stored, and is too large for a history: {error}",
            remedy="Check KUBIYA_PAYLOAD_STORAGE",
        ) from error
    return StorageDriverClaim({INLINE: base64.b64encode(data).decode()})


def _inlined(claim: StorageDriverClaim) -> Payload:
    try:
        return Payload.FromString(base64.b64decode(claim.claim_data[INLINE], validate=True))
    except Exception as error:  # protobuf's DecodeError, binascii.Error: it comes out of a history
        raise Undecodable(
            "The bytes to store are not a payload",
            remedy="Give this worker the payload settings and the version of the one that wrote it",
        ) from error


class S3Client(S3StorageDriverClient):
    """boto3 in threads. Credentials, region and `AWS_ENDPOINT_URL` come from boto3's usual sources."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def put_object(self, *, bucket: str, key: str, data: bytes) -> None:
        await asyncio.to_thread(self._client.put_object, Bucket=bucket, Key=key, Body=data)

    async def object_exists(self, *, bucket: str, key: str) -> bool:
        from botocore.exceptions import ClientError

        try:
            await asyncio.to_thread(self._client.head_object, Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return False
            raise
        return True

    async def get_object(self, *, bucket: str, key: str) -> bytes:
        def get() -> bytes:
            body: bytes = self._client.get_object(Bucket=bucket, Key=key)["Body"].read()
            return body

        return await asyncio.to_thread(get)


def storage_of(options: PayloadOptions, variables: Mapping[str, str] = os.environ) -> ExternalStorage | None:
    """Return the storage; None when none is configured. Raises ConfigurationError."""
    if not options.storage:
        return None
    driver = _s3(options.storage, variables) if options.storage.startswith(S3) else _folder(Path(options.storage))
    return ExternalStorage(drivers=[InlineFallbackDriver(driver)], payload_size_threshold=options.storage_from)


def _folder(folder: Path) -> FolderDriver:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid.uuid4().hex}"
        _write(probe, b"")
        probe.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"Payloads cannot be stored in {folder}: {error.strerror}", remedy="Check KUBIYA_PAYLOAD_STORAGE"
        ) from error
    return FolderDriver(folder)


def _s3(url: str, variables: Mapping[str, str]) -> S3StorageDriver:
    bucket = url.removeprefix(S3).strip("/")
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
        raise ConfigurationError(
            f"{url} is not s3:// and the name of a bucket", remedy="Correct KUBIYA_PAYLOAD_STORAGE"
        )
    try:
        from botocore.exceptions import BotoCoreError

        s3 = aws.session(variables)
    except ImportError as error:
        raise ConfigurationError(
            "Payloads are to be stored in S3, and its client is not installed", remedy="pip install 'kubiya-worker[s3]'"
        ) from error
    try:
        client = s3.client("s3")
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"S3 cannot be used: {error}", remedy="Check AWS_* and AWS_ENDPOINT_URL") from error
    return S3StorageDriver(S3Client(client), bucket)


def _write(path: Path, data: bytes) -> None:
    """Write a file as a whole, for its owner only, and sync it to disk, before a history refers to it."""
    draft = path.with_name(f".{path.name[:16]}-{uuid.uuid4().hex}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
