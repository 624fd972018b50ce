"""What this process takes out of everything that it says: its secrets, in whatever form they come."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from kubiya_worker.models.compatibility import HEADER_VARIABLES
from kubiya_worker.tools.redact import AT_WORK, SECRET_NAME, Redactor


class Hider:
    """Called with a text it gives the text without secrets; also without those of the execution that is at work."""

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


def of_environment(environ: Mapping[str, str]) -> set[str]:
    """Values of variables whose names say that they are secret: keys of providers, of clouds, of what a person has."""
    return {
        value
        for name, value in environ.items()
        if (SECRET_NAME.search(name) or name.startswith(HEADER_VARIABLES))
        and not name.endswith(("_FILE", "_PATH", "_DIR"))
        and not os.path.exists(value)  # noqa: PTH110 - any text
    }
