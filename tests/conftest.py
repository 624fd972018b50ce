"""What all tests need of the process that runs them."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

# A shell starts what it puts in the background with SIGINT ignored, `nohup` anything with SIGHUP ignored, and children
# inherit that: none of the processes that tests start would hear a Ctrl-C, or that its terminal is gone.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# A busy machine is no fault of what is tested: neither an example that takes long, nor one that takes long to make. And
# each run tries the same examples: one that fails is found by who changed the code.
settings.register_profile(
    "same everywhere", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("same everywhere")
