"""What all tests need of the process that runs them."""

from __future__ import annotations

import signal

# A shell starts what it puts in the background with SIGINT ignored, and children inherit that: none of the processes
# that tests start would hear a Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
