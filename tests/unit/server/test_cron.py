"""A cron expression is translated for Temporal, or refused."""

from __future__ import annotations

import pytest

from kubiya_worker.server import cron, template


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("*/15 9-17 * * mon-fri", ["0,15,30,45 9,10,11,12,13,14,15,16,17 * * 1,2,3,4,5"]),
        ("0 2 * * *", ["0 2 * * *"]),
        ("  0\t2 * *  7 ", ["0 2 * * 0"]),
        ("0 0 * JAN,dec *", ["0 0 * 1,12 *"]),
        ("5/20 * * * *", ["5,25,45 * * * *"]),
        ("0 0 * * fri-sun", ["0 0 * * 0,5,6"]),
        ("0 0 * * */2", ["0 0 * * 0,2,4,6"]),
        ("0 0 13 * 5", ["0 0 13 * *", "0 0 * * 5"]),  # the 13th, and each Friday: cron's either, not both
        ("0 0 */2 * 1", ["0 0 1,3,5,7,9,11,13,15,17,19,21,23,25,27,29,31 * 1"]),
        ("@daily", ["0 0 * * *"]),
        ("@Weekly", ["0 0 * * 0"]),
        ("0 0 29 2 *", ["0 0 29 2 *"]),
    ],
)
def test_a_schedule_as_temporal_takes_it(text: str, lines: list[str]) -> None:
    assert cron.expressions(text) == lines


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "five fields"),
        ("* * * *", "not 4"),
        ("0 0 1 1 * 2030", "not 6"),
        ("60 * * * *", "'60' is no minute: 0 to 59"),
        ("* 24 * * *", "no hour"),
        ("* * 0 * *", "no day of month"),
        ("* * * 13 *", "1 to 12, or jan to dec"),
        ("* * * * 8", "no day of week"),
        ("*/0 * * * *", "no minute"),
        ("5-1 * * * *", "goes backwards"),
        ("1,,2 * * * *", "no minute"),
        ("٣ * * * *", "no minute"),
        ("-1 * * * *", "no minute"),
        ("0 0 31 2,4 *", "no month that is named has that day"),
        ("@reboot", "none of @hourly"),
        ("@every 5m", "five fields"),
    ],
)
def test_what_is_no_schedule_is_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        cron.expressions(text)
    assert "\n" not in str(refused.value)


def test_a_time_zone_has_to_be_one() -> None:
    cron.check_zone("Europe/Berlin")
    cron.check_zone("UTC")
    for name in ("Europe/Atlantis", "", "../etc/passwd", "+02:00"):
        with pytest.raises(ValueError, match="no time zone"):
            cron.check_zone(name)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{a}} and {{ a }}", "1 and 1"),
        ("{{issue.title}} by {{issue.labels.1}}", "{{a}} by two"),  # what is filled in is not filled in again
        ("{{payload.a}} {{issue.labels}}", '1 ["one", "two"]'),
        ("{{.secret.A}} {{ {{", "{{.secret.A}} {{ {{"),
        ("{{flag}} {{none}}", "true null"),
        ("{{dotted.name}}", "whole"),
    ],
)
def test_a_prompt_is_filled_in(text: str, filled: str) -> None:
    values = {"a": 1, "issue": {"title": "{{a}}", "labels": ["one", "two"]}, "flag": True, "none": None}
    assert template.fill(text, {**values, "dotted.name": "whole"}) == (filled, [])


def test_what_is_lacking_is_named_once() -> None:
    assert template.fill("{{a.b}} {{c}} {{c}} {{l.9}}", {"a": "x", "l": []})[1] == ["a.b", "c", "l.9"]
    assert template.fill("{{payload}}", {"a": 1}) == ('{"a": 1}', [])
    assert template.holes("{{b}} {{a.x}} {{b}} {{.env.C}}") == ["b", "a.x"]
