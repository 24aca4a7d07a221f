"""Who may call the agents."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from agentservice_operator.api.markers import Cel, ListMap, member_of
from agentservice_operator.api.v1alpha1.base import ApiModel, LocalObjectReference

GENERATED_CLIENT = "default"
"""The client of the generated key."""


class ApiKeys(ApiModel):
    """Keys that callers identify themselves with."""

    source: Literal["Generated", "Secret"] = "Generated"
    """Generated: the operator makes the Secret NAME-api-keys, once, with the key `default`; it stays where the source
    changes. Secret: whoever keeps the Secret of secretRef says which keys there are."""
    secret_ref: LocalObjectReference | None = None
    """The Secret with the keys of callers, and nothing else, with source Secret: each key of its data is the name of a
    client, its value one API key per line. What stands under NAME.previous is valid, too. Changes are used within
    seconds of their arrival in the pods, without a restart."""
    rotation: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """A higher number makes a new generated key. The previous one stays valid, until the next rotation."""

    rules: ClassVar = (
        *member_of("source", {"Secret": "secretRef"}),
        Cel(
            "self.rotation >= oldSelf.rotation",
            "rotation can only grow, for a key cannot come back: keep it, or raise it for a new key",
            None,
            ".rotation",
        ),
    )


class Client(ApiModel):
    """Somebody who may call."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[-_A-Za-z0-9][-._A-Za-z0-9]*$")]
    """Key in the Secret's data. Conversations, tasks and usage are those of this name, whatever its API key is."""

    rules: ClassVar = (
        Cel(
            "!self.name.endsWith('.previous')",
            "name must not end in .previous: what stands there are further keys of the client before it",
            lambda client: not client.name.endswith(".previous"),
            ".name",
        ),
    )


class Access(ApiModel):
    """Who may call the agents."""

    api_keys: ApiKeys = ApiKeys()
    """Keys that callers identify themselves with."""
    clients: Annotated[list[Client], Field(max_length=64), ListMap("name")] = []
    """Who may call; each must have a key. Absent: whoever has one. Their order means nothing."""

    rules: ClassVar = (
        Cel(
            "self.apiKeys.source == 'Secret' || !has(self.clients)"
            f" || self.clients.all(client, client.name == '{GENERATED_CLIENT}')",
            f"the generated Secret knows the client {GENERATED_CLIENT} alone: for others set apiKeys.source to Secret",
            lambda access: (
                access.api_keys.source == "Secret" or all(client.name == GENERATED_CLIENT for client in access.clients)
            ),
            ".clients",
        ),
    )
