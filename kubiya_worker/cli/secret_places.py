"""This module reads the values of secrets in definition files from their places: a variable, or a file beside them.

A value itself does not stand in a definition file, which is kept in Git and read by many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kubiya_worker.cli.definition_files import STANDARD_INPUT, Faults
from kubiya_worker.definition_text import PlacedDocument

KIND: Final = "Secret"
PLACES: Final = ("env", "file")


def filled(documents: Sequence[PlacedDocument], environ: Mapping[str, str]) -> list[PlacedDocument]:
    """Return the documents, those of secrets with the value in place of `value_from`. Raises Faults with each place."""
    documents_filled, faults = [], list[str]()
    for document in documents:
        spec = document.body.get("spec") or {}
        if document.body.get("kind") != KIND or not {"value", "value_from"} & spec.keys():
            documents_filled.append(document)
            continue
        try:
            value = _value(document, spec, environ)
        except ValueError as error:
            field = "value" if "value" in spec else "value_from"
            faults.append(f"{document.place(('spec', field))}: spec.{field}: {error}")
            continue
        rest = {name: plain for name, plain in spec.items() if name != "value_from"}
        documents_filled.append(replace(document, body={**document.body, "spec": {**rest, "value": value}}))
    if faults:
        raise Faults(faults)
    return documents_filled


def _value(document: PlacedDocument, spec: Mapping[str, Any], environ: Mapping[str, str]) -> str:
    """Return the value from its place. Raises ValueError, which never has the value."""
    if "value" in spec:
        raise ValueError("A value does not stand in a file: write value_from: {env: NAME} or {file: PATH}, or source")
    place = spec["value_from"]
    if not isinstance(place, dict) or len(place) != 1 or not set(place) <= set(PLACES):
        raise ValueError("value_from is {env: NAME} or {file: PATH}")
    ((kind, name),) = place.items()
    if not isinstance(name, str) or not name:
        raise ValueError(f"{kind} is a text")
    if kind == "env":
        if not environ.get(name):
            raise ValueError(f"This shell has no variable {name}: set it")
        return environ[name]
    folder = Path() if document.file == STANDARD_INPUT else Path(document.file).parent
    path = folder / Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
