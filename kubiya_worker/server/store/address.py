"""This module says where a control plane keeps its data: in an SQLite file, or on a PostgreSQL server."""

from __future__ import annotations

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
