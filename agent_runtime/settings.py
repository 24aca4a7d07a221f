"""What one process is told: the environment, the mounted configuration, and whether both make sense together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent_runtime.config import ADMIN_PORT, CONFIG_PATH, SCHEMA_VERSION, SERVING_PORT, RuntimeConfig
from agent_runtime.ending import Ending

ENV_FILE = ".env"
"""Read where there is no configuration: in a pod, the operator has said everything."""
Environment = Literal["development", "production"]
Port = Annotated[int, Field(ge=0, le=65535)]


class ConfigurationError(Exception):
    """The process cannot serve as it is configured; the message is one sentence with the place and the remedy.

    The message is for the log. What is shown beyond it is ``ending``, one word of a closed list.
    """

    def __init__(self, message: str, ending: Ending = Ending.CONFIGURATION_REFUSED) -> None:
        super().__init__(message)
        self.ending = ending


class Settings(BaseSettings):
    """The environment variables that the process reads."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    config_path: Annotated[Path, Field(validation_alias="AGENTSERVICE_CONFIG")] = Path(CONFIG_PATH)
    revision: Annotated[str, Field(validation_alias="AGENTSERVICE_REVISION")] = ""
    """Digest of the pod template, as the operator knows it."""
    environment: Annotated[Environment, Field(validation_alias="ENVIRONMENT")] = "development"
    """In production, what is convenient and weak is refused."""
    log_format: Annotated[Literal["json", "text"], Field(validation_alias="LOG_FORMAT")] = "json"
    bind_address: Annotated[str, Field(validation_alias="BIND_ADDRESS")] = ""
    """Address that both ports listen on; empty: all of them, IPv4 and IPv6."""
    port: Annotated[Port, Field(validation_alias="PORT")] = SERVING_PORT
    admin_port: Annotated[Port, Field(validation_alias="ADMIN_PORT")] = ADMIN_PORT

    @property
    def local(self) -> bool:
        """Whether nobody rendered a configuration; in a pod of the operator, which says a revision, that is a fault."""
        named = "config_path" in self.model_fields_set or self.revision
        return not named and not self.config_path.exists()


def load_settings() -> Settings:
    """Read the environment and, where there is no configuration, the file ``.env`` too.

    Raises:
        ConfigurationError: a variable has a value that cannot be.
    """
    try:
        settings = Settings()
        return Settings(_env_file=ENV_FILE) if settings.local else settings
    except ValidationError as error:
        raise ConfigurationError(
            f"environment variable {first_problem(error)}; correct it or unset it", Ending.ENVIRONMENT_REFUSED
        ) from None


def load_config(path: Path) -> RuntimeConfig:
    """Read and check the mounted configuration.

    Raises:
        ConfigurationError: the file is missing, unreadable, too new, or contradicts itself.
    """
    try:
        raw = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: there is no such file; mount the ConfigMap there or name another file in AGENTSERVICE_CONFIG",
            Ending.CONFIGURATION_UNREADABLE,
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read ({error.strerror}); mend its mount or its mode", Ending.CONFIGURATION_UNREADABLE
        ) from None
    except orjson.JSONDecodeError as error:
        raise ConfigurationError(
            f"{path}: is not JSON ({error}); render it again with agentctl or the operator",
            Ending.CONFIGURATION_UNREADABLE,
        ) from None

    # Looked at before the rest: a newer schema may fail in ways whose messages would mislead.
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ConfigurationError(
            f"{path}: schema_version {version} is newer than the {SCHEMA_VERSION} that this image understands; "
            "use a newer runtime image",
            Ending.CONFIGURATION_TOO_NEW,
        )
    try:
        config = RuntimeConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {first_problem(error)}; correct the AgentService") from None
    for problem in _contradictions(config):
        raise ConfigurationError(f"{path}: {problem}; correct the AgentService")
    return config


def _contradictions(config: RuntimeConfig) -> Iterable[str]:
    models = [model.name for model in config.models]
    agents = [agent.name for agent in config.agents]
    tools = [tool.name for tool in config.tools]
    for field, names in (("models", models), ("agents", agents), ("tools", tools)):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{field}: the name {name!r} is given {count} times"
    yield from _missing_members(config)
    for agent in config.agents:
        if agent.model not in models:
            yield f"agents[{agent.name}].model: there is no model {agent.model!r}, only {', '.join(models)}"
        for tool in agent.tools:
            if tool not in tools:
                yield f"agents[{agent.name}].tools: there is no tool {tool!r}, only {', '.join(tools) or 'none'}"
    yield from _state_contradictions(config)
    if config.default_agent not in agents:
        yield f"default_agent: there is no agent {config.default_agent!r}, only {', '.join(agents)}"


def _state_contradictions(config: RuntimeConfig) -> Iterable[str]:
    if (config.state.path is None) == (config.state.url_file is None):
        yield "state: needs either path or url_file"
    if config.tasks.in_workers and config.state.url_file is None:
        yield "tasks.in_workers: workers need a database that they share, state.url_file"


def _missing_members(config: RuntimeConfig) -> Iterable[str]:
    for model in config.models:
        if model.provider == "Anthropic" and model.anthropic is None:
            yield f"models[{model.name}].anthropic: is required for provider Anthropic"
    for tool in config.tools:
        if tool.type == "HTTP" and tool.http is None:
            yield f"tools[{tool.name}].http: is required for type HTTP"
        if tool.type == "MCP" and tool.mcp is None:
            yield f"tools[{tool.name}].mcp: is required for type MCP"
        if tool.type == "WebSearch" and tool.web_search is None:
            yield f"tools[{tool.name}].web_search: is required for type WebSearch"


def first_problem(error: ValidationError) -> str:
    """Where the first thing is that cannot be, and why; never the value, which may be a secret."""
    problem = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    return f"{place}: {problem['msg']}"
