"""What a spec refers to by name: it must exist before anything is rolled out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agentservice_operator.api.v1alpha1.types import AgentService, SecretKeyRef
from agentservice_operator.builders.names import generated_secret


@dataclass(frozen=True, slots=True)
class References:
    """Other objects of the same namespace; keys in them each with what it is for: ``the credentials of model main``.

    Args:
        secrets: Purpose by (Secret name, key).
        api_keys: Purpose by (Secret name, client), where somebody else keeps the keys of callers; with None for the
            client, the Secret alone must exist.
        config_maps: Purpose by (ConfigMap name, key).
        trust_bundle: ConfigMap name and key of the certificate authorities that the pods trust, where there are any.
        service_account: Name of the ServiceAccount that the pods run as, where somebody else keeps it.
    """

    secrets: dict[tuple[str, str], str]
    api_keys: dict[tuple[str, str | None], str]
    config_maps: dict[tuple[str, str], str]
    trust_bundle: tuple[str, str] | None
    service_account: str | None


class UnresolvedReference(LookupError):  # noqa: N818 - says what is wrong
    """A build was asked for without what a ConfigMap key holds that goes into the configuration or the pods."""


def references(service: AgentService) -> References:
    """Every key that the spec refers to, sorted; one that serves several purposes names them all."""
    secrets: dict[tuple[str, str], list[str]] = {}
    config_maps: dict[tuple[str, str], list[str]] = {}
    for secret, purpose in mounted_secrets(service):
        secrets.setdefault((secret.name, secret.key), []).append(purpose)
    for agent in service.spec.agents:
        if agent.system_prompt_from:
            prompt = agent.system_prompt_from.config_map_key_ref
            config_maps.setdefault((prompt.name, prompt.key), []).append(f"the system prompt of agent {agent.name}")
    for variable in service.spec.runtime.env:
        source = variable.value_from
        if source and source.secret_key_ref:
            key = (source.secret_key_ref.name, source.secret_key_ref.key)
            secrets.setdefault(key, []).append(f"the environment variable {variable.name}")
        if source and source.config_map_key_ref:
            key = (source.config_map_key_ref.name, source.config_map_key_ref.key)
            config_maps.setdefault(key, []).append(f"the environment variable {variable.name}")
    bundle = service.spec.runtime.trust_bundle
    return References(
        _sentences(secrets),
        dict(_api_keys(service)),
        _sentences(config_maps),
        (bundle.config_map_key_ref.name, bundle.config_map_key_ref.key) if bundle else None,
        service.spec.runtime.service_account.name,
    )


def mounted_secrets(service: AgentService) -> Iterator[tuple[SecretKeyRef, str]]:
    """The keys that the pods find as files, each with what it is for."""
    for model in service.spec.models:
        if model.anthropic:
            yield model.anthropic.credentials.secret_key_ref, f"the credentials of model {model.name}"
    for tool in service.spec.tools:
        for header in tool.headers:
            if header.value_from:
                yield header.value_from.secret_key_ref, f"the header {header.name} of tool {tool.name}"
    if service.spec.state.postgresql:
        yield service.spec.state.postgresql.url_from.secret_key_ref, "the URL of the database"
    if service.spec.state.redis:
        yield service.spec.state.redis.url_from.secret_key_ref, "the URL of Redis"


def api_keys_secret(service: AgentService) -> str:
    """Name of the Secret with the keys of callers: somebody else's, or the generated one."""
    reference = service.spec.access.api_keys.secret_ref
    return reference.name if reference else generated_secret(service.metadata.name)


def _api_keys(service: AgentService) -> Iterator[tuple[tuple[str, str | None], str]]:
    access = service.spec.access
    if access.api_keys.source != "Secret":
        return
    secret = api_keys_secret(service)
    for name in sorted(client.name for client in access.clients):
        yield (secret, name), f"the API key of client {name}"
    if not access.clients:
        yield (secret, None), "the API keys of callers"


def _sentences(purposes: dict[tuple[str, str], list[str]]) -> dict[tuple[str, str], str]:
    return {key: " and ".join(sorted(purposes[key])) for key in sorted(purposes)}
