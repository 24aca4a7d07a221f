"""The operator's settings, from environment variables that the chart sets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AliasChoices, Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from agentservice_operator.builders.defaults import AgentDefaults, InvalidDefaults, parse_defaults

DEFAULT_RUNTIME_IMAGE = "ghcr.io/agentservice/runtime:0.1.0"

Namespace = Annotated[str, Field(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Settings(BaseSettings):
    """One field per variable ``AGENTSERVICE_<FIELD>``; POD_NAME and POD_NAMESPACE come from the downward API."""

    model_config = SettingsConfigDict(env_prefix="AGENTSERVICE_", frozen=True)

    runtime_image: Annotated[str, Field(min_length=1)] = DEFAULT_RUNTIME_IMAGE
    """Image of agents whose spec names none."""
    watch_namespaces: Annotated[tuple[Namespace, ...], NoDecode] = ()
    """Namespaces to work in, separated by commas; empty means all of the cluster."""
    agent_defaults: Annotated[AgentDefaults, NoDecode, Field(validation_alias="AGENTSERVICE_DEFAULTS_FILE")] = (
        AgentDefaults()
    )
    """The content of a YAML file: what the installation decides for all agents whose specs say nothing."""
    max_concurrent_upgrades: Annotated[str, Field(pattern="^([1-9][0-9]{0,5}|([1-9][0-9]?|100)%)$")] = "10%"
    """How many AgentServices a changed default or release may roll out at a time: a number, or a share of all."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    lease_name: Annotated[str, Field(min_length=1)] = "agentservice-operator"
    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """AgentServices reconciled side by side."""
    inquiry_seconds: Annotated[int, Field(ge=1, le=3600)] = 60
    """How often the pods of each AgentService are asked how they do."""
    telemetry_host: str = "0.0.0.0"
    telemetry_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    identity: Annotated[str, Field(validation_alias=AliasChoices("POD_NAME", "AGENTSERVICE_IDENTITY"))] = (
        socket.gethostname()
    )
    namespace: Annotated[Namespace, Field(validation_alias=AliasChoices("POD_NAMESPACE", "AGENTSERVICE_NAMESPACE"))] = (
        "default"
    )
    """Where the operator runs and the lease is."""

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def split_namespaces(cls, value: object) -> object:
        """``team-a, team-b`` -> both, without blanks."""
        if isinstance(value, str):
            return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        return value

    @field_validator("agent_defaults", mode="before")
    @classmethod
    def read_agent_defaults(cls, value: object) -> object:
        """A path -> the defaults in the file there."""
        if not isinstance(value, str):
            return value
        try:
            return read_defaults(Path(value))
        except InvalidDefaults as error:
            raise PydanticCustomError("invalid_defaults", "{error}", {"error": str(error)}) from error


def read_defaults(path: Path) -> AgentDefaults:
    """The defaults in a YAML file.

    Raises:
        InvalidDefaults: The file cannot be read, or something in it cannot be.
    """
    try:
        return parse_defaults(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise InvalidDefaults(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidDefaults(f"{path}: is not YAML: {error}") from error
    except InvalidDefaults as error:
        raise InvalidDefaults(f"{path}: {error}") from error
