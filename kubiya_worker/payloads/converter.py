"""The data converter for every client of Temporal, made from the options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kubiya_worker.errors import ConfigurationError
from kubiya_worker.payloads.keys import KeyRing
from kubiya_worker.payloads.options import KEYS_VARIABLE, PayloadOptions

if TYPE_CHECKING:
    from temporalio.converter import DataConverter


@dataclass(frozen=True)
class Payloads:
    """The opened options. Made before any connection, so that a wrong option ends the start."""

    options: PayloadOptions
    keys: KeyRing | None
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)  # with those of S3

    @classmethod
    def open(cls, options: PayloadOptions, variables: Mapping[str, str] = os.environ) -> Payloads:
        """Check the options, and read the keys. Raises ConfigurationError (78)."""
        if options.storage:
            from kubiya_worker.payloads.storage import storage_of

            storage_of(options, variables)
        return cls(options, KeyRing(options.keys_file) if options.keys_file else None, variables)

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
                f"The control plane encrypts payloads with the key {id!r}, which is {where}",
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
        from kubiya_worker.payloads.json_converter import JsonConverter

        storage = None
        if self.options.storage:
            from kubiya_worker.payloads.storage import storage_of

            storage = storage_of(self.options, self.variables)
        return DataConverter(
            payload_converter_class=JsonConverter,
            external_storage=storage,
            payload_codec=Codec(self.keys, compress=self.options.compression == "zlib"),
            # Without this the messages and stack traces of failures are stored in plain text.
            failure_converter_class=(
                DefaultFailureConverterWithEncodedAttributes if self.keys else DefaultFailureConverter
            ),
        )
