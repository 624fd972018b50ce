"""The budget of a whole team: the team's workflow keeps one account for each run. This module does no I/O."""

from __future__ import annotations

from typing import Any

from kubiya_worker.protocol.execution import Usage


class Ledger:
    """The ledger has one account for each run. `steps` counts model calls that were made or granted.

    An account holds everything that its run has used so far, so a report that comes twice changes nothing. The last
    report of a run takes back what was granted and not used."""

    def __init__(self, accounts: dict[str, dict[str, Any]] | None = None) -> None:
        self._accounts = {name: (int(a["steps"]), Usage.parse(a["usage"])) for name, a in (accounts or {}).items()}

    @property
    def steps(self) -> int:
        return sum(steps for steps, _ in self._accounts.values())

    def usage(self, account: str, own: Usage) -> Usage:
        """Return the usage of all runs, after the run `account` has reported `own`."""
        total = own
        for name, (_, usage) in self._accounts.items():
            total = total if name == account else total.plus(usage)
        return total

    def note(self, account: str, steps: int, usage: Usage) -> None:
        self._accounts[account] = (steps, usage)

    def grant(self, account: str, call: int) -> None:
        """Grant a run its model call of this number; 1 is its first."""
        _, usage = self._accounts.get(account, (0, Usage()))
        self._accounts[account] = (call, usage)

    def snapshot(self) -> dict[str, Any]:
        """Return the state for continue-as-new."""
        return {name: {"steps": steps, "usage": usage.wire()} for name, (steps, usage) in self._accounts.items()}
