"""Every way in which a secret shows up, whole and in pieces; judged by the support bundle's second look."""

from __future__ import annotations

import pytest

from kubiya_worker.leak_check import leaks
from kubiya_worker.tools.redaction import REDACTED, Redactor
from tests.unit.tools.leaks import BENIGN, FORMS, LEAKS, filled

SECRETS = {
    "control plane": "kby_Zq3-canary_0aB9xYw7LmN5pQr2",
    "model": "sk-can/4ry+K3y=q\\u0041\"z'<9>",
    "environment": "gh0_cänary/é+ø %41&x\ttab",
}
REDACTOR = Redactor(SECRETS.values())


def pieces(text: str, size: int) -> str:
    """Return what a stream shows of a text that arrives in pieces of `size` characters."""
    stream = REDACTOR.stream()
    shown = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    return "".join([*shown, stream.flush()])


def test_the_lists_are_as_long_as_promised() -> None:
    assert len(LEAKS) >= 40 and len(BENIGN) >= len(LEAKS)
    used = " ".join(LEAKS)
    assert all(f"{{{{{form}}}}}" in used for form in FORMS)


@pytest.mark.parametrize("case", LEAKS)
def test_no_form_of_a_secret_is_left(case: str) -> None:
    for secret in SECRETS.values():
        text = filled(case, secret)
        assert leaks(text.encode(), [secret]) == [0]  # or the case shows nothing
        shown = REDACTOR.text(text)
        assert REDACTED in shown
        assert leaks(shown.encode(), [secret]) == []
        for size in (1, 2, 3, 5, 8, 13, len(text) // 2 + 1):
            assert pieces(text, size) == shown


@pytest.mark.parametrize("case", BENIGN)
def test_what_is_no_secret_stays_as_it_is(case: str) -> None:
    assert REDACTOR.text(case) == case
    for size in (1, 2, 3, 5, 8):
        assert pieces(case, size) == case
