"""Without Kubernetes: a configuration from a few variables, for laptops and compose, as the operator would render it.

Secrets become private files, as they are in a pod: those out of variables in a folder that goes with the process, the
key of callers in the data folder, which stays.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from pydantic import BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agent_runtime.config import (
    DEFAULT_CLIENT,
    AgentConfig,
    AnthropicProvider,
    ModelConfig,
    Origin,
    RuntimeConfig,
    StateConfig,
)
from agent_runtime.ending import Ending
from agent_runtime.settings import ENV_FILE, ConfigurationError, Environment, first_problem

_log = structlog.get_logger()

DEFAULT_MODEL = "claude-sonnet-5-5"
_AGENT = "assistant"
_MODEL = "main"
_POSTGRESQL = ("postgresql://", "postgres://")


def _separated(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class LocalSettings(BaseSettings):
    """The variables that make a configuration, out of the environment or the file ``.env`` of the working directory."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, env_file=ENV_FILE, extra="ignore")

    anthropic_api_key: Annotated[SecretStr | None, Field(validation_alias="ANTHROPIC_API_KEY")] = None
    """Absent: Echo answers."""
    database_url: Annotated[SecretStr | None, Field(validation_alias="DATABASE_URL")] = None
    """``postgresql://...``; absent: SQLite in the data folder."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Field(validation_alias="LOG_LEVEL")] = "info"
    cors_origins: Annotated[
        tuple[Origin, ...], NoDecode, BeforeValidator(_separated), Field(validation_alias="CORS_ORIGINS")
    ] = ()
    """Separated by commas."""
    data: Annotated[Path, Field(validation_alias="AGENTSERVICE_DATA")] = Path("agentservice-data")
    """Folder with the database and the API keys of callers; made where there is none."""


@contextmanager
def local_config(environment: Environment) -> Iterator[RuntimeConfig]:
    """The configuration of one agent; the files that it names are there as long as the block runs.

    Raises:
        ConfigurationError: a variable cannot be, or is missing in production.
    """
    try:
        settings = LocalSettings()
    except ValidationError as error:
        raise ConfigurationError(
            f"environment variable {first_problem(error)}; correct it or unset it", Ending.ENVIRONMENT_REFUSED
        ) from None
    if settings.anthropic_api_key is None and environment == "production":
        raise ConfigurationError(
            "ANTHROPIC_API_KEY is not set, and Echo is no agent for ENVIRONMENT=production; set it, or mount a "
            "configuration and name it in AGENTSERVICE_CONFIG",
            Ending.ENVIRONMENT_REFUSED,
        )
    with tempfile.TemporaryDirectory(prefix="agentservice-") as name:
        folder = Path(name)
        yield RuntimeConfig(
            service="local",
            namespace="local",
            models=(_model(settings.anthropic_api_key, folder),),
            agents=(AgentConfig(name=_AGENT, system_prompt="You are a helpful assistant.", model=_MODEL),),
            default_agent=_AGENT,
            cors_allowed_origins=settings.cors_origins,
            api_docs=environment != "production",
            request_timeout_seconds=120,
            max_concurrent_requests=256,
            max_queued_requests=256,
            lame_duck_seconds=0,
            drain_seconds=10,
            api_keys_directory=str(_api_keys(settings.data)),
            state=_state(settings, folder),
            log_level=settings.log_level,
        )


def _model(key: SecretStr | None, folder: Path) -> ModelConfig:
    reach = None
    if key is not None:
        file = folder / "anthropic"
        _write_private(file, key.get_secret_value())
        reach = AnthropicProvider(model=DEFAULT_MODEL, credentials_file=str(file))
    return ModelConfig(
        name=_MODEL,
        provider="Anthropic" if reach else "Echo",
        anthropic=reach,
        max_tokens=4096,
        first_token_timeout_seconds=20,
        retries=1,
    )


def _state(settings: LocalSettings, folder: Path) -> StateConfig:
    if settings.database_url is None:
        return StateConfig(path=str(settings.data / "state.db"), retention_days=30)
    url = settings.database_url.get_secret_value()
    if not url.startswith(_POSTGRESQL):
        raise ConfigurationError(
            "DATABASE_URL is no postgresql:// URL; correct it, or unset it for SQLite in AGENTSERVICE_DATA",
            Ending.ENVIRONMENT_REFUSED,
        )
    file = folder / "database-url"
    _write_private(file, url)
    return StateConfig(url_file=str(file), retention_days=30)


def _api_keys(data: Path) -> Path:
    """The folder with the keys of callers; a first one is made where there is none."""
    folder = data / "api-keys"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            _write_private(folder / DEFAULT_CLIENT, secrets.token_urlsafe(32))
            _log.info("API key made", file=str(folder / DEFAULT_CLIENT))
    except OSError as error:
        raise ConfigurationError(
            f"AGENTSERVICE_DATA {data}: cannot be used ({error.strerror}); set it to a folder of yours",
            Ending.STATE_UNUSABLE,
        ) from None
    return folder


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
