"""Files with the URL of a server, which holds its password: mounted, re-read when renewed, and never shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from agent_runtime.credentials import CredentialsFile
from agent_runtime.ending import Ending
from agent_runtime.settings import ConfigurationError


def open_url_file(path: Path, setting: str, *, check: Callable[[str], None], form: str) -> CredentialsFile:
    """The file that a setting names, read once.

    Args:
        path: of the file.
        setting: where the configuration names it.
        check: raises ValueError for what can be no such URL, with the reason and nothing of the URL.
        form: of the URLs that may be there, for people.

    Raises:
        ConfigurationError: it holds none; the message names the file and the remedy, and nothing of the URL.
    """
    url = CredentialsFile(path)
    try:
        check(url.read())
    except OSError as error:
        raise unusable(
            path, setting, f"cannot be read ({error.strerror})", "mount the Secret with the URL there"
        ) from None
    except ValueError as error:
        raise unusable(path, setting, str(error), f"put a URL {form} there") from None
    return url


def unusable(path: Path, setting: str, what: str, remedy: str) -> ConfigurationError:
    """What is said where a server cannot be used, whose URL is in a file."""
    return ConfigurationError(f"{setting} {path}: {what}; {remedy}", Ending.STATE_UNUSABLE)
