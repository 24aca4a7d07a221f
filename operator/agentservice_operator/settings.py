"""The operator's settings, from environment variables that the chart sets."""

from __future__ import annotations

import socket
from typing import Annotated, Literal

from pydantic import AliasChoices, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEFAULT_RUNTIME_IMAGE = "ghcr.io/agentservice/runtime:0.1.0"

Namespace = Annotated[str, Field(max_length=63, pattern="^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class Settings(BaseSettings):
    """One field per variable ``AGENTSERVICE_<FIELD>``; POD_NAME and POD_NAMESPACE come from the downward API."""

    model_config = SettingsConfigDict(env_prefix="AGENTSERVICE_", frozen=True)

    runtime_image: Annotated[str, Field(min_length=1)] = DEFAULT_RUNTIME_IMAGE
    """Image of agents whose spec names none."""
    watch_namespaces: Annotated[tuple[Namespace, ...], NoDecode] = ()
    """Namespaces to work in, separated by commas; empty means all of the cluster."""
    gateway_namespaces: Annotated[tuple[Namespace, ...], NoDecode] = ()
    """Namespaces of gateways and ingress controllers, whose requests every agent takes; separated by commas."""
    monitoring_namespaces: Annotated[tuple[Namespace, ...], NoDecode] = ()
    """Namespaces whose scrapers may read every agent's metrics, separated by commas."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    lease_name: Annotated[str, Field(min_length=1)] = "agentservice-operator"
    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """AgentServices reconciled side by side."""
    telemetry_host: str = "0.0.0.0"
    telemetry_port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    identity: Annotated[str, Field(validation_alias=AliasChoices("POD_NAME", "AGENTSERVICE_IDENTITY"))] = (
        socket.gethostname()
    )
    namespace: Annotated[Namespace, Field(validation_alias=AliasChoices("POD_NAMESPACE", "AGENTSERVICE_NAMESPACE"))] = (
        "default"
    )
    """Where the operator runs and the lease is."""

    @field_validator("watch_namespaces", "gateway_namespaces", "monitoring_namespaces", mode="before")
    @classmethod
    def split_namespaces(cls, value: object) -> object:
        """``team-a, team-b`` -> both, without blanks."""
        if isinstance(value, str):
            return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        return value
