"""The headers that tools are called with: literal values, and values of mounted Secrets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent_runtime.config import HeaderConfig
from agent_runtime.credentials import CredentialsFile, read_header
from agent_runtime.settings import ConfigurationError

REDACTED = "[redacted]"


class ToolHeaders:
    """The headers of one tool, as they are now.

    Args:
        headers: of the configuration.

    Raises:
        OSError, ValueError: a file cannot be read or holds no value; as credentials.read_header.
    """

    def __init__(self, headers: Sequence[HeaderConfig]) -> None:
        self._literal = {header.name: header.value for header in headers if header.value is not None}
        self._files = {
            header.name: CredentialsFile(Path(header.value_file), read_header)
            for header in headers
            if header.value_file is not None
        }
        self._secrets = {name: file.read() for name, file in self._files.items()}

    async def current(self) -> dict[str, str]:
        """The headers with the values of renewed Secrets."""
        self._secrets = {name: await file.current() for name, file in self._files.items()}
        return {**self._literal, **self._secrets}

    def redact(self, text: str) -> str:
        """What a tool returned without our secrets: some repeat the headers of a request in their errors."""
        for value in self._secrets.values():
            # Also without the scheme before it, as in Authorization: Bearer KEY.
            for secret in (value, value.partition(" ")[2]):
                if secret:
                    text = text.replace(secret, REDACTED)
        return text


def open_headers(field: str, headers: Sequence[HeaderConfig]) -> ToolHeaders:
    """The headers of one tool.

    Args:
        field: of the configuration, where they are.
        headers: as they are there.

    Raises:
        ConfigurationError: a file has no value.
    """
    try:
        return ToolHeaders(headers)
    except OSError as error:
        reason = f"{error.filename} cannot be read ({error.strerror})"
    except ValueError as error:
        reason = f"the file of a value {error}"
    raise ConfigurationError(f"{field}: {reason}; put the value into the Secret that is mounted there")
