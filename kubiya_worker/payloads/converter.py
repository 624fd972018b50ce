"""The data converter for every client of Temporal, made from the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.payloads.keys import KeyRing

if TYPE_CHECKING:
    from temporalio.converter import DataConverter

COMPRESSION: Final = ("none", "zlib")
KEYS_VARIABLE: Final = "KUBIYA_PAYLOAD_KEYS_FILE"
COMPRESSION_VARIABLE: Final = "KUBIYA_PAYLOAD_COMPRESSION"
STORAGE_VARIABLE: Final = "KUBIYA_PAYLOAD_STORAGE"
FROM_VARIABLE: Final = "KUBIYA_PAYLOAD_STORAGE_FROM"
STORED_FROM: Final = 131_072  # bytes of a payload: below it the history itself is the cheaper place
LEAST, MOST = 1024, 2_000_000  # bytes; Temporal takes payloads of up to 2 MB


@dataclass(frozen=True)
class Options:
    """Options of payloads. `keys_file` switches encryption on.

    `storage` is a folder or `s3://BUCKET`, `storage_from` a size in bytes.
    """

    keys_file: Path | None = None
    compression: str = "none"
    storage: str = ""
    storage_from: int = STORED_FROM

    @classmethod
    def of(
        cls, keys_file: str | None, compression: str, storage: str | None = None, storage_from: int = STORED_FROM
    ) -> Options:
        storage = storage if not storage or "://" in storage else str(Path(storage).expanduser())
        return cls(Path(keys_file).expanduser() if keys_file else None, compression, storage or "", storage_from)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> Options:
        """Read the options from the environment, for programs without settings. Raises ConfigurationError."""
        compression = environ.get(COMPRESSION_VARIABLE, "").strip().lower() or "none"
        if compression not in COMPRESSION:
            raise ConfigurationError(
                f"{COMPRESSION_VARIABLE} {compression!r} is not one of {', '.join(COMPRESSION)}", remedy="Correct it"
            )
        size = environ.get(FROM_VARIABLE, "").strip() or str(STORED_FROM)
        if not size.isdecimal() or not LEAST <= int(size) <= MOST:
            raise ConfigurationError(
                f"{FROM_VARIABLE} {size!r} is not a whole number from {LEAST} to {MOST}", remedy="Correct it"
            )
        keys, storage = (environ.get(name, "").strip() or None for name in (KEYS_VARIABLE, STORAGE_VARIABLE))
        return cls.of(keys, compression, storage, int(size))


@dataclass(frozen=True)
class Payloads:
    """The opened options. Made before any connection, so that a wrong option ends the start."""

    options: Options
    keys: KeyRing | None

    @classmethod
    def open(cls, options: Options) -> Payloads:
        """Check the options, and read the keys. Raises ConfigurationError (78)."""
        if options.storage:
            from kubiya_worker.payloads.storage import storage_of

            storage_of(options)
        return cls(options, KeyRing(options.keys_file) if options.keys_file else None)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the values that must not leave the process."""
        return self.keys.texts if self.keys else ()

    @property
    def key_id(self) -> str:
        """Return the id of the key that encrypts; "" without encryption."""
        return self.keys.first[0] if self.keys else ""

    def require(self, id: str) -> None:
        """Raise ConfigurationError if the control plane's key `id` is missing; "" requires none."""
        if id and (self.keys is None or not self.keys.has(id)):
            where = f"not in {self.keys.path}" if self.keys else "not configured here"
            raise ConfigurationError(
                f"The control plane encrypts what Temporal keeps with the key {id!r}, which is {where}",
                remedy=f"Set {KEYS_VARIABLE} to a file with that key",
            )

    def converter(self) -> DataConverter:
        """Return the data converter.

        It always has the codec, so that a payload that another process encoded is read, or refused with a clear error.
        """
        from temporalio.converter import (
            DataConverter,
            DefaultFailureConverter,
            DefaultFailureConverterWithEncodedAttributes,
        )

        from kubiya_worker.payloads.codec import Codec
        from kubiya_worker.payloads.plain import PlainConverter

        storage = None
        if self.options.storage:
            from kubiya_worker.payloads.storage import storage_of

            storage = storage_of(self.options)
        return DataConverter(
            payload_converter_class=PlainConverter,
            external_storage=storage,
            payload_codec=Codec(self.keys, compress=self.options.compression == "zlib"),
            # Without this the messages and stack traces of failures are stored in plain text.
            failure_converter_class=(
                DefaultFailureConverterWithEncodedAttributes if self.keys else DefaultFailureConverter
            ),
        )
