"""This module gives the headers of a request as a dictionary."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

KEY: Final = "kubiya.headers"  # of a request's scope: what `headers_of` has found


def headers_of(request: Request) -> dict[str, str]:
    """Return the first header of each name, with the names in lower case.

    Starlette's headers are looked through from the first on at each question, of which a request has a dozen.
    """
    scope = request.scope
    headers: dict[str, str] | None = scope.get(KEY)
    if headers is None:
        raw = reversed(scope["headers"])  # so that the first of a name stays
        headers = scope[KEY] = {name.decode("latin-1"): value.decode("latin-1") for name, value in raw}
    return headers
