"""This module has one worker that a bundle tells about: what its process says of itself, and who knows its secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from kubiya_worker.launch.report import WorkerReport
from kubiya_worker.support import bundle_parts
from kubiya_worker.support.bundle_parts import Part


@dataclass(frozen=True)
class WorkerSubject:
    """A worker with the variables of its process, of which the secrets are overwritten; None where nobody may read."""

    report: WorkerReport
    environ: Mapping[str, str] | None = field(repr=False)

    @classmethod
    def of(cls, report: WorkerReport) -> WorkerSubject:
        return cls(report, bundle_parts.environ_of(report))

    @property
    def redaction(self) -> str:
        """Return the address at which the worker itself removes its secrets; empty where it does not run."""
        return str(self.report.live_status.get("redaction") or "")

    @property
    def readable(self) -> dict[str, str]:
        """Return the variables whose values are not overwritten."""
        variables = self.environ or {}
        return {name: value for name, value in variables.items() if not bundle_parts.is_overwritten(value)}

    def unknown_secrets(self, own: Mapping[str, str]) -> list[str]:
        """Return the names of secrets that neither the worker can remove, nor this shell, with `own`, can know."""
        return [] if self.redaction else bundle_parts.unknown_secrets(self.environ or {}, own)

    def parts(self, share: int, own: Mapping[str, str]) -> Iterator[Part]:
        """Yield its parts; without its logs where these may hold a secret that nobody here knows."""
        parts = bundle_parts.of_worker(self.report, self.environ, share)
        return bundle_parts.without_logs(parts, self.unknown_secrets(own))
