"""This module reads what curl is given besides its options: addresses, and values by which it reads or writes files."""

from __future__ import annotations

import re
from typing import Final

from kubiya_worker.tools.shell.options import Given, Place

_CURL_ADDRESS: Final = re.compile(
    r"(?:(?:https?|ftps?|wss?|dict|ldaps?|imaps?|pop3s?|smtps?|sftp|scp|telnet|gophers?|mqtt|rtsp|tftp)://)?"
    r"[^/:?#{}\[\]%\\\s]*(?:\[[0-9A-Fa-f:.]+\])?(?::[^/?#]*)?(?:[/?#].*)?",
    re.DOTALL | re.IGNORECASE,
)


def check(given: Given, place: Place) -> str | None:
    """Return what curl must not get: addresses of files, also in letters that curl itself decodes or expands."""
    literal = given.has("-g", "--globoff")
    for address in (*given.operands, *given.values("--url")):
        text = re.sub(r"[\[\]{}]", "", address) if literal else address
        if not _CURL_ADDRESS.fullmatch(text) or re.match(r"\s*file:", text, re.IGNORECASE):
            return f"the address {address[:80]}"
    for value in given.values("-o", "--output"):
        if "#" in value:  # curl puts a part of the address there, which may lead elsewhere
            return f"-o {value[:80]}, whose name is not known before"
    for value in given.values("-w", "--write-out"):
        if value.startswith("@") or "%output{" in value:
            return f"-w {value[:80]}, which reads or writes a file"
    for value in given.values("-E", "--cert", "--key"):
        if value.lower().startswith("pkcs11:"):
            return f"{value[:80]}, which loads a library"
    for value in given.values("--proto", "--proto-redir"):
        if "file" in value.lower() or "all" in value.lower():
            return f"--proto {value[:80]}, which allows addresses of files"
    return None
