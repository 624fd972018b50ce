"""This module tells the log at the start whether the kernel confines tools."""

from __future__ import annotations

import structlog

from kubiya_worker.tools.confinement import support

log = structlog.get_logger(__name__)


def tell() -> None:
    """Write one line: a warning with the reason where tools run unconfined, and only for debugging where it is off.

    Off is the default; `kubiya worker status` and `kubiya doctor` say it.
    """
    if support.is_active():
        log.info("confinement.on", how=support.line())
    elif support.mode() == support.OFF:
        log.debug("confinement.off", why=support.line())
    else:
        log.warning("confinement.missing", why=support.line(), remedy=support.remedy())
