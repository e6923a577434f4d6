"""What the native half logs, in the logger ``arl_sandbox``."""

from __future__ import annotations

import logging

from ._native import take_logs

_LOGGER = logging.getLogger("arl_sandbox")


def pass_on() -> None:
    """Hands on what was logged since the last time."""
    for level, text in take_logs():
        _LOGGER.log(level, "%s", text)
