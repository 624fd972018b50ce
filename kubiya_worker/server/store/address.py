"""This module says where a control plane keeps its data: in an SQLite file, or on a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

SCHEMES: Final = ("postgresql", "postgres")
VARIABLE: Final = "KUBIYA_DATABASE"


@dataclass(frozen=True)
class PostgresAddress:
    """The URL of a database on a PostgreSQL server, in the form that libpq takes. `str` shows it without a password."""

    url: str = field(repr=False)

    @property
    def password(self) -> str:
        """Return the password that the URL holds, or an empty text."""
        split = urlsplit(self.url)
        asked = (part.partition("=") for part in split.query.split("&"))
        return unquote(split.password or "") or next(
            (unquote(value) for key, _, value in asked if key == "password"), ""
        )

    def __str__(self) -> str:
        split = urlsplit(self.url)
        before, at, hosts = split.netloc.rpartition("@")
        return f"postgresql://{before.partition(':')[0]}{at}{hosts}{split.path}"


Place = Path | PostgresAddress


def place_of(text: str) -> Place:
    """Return where a text says that the data is. Raises ValueError, whose text is a sentence for people."""
    if "://" not in text:
        return Path(text)
    kind = text.partition("://")[0]
    if kind == "sqlite":
        raise ValueError("an SQLite database is named by its file alone, without sqlite://")
    if kind not in SCHEMES:
        raise ValueError(f"{kind}:// is not supported: name an SQLite file, or postgresql://USER@HOST/NAME")
    try:
        split = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"the PostgreSQL address cannot be read ({error})") from error
    if len(split.path) < 2 and "dbname=" not in split.query:
        raise ValueError(f"{PostgresAddress(text)} names no database: postgresql://USER@HOST/NAME")
    return PostgresAddress(text)


def of_command_line(text: str) -> Place:
    """Return the place that an option names. Raises ValueError for a password too: everybody can read the option."""
    place = place_of(text)
    if isinstance(place, PostgresAddress) and place.password:
        raise ValueError(
            "everybody on this host can read a command line: put the address with its password into a file that "
            f"{VARIABLE}_FILE names, or the password into one that PGPASSFILE names"
        )
    return place


def of_environment(environ: Mapping[str, str]) -> Place | None:
    """Return the place that the variable or its file names, None without them. Raises ValueError."""
    file = environ.get(f"{VARIABLE}_FILE", "").strip()
    try:
        text = Path(file).expanduser().read_text().strip() if file else environ.get(VARIABLE, "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{VARIABLE}_FILE {file} cannot be read") from error
    return place_of(text) if text else None
