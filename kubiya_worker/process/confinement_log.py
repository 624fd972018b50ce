"""This module tells the log at the start whether the kernel confines tools."""

from __future__ import annotations

import structlog

from kubiya_worker.tools.confinement import support

log = structlog.get_logger(__name__)


def tell() -> None:
    """Write one line: that tools are confined, or a warning with the reason where they are not."""
    if support.is_active():
        log.info("confinement.on", how=support.line())
    elif support.mode() == support.OFF:
        log.info("confinement.off", why=support.line(), remedy=support.remedy())
    else:
        log.warning("confinement.missing", why=support.line(), remedy=support.remedy())
