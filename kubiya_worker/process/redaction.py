"""This module removes the secrets of this process, in every known encoding, from everything that it writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from kubiya_worker.credentials import certain, may_be_secret
from kubiya_worker.protocol.model_entries import HEADER_VARIABLES, KEY_VARIABLES
from kubiya_worker.tools.redaction import AT_WORK, Redactor


class ProcessRedactor:
    """A callable that returns a text without secrets, including those of the execution that runs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: tuple[str, ...] = ()
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(dict.fromkeys((*self._secrets, *filter(None, secrets))))
        self._redactor = Redactor(self._secrets)

    @property
    def secrets(self) -> tuple[str, ...]:
        return self._secrets

    def __call__(self, text: str) -> str:
        text = self._redactor.text(text)
        redactor = AT_WORK.get()
        return redactor.text(text) if redactor else text


def secrets_in(environ: Mapping[str, str]) -> set[str]:
    """Return the secrets in environment variables.

    These are the values of variables whose names mark them as secret (keys of providers, clouds and people), and the
    credentials in other values.
    """
    inner = {part for name, value in environ.items() if not _is_place(name, value) for part in certain(name, value)}
    return inner | {
        value
        for name, value in environ.items()
        if (may_be_secret(name, value) or name.startswith((HEADER_VARIABLES, KEY_VARIABLES)))
        and not _is_place(name, value)
    }


def _is_place(name: str, value: str) -> bool:
    return name.endswith(("_FILE", "_PATH", "_DIR")) or os.path.exists(value)  # noqa: PTH110 - any text
