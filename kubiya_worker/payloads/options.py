"""The options of payloads: compression, encryption, external storage, from settings or from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kubiya_worker.errors import ConfigurationError

COMPRESSION: Final = ("none", "zlib")
KEYS_VARIABLE: Final = "KUBIYA_PAYLOAD_KEYS_FILE"
COMPRESSION_VARIABLE: Final = "KUBIYA_PAYLOAD_COMPRESSION"
STORAGE_VARIABLE: Final = "KUBIYA_PAYLOAD_STORAGE"
FROM_VARIABLE: Final = "KUBIYA_PAYLOAD_STORAGE_FROM"
STORED_FROM: Final = 131_072  # bytes of a payload: below it the history itself is the cheaper place
LEAST, MOST = 1024, 2_000_000  # bytes; Temporal takes payloads of up to 2 MB


@dataclass(frozen=True)
class PayloadOptions:
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
    ) -> PayloadOptions:
        storage = storage if not storage or "://" in storage else str(Path(storage).expanduser())
        return cls(Path(keys_file).expanduser() if keys_file else None, compression, storage or "", storage_from)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str]) -> PayloadOptions:
        """Read the options from the environment, for programs without settings. Raises ConfigurationError."""
        compression = environ.get(COMPRESSION_VARIABLE, "").strip().lower() or "none"
        if compression not in COMPRESSION:
            raise ConfigurationError(
                f"{COMPRESSION_VARIABLE} {compression!r} is not one of {', '.join(COMPRESSION)}",
                remedy="Correct it, or unset it for no compression",
            )
        size = environ.get(FROM_VARIABLE, "").strip() or str(STORED_FROM)
        if not size.isdecimal() or not LEAST <= int(size) <= MOST:
            raise ConfigurationError(
                f"{FROM_VARIABLE} {size!r} is not a whole number from {LEAST} to {MOST}",
                remedy=f"Correct it, or unset it for {STORED_FROM}",
            )
        keys, storage = (environ.get(name, "").strip() or None for name in (KEYS_VARIABLE, STORAGE_VARIABLE))
        return cls.of(keys, compression, storage, int(size))
