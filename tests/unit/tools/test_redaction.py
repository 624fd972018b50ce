"""Every form of a secret is replaced, also in a stream that arrives in pieces."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubiya_worker.tools.redaction import REDACTED, Redactor
from tests.unit.secret_forms import FORMS, KEY

secrets = st.lists(st.text('ab/"\\+é ', min_size=1, max_size=12), max_size=4)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_secret_is_replaced(form: str) -> None:
    redacted = Redactor([KEY]).text(f"before {form} after")
    assert REDACTED in redacted
    assert redacted.startswith("before ") and redacted.endswith(" after")
    for known in (KEY, "kby_", KEY.encode().hex(), base64.b64encode(KEY.encode())[4:-4].decode()):
        assert known.lower() not in redacted.lower()


def test_innocent_text_stays_as_it_is() -> None:
    text = "the quick brown fox"
    assert Redactor([KEY, "", "fox", "quick"]).text(text) is text


def test_overlapping_secrets_leave_nothing_of_either() -> None:
    assert Redactor(["abcdefgh", "efghijkl"]).text("-abcdefghijkl-") == f"-{REDACTED}-"


def test_the_lines_of_a_private_key_are_secrets() -> None:
    key = "-----BEGIN-----\nMIIEvQIBADANBgkqhkiG9w0\nBAQEFAASCBKcwggSjAgEAAoIB\n-----END-----\n"
    assert "BAQEFAAS" not in Redactor([key]).text("line 2 is BAQEFAASCBKcwggSjAgEAAoIB")


def test_values_are_redacted_through_keys_lists_and_numbers() -> None:
    redactor = Redactor(["secret-one", "12345678"])
    value = {"a": ["x secret-one", ("secret-one", 5, True, None)], "secret-one": {"n": 12345678, "f": 1.5}}
    assert redactor.value(value) == {
        "a": [f"x {REDACTED}", (REDACTED, 5, True, None)],
        REDACTED: {"n": REDACTED, "f": 1.5},
    }


@settings(max_examples=300)
@given(secrets, st.lists(st.text('ab/"\\+é ', max_size=8), max_size=12), st.data())
def test_a_stream_gives_what_the_whole_text_gives(words: list[str], texts: list[str], data: st.DataObject) -> None:
    redactor = Redactor(words)
    text = "".join(piece + (data.draw(st.sampled_from(words)) if words else "") for piece in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    stream = redactor.stream()
    shown = [stream.feed(text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join([*shown, stream.flush()]) == redactor.text(text)


@settings(max_examples=100)
@given(st.text(min_size=6, max_size=30).filter(lambda text: len(text.strip()) >= 6 and "[redacted]" not in text))
def test_no_secret_survives_a_character_at_a_time(secret: str) -> None:
    stream = Redactor([secret]).stream()
    shown = "".join(stream.feed(char) for char in f"x{secret}y{secret}{secret}z") + stream.flush()
    assert secret not in shown.replace(REDACTED, "\0")


def test_a_stream_holds_back_no_more_than_a_possible_beginning() -> None:
    stream = Redactor(["secret-one"]).stream()
    assert stream.feed("hello ") == "hello "
    assert stream.feed("the sec") == "the "
    assert stream.feed("ond") == "second"
    assert stream.feed(" secret-on") == " "
    assert stream.feed("e!") == f"{REDACTED}!"
    assert stream.flush() == ""
