"""The backoff decides when a child starts again, or that it does not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubiya_worker._supervisor.backoff import Death, GiveUp, StartAt, decide
from kubiya_worker._supervisor.spec import Spec

SPEC = Spec(argv=("/bin/true",), pid_file="/p", log_file="/l", state_file="/s")
CRASH, NETWORK = Death("crash", 1), Death("network", 69)


def delay(*deaths: Death, chance: float = 1.0, spec: Spec = SPEC) -> float:
    decision = decide(deaths, 100.0, lambda: chance, spec)
    assert isinstance(decision, StartAt)
    return decision.at - 100.0


def test_delays_double_from_two_seconds_to_five_minutes() -> None:
    assert [delay(*[CRASH] * n) for n in range(1, 11)] == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_jitter_is_full() -> None:
    assert [delay(CRASH, CRASH, chance=chance) for chance in (0.0, 0.5, 1.0)] == [0, 2, 4]


def test_a_minute_of_health_begins_anew() -> None:
    assert delay(CRASH, CRASH, CRASH, Death("crash", 1, healthy=60.0)) == 2
    assert delay(CRASH, CRASH, CRASH, Death("crash", 1, healthy=59.9)) == 16
    assert delay(Death("crash", 1, healthy=60.0), CRASH) == 4


def test_a_restart_that_was_asked_for_begins_anew_and_at_once() -> None:
    assert delay(CRASH, CRASH, Death("asked", 0)) == 0
    assert delay(CRASH, CRASH, Death("asked", 0), CRASH) == 2


def test_the_network_is_waited_for_for_ever() -> None:
    spec = Spec(argv=("/bin/true",), pid_file="/p", log_file="/l", state_file="/s", give_up_after=2)
    assert delay(*[NETWORK] * 1000, spec=spec) == 300
    assert delay(CRASH, *[NETWORK] * 50, spec=spec) == 300


def test_codes_that_another_try_does_not_change_end_it() -> None:
    for code in (64, 77, 78):
        decision = decide([CRASH, Death("once", code)], 0.0, lambda: 0.0, SPEC)
        assert isinstance(decision, GiveUp) and decision.code == code and str(code) in decision.why


def test_a_limit_of_crashes_ends_it_with_the_last_code() -> None:
    spec = Spec(argv=("/bin/true",), pid_file="/p", log_file="/l", state_file="/s", give_up_after=3)
    assert isinstance(decide([CRASH, CRASH], 0.0, lambda: 0.0, spec), StartAt)
    assert decide([CRASH, CRASH, Death("hung", 137)], 0.0, lambda: 0.0, spec) == GiveUp(137, "3 crashes in a row")


@given(
    st.lists(
        st.builds(
            Death, st.sampled_from(["crash", "hung", "network", "asked"]), st.integers(1, 255), st.floats(0, 1e5)
        ),
        min_size=1,
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_no_delay_is_ever_outside_the_bounds(deaths: list[Death], chance: float) -> None:
    assert 0 <= delay(*deaths, chance=chance) <= 300
