"""One lock for all imports of provider packages that happen in threads.

These packages import themselves in circles. When two threads import one from both ends at once, Python avoids the
deadlock by giving one of them a half-initialized module, and its import fails.
"""

from __future__ import annotations

import threading
from typing import Final

IMPORTS: Final = threading.RLock()
