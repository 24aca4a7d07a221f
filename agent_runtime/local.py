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
_PROVIDER_KEY, _DATABASE_URL, _REDIS_URL = "provider-key", "database-url", "redis-url"


def _separated(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


class LocalSettings(BaseSettings):
    """The variables that make a configuration, out of the environment or the file ``.env`` of the working directory."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, env_file=ENV_FILE, extra="ignore")

    anthropic_api_key: Annotated[SecretStr | None, Field(validation_alias="ANTHROPIC_API_KEY")] = None
    """Absent: Echo answers."""
    database_url: Annotated[SecretStr | None, Field(validation_alias="DATABASE_URL")] = None
    """``postgresql://...``; absent: SQLite in the data folder."""
    redis_url: Annotated[SecretStr | None, Field(validation_alias="REDIS_URL")] = None
    """``redis://...``; absent: processes that share a database look into it by themselves."""
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
        ConfigurationError: a variable cannot be, or is missing in production; or the block finds that a file cannot be,
            which is then said of its variable.
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
        config = RuntimeConfig(
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
            api_keys_directory=str(settings.data / "api-keys"),
            state=_state(settings, folder),
            log_level=settings.log_level,
        )
        try:
            yield config
        except ConfigurationError as error:
            raise _of_variables(error, folder) from None


def _of_variables(error: ConfigurationError, folder: Path) -> ConfigurationError:
    """The same, of the variables: nobody has seen the files."""
    words = {
        f"models[{_MODEL}].anthropic.credentials_file: {folder / _PROVIDER_KEY}": "ANTHROPIC_API_KEY",
        f"state.url_file {folder / _DATABASE_URL}": "DATABASE_URL",
        f"state.redis_url_file {folder / _REDIS_URL}": "REDIS_URL",
        "put the API key into the Secret that is mounted there": "correct it or unset it",
        "cors_allowed_origins": "CORS_ORIGINS",
    }
    message = str(error)
    for of_file, of_variable in words.items():
        message = message.replace(of_file, of_variable)
    return ConfigurationError(message, error.ending)


def make_first_key(config: RuntimeConfig) -> None:
    """Make a key for callers, where there is none.

    Raises:
        ConfigurationError: the folder cannot be used.
    """
    folder = Path(config.api_keys_directory)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            _write_private(folder / DEFAULT_CLIENT, secrets.token_urlsafe(32))
            _log.info("API key made", file=str(folder / DEFAULT_CLIENT))
    except OSError as error:
        raise ConfigurationError(
            f"AGENTSERVICE_DATA {folder.parent}: cannot be used ({error.strerror}); set it to a folder of yours",
            Ending.STATE_UNUSABLE,
        ) from None


def _model(key: SecretStr | None, folder: Path) -> ModelConfig:
    reach = None
    if key is not None:
        reach = AnthropicProvider(model=DEFAULT_MODEL, credentials_file=_secret_file(key, folder / _PROVIDER_KEY))
    return ModelConfig(
        name=_MODEL,
        provider="Anthropic" if reach else "Echo",
        anthropic=reach,
        max_tokens=4096,
        first_token_timeout_seconds=20,
        retries=1,
    )


def _state(settings: LocalSettings, folder: Path) -> StateConfig:
    database, redis = settings.database_url, settings.redis_url
    return StateConfig(
        path=None if database else str(settings.data / "state.db"),
        url_file=_secret_file(database, folder / _DATABASE_URL) if database else None,
        redis_url_file=_secret_file(redis, folder / _REDIS_URL) if redis else None,
        retention_days=30,
    )


def _secret_file(secret: SecretStr, path: Path) -> str:
    _write_private(path, secret.get_secret_value())
    return str(path)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
