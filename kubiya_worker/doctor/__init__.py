"""What can be wrong on this host, looked at one thing at a time; each finding says the command that mends it."""

from kubiya_worker.doctor.check import FAIL, PASS, SKIP, WARN, Check, Finding, Report, examine
from kubiya_worker.doctor.checks import checks

__all__ = ["FAIL", "PASS", "SKIP", "WARN", "Check", "Finding", "Report", "checks", "examine"]
