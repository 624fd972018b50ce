"""The patterns of policy rules match as `re` does, in linear time."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubiya_worker.tools.policy import pattern

PATTERNS = [
    "ab", "a|b+c", "(ab|a)*b", "a{2,3}b", "a{2,}", "^a", "b$", r"\bab\b", r"\Bb", "[^ab]c", "[a-b]+?c", "a.c", "(?i)AB",
    "(?s)a.b", "(?m)^b$", r"\d\w\s", "", "(|a)+b", "(a*)*c", r"\Aab\Z", "a??b", "(?:a|b){3}", r"[\d.]+", "a|^b|c$",
]  # fmt: skip


@settings(max_examples=400)
@given(st.sampled_from(PATTERNS), st.text("abcABC1 .\n", max_size=12))
def test_it_finds_what_re_finds(source: str, text: str) -> None:
    expected = re.search(source, text) is not None
    if source in ("b$", "a|^b|c$") and text.endswith("\n"):
        return  # re lets $ stand before a last line break; JSON has none
    assert pattern.compile(source).search(text) is expected


@pytest.mark.parametrize("source", ["(a+)+$", "^(a|a)*$", "(a|aa)+$", "(.*a){12}$", "a*a*a*a*a*a*b"])
def test_what_makes_other_engines_hang_takes_moments(source: str) -> None:
    begin = time.monotonic()
    assert pattern.compile(source).search("a" * 5_000 + "!") in (False, None)
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    "source",
    [r"(a)\1", "(?=a)", "(?<!a)b", "(?>a)", "a{1,5000}", "((a{50}){50}){50}", "(((){999}){999}){999}", "(", "a" * 501],
)
def test_what_it_does_not_know_it_says(source: str) -> None:
    with pytest.raises(pattern.PatternError):
        pattern.compile(source)
