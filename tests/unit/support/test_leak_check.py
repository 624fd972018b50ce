"""The second look finds every form that the first takes out, and nothing that the first has let through."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubiya_worker.leak_check import leaks
from kubiya_worker.tools.redaction import Redactor
from tests.unit.secret_forms import FORMS, KEY


@pytest.mark.parametrize("form", [*FORMS, "0" + KEY.encode().hex()])
def test_every_form_is_found_and_what_was_redacted_is_not(form: str) -> None:
    text = f'{{"line": "before {form} after"}}\n'
    assert leaks(text.encode(), ["innocent-one", KEY]) == [1]
    assert leaks(Redactor([KEY]).text(text).encode(), [KEY]) == []


def test_a_line_of_a_private_key_is_found() -> None:
    key = "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAoIB\n-----END-----\n"
    assert leaks(b"line 2 is BAQEFAASCBKcwggSjAgEAAoIB.", [key]) == [0]
    assert leaks(b"nothing of it", [key]) == []


secrets = st.lists(st.text('ab0/"\\+é \n', min_size=6, max_size=24).filter(lambda s: len(s.strip()) >= 6), max_size=4)


@settings(max_examples=200)
@given(secrets, st.text('ab0/"\\+é\n ', max_size=20), st.integers(0, 5), st.data())
def test_what_the_redactor_lets_through_holds_nothing(
    known: list[str], around: str, form: int, data: st.DataObject
) -> None:
    text = around
    for secret in known:
        shaped = [
            secret,
            json.dumps(secret),
            urllib.parse.quote(secret),
            base64.b64encode(secret.encode()).decode(),
            secret.encode().hex(),
            json.dumps(json.dumps(secret)),
        ][form]
        text += shaped + data.draw(st.sampled_from(["", " ", "\n", around]))
    assert leaks(Redactor(known).text(text).encode(), [known_one.strip() for known_one in known]) == []
