"""This module reads what curl is given besides its options: addresses, and values by which it reads or writes files."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from kubiya_worker.tools.shell.options import ParsedArguments, Place

_CURL_ADDRESS: Final = re.compile(
    r"(?:(?:https?|ftps?|wss?|dict|ldaps?|imaps?|pop3s?|smtps?|sftp|scp|telnet|gophers?|mqtt|rtsp|tftp)://)?"
    r"[^/:?#{}\[\]%\\\s]*(?:\[[0-9A-Fa-f:.]+\])?(?::[^/?#]*)?(?:[/?#].*)?",
    re.DOTALL | re.IGNORECASE,
)


def names_of_addresses(addresses: Iterable[str], place: Place) -> str | None:
    """Return the file, named as the end of an address is, by which a download would get outside: through a link."""
    for address in addresses:
        name = re.sub(r"[?#].*", "", address).rsplit("/", 1)[-1]
        if name and place.outside(name):
            return f"{name[:80]}, which leads outside of the workspace"
    return None


def check(parsed: ParsedArguments, place: Place) -> str | None:
    """Return what curl must not get: addresses of files, also in letters that curl itself decodes or expands."""
    literal = parsed.has("-g", "--globoff")
    for address in (*parsed.operands, *parsed.values("--url")):
        text = re.sub(r"[\[\]{}]", "", address) if literal else address
        if not _CURL_ADDRESS.fullmatch(text) or re.match(r"\s*file:", text, re.IGNORECASE):
            return f"the address {address[:80]}"
    for value in parsed.values("-T", "--upload-file"):
        if not literal and re.search(r"[\[\]{}]", value):
            return f"-T {value[:80]}, which names files by a pattern"
    for value in parsed.values("--url"):
        if value.startswith("@"):  # newer versions read addresses from that file
            return f"--url {value[:80]}, which is a list of addresses"
    for value in parsed.values("--cert-type", "--key-type"):
        if value.upper() not in ("PEM", "DER", "P12"):
            return f"the type {value[:40]}, which loads a library"
    if parsed.has("-O", "--remote-name", "--remote-name-all"):
        addresses = (*parsed.operands, *parsed.values("--url"))
        if not literal and any(char in address for address in addresses for char in "[]{}"):
            return "-O with a pattern in the address, whose names are not known before"
        if found := names_of_addresses(addresses, place):
            return found
    for value in parsed.values("-o", "--output"):
        if "#" in value:  # curl puts a part of the address there, which may lead elsewhere
            return f"-o {value[:80]}, whose name is not known before"
    for value in parsed.values("-w", "--write-out"):
        if value.startswith("@") or "%output{" in value:
            return f"-w {value[:80]}, which reads or writes a file"
    for value in parsed.values("-E", "--cert", "--key"):
        if value.lower().startswith("pkcs11:"):
            return f"{value[:80]}, which loads a library"
    for value in parsed.values("--proto", "--proto-redir"):
        if "file" in value.lower() or "all" in value.lower():
            return f"--proto {value[:80]}, which allows addresses of files"
    return None
