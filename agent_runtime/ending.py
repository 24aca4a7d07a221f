"""Why a process could not serve, in words from a closed list: what may be shown to whoever may read pods.

A log line may hold anything, a key too. So the line goes to the log, and only one of these words to the termination
message of the container, where the operator finds it. Like the configuration, this module is shared with the operator.
"""

from __future__ import annotations

import os
from contextlib import suppress
from enum import StrEnum

TERMINATION_LOG = "/dev/termination-log"
"""Where the kubelet looks, unless the container says another place."""
_PREFIX = "agentservice: "


class Ending(StrEnum):
    """What was wrong."""

    ENVIRONMENT_REFUSED = "EnvironmentRefused"
    CONFIGURATION_UNREADABLE = "ConfigurationUnreadable"
    CONFIGURATION_TOO_NEW = "ConfigurationTooNew"
    CONFIGURATION_REFUSED = "ConfigurationRefused"
    API_KEYS_UNUSABLE = "APIKeysUnusable"
    CREDENTIALS_UNUSABLE = "CredentialsUnusable"
    STATE_UNUSABLE = "StateUnusable"
    PORT_UNAVAILABLE = "PortUnavailable"


def leave(ending: Ending, path: str = TERMINATION_LOG) -> None:
    """Leave the word behind; outside of a pod there is nobody to read it, and no file is made."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{_PREFIX}{ending}")


def read(message: str | None) -> Ending | None:
    """The word of a termination message; None for every other text, whatever it says."""
    words = {f"{_PREFIX}{ending}": ending for ending in Ending}
    return words.get((message or "").strip())
