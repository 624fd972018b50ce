"""This module takes the secret variables out of the process's environment and keeps them for the code that needs them.

What stays in `os.environ` can be read by every library of the process, and is inherited by a program that is started
without an explicit environment. What was taken out is read only by name, from the object that `seal` returns.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from typing import Final, NoReturn

from kubiya_worker import credentials
from kubiya_worker._supervisor.posix import environment
from kubiya_worker.protocol.model_entries import HEADER_VARIABLES, KEY_VARIABLES
from kubiya_worker.settings.table import OPTIONS

# Libraries read these by themselves at each request, Temporal's core among them, so they stay. A password in one of
# them is hidden in all that the worker writes.
PROXIES: Final = frozenset({"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
_NAMES_A_PLACE: Final = ("_FILE", "_PATH", "_DIR")
_OF_SETTINGS: Final = frozenset(name for option in OPTIONS if option.secret for name in option.env)


class SealedVariables(Mapping[str, str]):
    """All variables that the process was started with; the secret ones are only here.

    It looks like `os.environ`, but it is never shown as text, and it cannot be pickled.
    """

    def __init__(self, sealed: Mapping[str, str], open_ones: Mapping[str, str]) -> None:
        self._sealed, self._open = dict(sealed), open_ones

    def __getitem__(self, name: str) -> str:
        return self._sealed[name] if name in self._sealed else self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self._sealed), **dict.fromkeys(self._open)})

    def __len__(self) -> int:
        return len(self._sealed.keys() | self._open.keys())

    def __repr__(self) -> str:
        return f"<SealedVariables: {len(self)}, {len(self._sealed)} of them sealed>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("Sealed variables do not leave the process")

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the variables that are only here."""
        return tuple(sorted(self._sealed))


def is_secret(name: str, value: str) -> bool:
    """Return whether a variable of the worker is a secret: by its name, or by a credential in its value."""
    if name in _OF_SETTINGS or name.startswith((HEADER_VARIABLES, KEY_VARIABLES)):
        return True
    if name.upper() in PROXIES or name.endswith(_NAMES_A_PLACE) or os.path.exists(value):  # noqa: PTH110 - any text
        return False
    return credentials.may_be_secret(name, value) or bool(credentials.certain(name, value))


def seal(environ: MutableMapping[str, str], kept: Collection[str] = ()) -> SealedVariables:
    """Move the secret variables out of `environ`; those named in `kept` stay, for extensions that read them there."""
    sealed = {name: value for name, value in environ.items() if value and is_secret(name, value) and name not in kept}
    for name in sealed:
        del environ[name]
    return SealedVariables(sealed, environ)


def seal_process(kept: Collection[str] = ()) -> SealedVariables:
    """Seal the variables of this process, and overwrite them in the block that /proc shows."""
    variables = seal(os.environ, kept)
    for name in environment.overwrite_secrets(variables.names):
        if name in os.environ:  # C libraries read the block: set the variable again, outside of it
            os.environ[name] = os.environ[name]
    return variables
