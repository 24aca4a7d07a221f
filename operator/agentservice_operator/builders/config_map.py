"""The ConfigMap with the runtime's configuration, named after its content."""

from __future__ import annotations

import json
from collections.abc import Iterable

from agent_runtime.config import (
    API_KEYS_DIRECTORY,
    CONFIG_PATH,
    CREDENTIALS_DIRECTORY,
    STATE_BYTES_EPHEMERAL,
    STATE_PATH_EPHEMERAL,
    STATE_PATH_VOLUME,
    TRUST_BUNDLE_PATH,
    AgentConfig,
    AnthropicProvider,
    ClientConfig,
    HeaderConfig,
    HttpToolConfig,
    McpServerConfig,
    ModelConfig,
    PricingConfig,
    RuntimeConfig,
    StateConfig,
    TasksConfig,
    ToolConfig,
    WebSearchConfig,
)
from agentservice_operator.api.v1alpha1.types import (
    Agent,
    AgentService,
    Header,
    HTTPTool,
    Ingress,
    MCPServer,
    Model,
    Pricing,
    SecretKeyRef,
    State,
    Tasks,
    Tool,
)
from agentservice_operator.builders import names
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.drain import drain
from agentservice_operator.builders.hashing import short_hash
from agentservice_operator.builders.labels import Object, child_metadata
from agentservice_operator.builders.references import UnresolvedReference

CONFIG_KEY = CONFIG_PATH.rpartition("/")[2]


def build_config_map(service: AgentService, context: BuildContext) -> Object:
    """The ConfigMap NAME-config-HASH: immutable, so a pod restarted during a rollout reads what it began with.

    Raises:
        UnresolvedReference: ``context`` lacks the content of a ConfigMap key.
    """
    data = {CONFIG_KEY: _as_json(runtime_config(service, context))}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(service, names.config_map(service.metadata.name, short_hash(data))),
        "immutable": True,
        "data": data,
    }


def runtime_config(service: AgentService, context: BuildContext) -> RuntimeConfig:
    """What the spec says to the runtime. Lists are sorted by name: their order in a spec means nothing.

    Raises:
        UnresolvedReference: ``context`` lacks the content of a ConfigMap key.
    """
    spec = service.spec
    phases = drain(service)
    default_model = spec.default_model or spec.models[0].name
    return RuntimeConfig(
        service=service.metadata.name,
        namespace=service.metadata.namespace,
        models=tuple(_model(model) for model in sorted(spec.models, key=lambda model: model.name)),
        agents=tuple(
            _agent(agent, default_model, context) for agent in sorted(spec.agents, key=lambda agent: agent.name)
        ),
        default_agent=spec.default_agent or spec.agents[0].name,
        tools=tuple(_tool(tool) for tool in sorted(spec.tools, key=lambda tool: tool.name)),
        max_history_tokens=spec.max_history_tokens,
        path_prefix=_path_prefix(spec.exposure.ingress),
        cors_allowed_origins=tuple(sorted(spec.exposure.cors.allowed_origins)),
        api_docs=spec.exposure.api_docs.mode == "Enabled",
        request_timeout_seconds=spec.request_timeout_seconds,
        max_concurrent_requests=spec.runtime.max_concurrent_requests,
        max_queued_requests=spec.runtime.max_queued_requests,
        lame_duck_seconds=phases.lame_duck,
        drain_seconds=phases.drain,
        api_keys_directory=API_KEYS_DIRECTORY,
        clients=tuple(ClientConfig(name=name) for name in sorted(client.name for client in spec.access.clients)),
        trust_bundle_file=TRUST_BUNDLE_PATH if spec.runtime.trust_bundle else None,
        state=_state(spec.state),
        tasks=_tasks(spec.tasks),
        log_level=_LOG_LEVELS[spec.observability.log_level],
    )


_LOG_LEVELS = {"Debug": "debug", "Info": "info", "Warning": "warning", "Error": "error"}


def credentials_file(reference: SecretKeyRef) -> str:
    """Where the runtime finds a key of a credentials Secret."""
    return f"{CREDENTIALS_DIRECTORY}/{reference.name}/{reference.key}"


def _state(state: State) -> StateConfig:
    if state.postgresql is not None:
        return StateConfig(
            url_file=credentials_file(state.postgresql.url_from.secret_key_ref),
            redis_url_file=state.redis and credentials_file(state.redis.url_from.secret_key_ref),
            retention_days=state.retention_days,
        )
    if state.backend == "Volume":
        return StateConfig(path=STATE_PATH_VOLUME, retention_days=state.retention_days)
    return StateConfig(path=STATE_PATH_EPHEMERAL, max_bytes=STATE_BYTES_EPHEMERAL, retention_days=state.retention_days)


def _tasks(tasks: Tasks) -> TasksConfig:
    return TasksConfig(
        in_workers=tasks.workers > 0,
        concurrency=tasks.concurrency,
        timeout_seconds=tasks.timeout_seconds,
        result_ttl_seconds=tasks.result_ttl_seconds,
    )


def _model(model: Model) -> ModelConfig:
    anthropic = model.anthropic and AnthropicProvider(
        model=model.anthropic.model,
        base_url=model.anthropic.base_url,
        credentials_file=credentials_file(model.anthropic.credentials.secret_key_ref),
    )
    return ModelConfig(
        name=model.name,
        provider=model.provider,
        anthropic=anthropic,
        max_tokens=model.max_tokens,
        first_token_timeout_seconds=model.first_token_timeout_seconds,
        retries=model.retries,
        pricing=model.pricing and _pricing(model.pricing),
    )


def _pricing(pricing: Pricing) -> PricingConfig:
    return PricingConfig.model_validate(pricing.model_dump(by_alias=False))


def _agent(agent: Agent, default_model: str, context: BuildContext) -> AgentConfig:
    return AgentConfig(
        name=agent.name,
        description=agent.description,
        system_prompt=_system_prompt(agent, context),
        model=agent.model or default_model,
        tools=tuple(sorted(agent.tools)),
        max_turns=agent.max_turns,
    )


def _tool(tool: Tool) -> ToolConfig:
    return ToolConfig(
        name=tool.name,
        type=tool.type,
        http=tool.http and _http_tool(tool.http),
        mcp=tool.mcp and _mcp_server(tool.mcp),
        web_search=tool.web_search and WebSearchConfig(max_uses=tool.web_search.max_uses),
        timeout_seconds=tool.timeout_seconds,
        approval=tool.approval,
    )


def _http_tool(tool: HTTPTool) -> HttpToolConfig:
    return HttpToolConfig(
        description=tool.description,
        method=tool.method,
        url=tool.url,
        input_schema=tool.whole_input_schema,
        headers=_headers(tool.headers),
    )


def _mcp_server(server: MCPServer) -> McpServerConfig:
    return McpServerConfig(
        url=server.url,
        allowed_tools=None if server.allowed_tools is None else tuple(sorted(server.allowed_tools)),
        headers=_headers(server.headers),
    )


def _headers(headers: Iterable[Header]) -> tuple[HeaderConfig, ...]:
    return tuple(_header(header) for header in sorted(headers, key=lambda header: header.name))


def _header(header: Header) -> HeaderConfig:
    if header.value_from is None:
        return HeaderConfig(name=header.name, value=header.value)
    return HeaderConfig(name=header.name, value_file=credentials_file(header.value_from.secret_key_ref))


def _path_prefix(ingress: Ingress | None) -> str | None:
    return (ingress.path.rstrip("/") or None) if ingress else None


def _system_prompt(agent: Agent, context: BuildContext) -> str:
    if agent.system_prompt_from is None:
        return agent.system_prompt or ""
    reference = agent.system_prompt_from.config_map_key_ref
    try:
        return context.config_map_values[reference.name, reference.key]
    except KeyError:
        raise UnresolvedReference(
            f"agent {agent.name}: systemPromptFrom: ConfigMap {reference.name} with key {reference.key} was not found: "
            "create it in the namespace of the AgentService"
        ) from None


def _as_json(config: RuntimeConfig) -> str:
    """Indented, because people read it with kubectl; keys sorted, because its hash names the ConfigMap."""
    document = config.model_dump(mode="json", exclude_none=True)
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
