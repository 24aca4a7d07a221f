"""Specs that break one rule each, and what the person is told: by the API server, and by ``parse`` without one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Final

REMOVED: Final = object()
"""As a value in a change: the field is taken away."""

ECHO: Final = {"name": "main", "provider": "Echo"}
KEY: Final = {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}
CLAUDE: Final = {"name": "main", "provider": "Anthropic", "anthropic": {"model": "claude", "credentials": KEY}}
URL: Final = {"urlFrom": {"secretKeyRef": {"name": "database", "key": "url"}}}
ASSISTANT: Final = {"name": "assistant", "systemPrompt": "Be brief."}
SPREAD: Final = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
RESERVED: Final = "keys under agentservice.dev/ and app.kubernetes.io/ are set by the operator"
MISNAMED: Final = "every key must be a name of at most 63 letters"
LONG_KEY: Final = "a" * 250 + "/bcd"
HOSTS: Final = "spec.exposure.ingress.hosts"
OVERLONG: Final = "a key has more than 253 characters"


def smallest(name: str = "hello") -> dict[str, Any]:
    """An AgentService with nothing but what is required."""
    return {
        "apiVersion": "agentservice.dev/v1alpha1",
        "kind": "AgentService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"models": [copy.deepcopy(ECHO)], "agents": [copy.deepcopy(ASSISTANT)]},
    }


def changed(changes: dict[str, Any], base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The smallest AgentService with other values at dotted paths, such as ``spec.models.0.name``."""
    service = copy.deepcopy(base or smallest())
    for path, value in changes.items():
        *parents, last = path.split(".")
        here: Any = service
        for parent in parents:
            here = here[int(parent)] if isinstance(here, list) else here.setdefault(parent, {})
        if value is REMOVED:
            del here[last]
        elif isinstance(here, list):
            here[int(last)] = copy.deepcopy(value)
        else:
            here[last] = copy.deepcopy(value)
    return service


@dataclass(frozen=True)
class Refusal:
    """A change that must be refused at ``at`` with a sentence that contains ``says``."""

    changes: dict[str, Any] = field(repr=False)
    at: str
    says: str

    def __str__(self) -> str:
        return f"{self.at}: {self.says}"


RULES = (
    Refusal(
        {"spec.state": {"backend": "PostgreSQL"}},
        "spec.state.postgreSQL",
        "postgreSQL must be set where backend is PostgreSQL",
    ),
    Refusal({"spec.state": {"backend": "Volume"}}, "spec.state.volume", "volume must be set where backend is Volume"),
    Refusal(
        {"spec.state": {"volume": {"size": "1Gi"}}}, "spec.state.volume", "volume must be set where backend is Volume"
    ),
    Refusal(
        {"spec.state": {"backend": "Volume", "volume": {"size": "1Gi"}}, "spec.replicas": 2},
        "spec.replicas",
        "a volume serves a single pod: set replicas to 1 or 0",
    ),
    Refusal(
        {"spec.state": {"backend": "Volume", "volume": {"size": "1Gi"}}, "spec.autoscaling.maxReplicas": 3},
        "spec.autoscaling",
        "a volume serves a single pod: remove autoscaling",
    ),
    Refusal(
        {"spec.access.apiKeys": {"source": "Secret"}},
        "spec.access.apiKeys.secretRef",
        "secretRef must be set where source is Secret",
    ),
    Refusal(
        {"spec.access.apiKeys": {"secretRef": {"name": "callers"}}},
        "spec.access.apiKeys.secretRef",
        "secretRef must be set where source is Secret, and only there",
    ),
    Refusal(
        {"spec.access": {"clients": [{"name": "default"}, {"name": "web"}]}},
        "spec.access.clients",
        "the generated Secret knows the client default alone",
    ),
    Refusal(
        {
            "spec.access.apiKeys": {"source": "Secret", "secretRef": {"name": "callers"}},
            "spec.access.clients": [{"name": "web.previous"}],
        },
        "spec.access.clients[0].name",
        "name must not end in .previous",
    ),
    Refusal(
        {"spec.state.redis": URL},
        "spec.state.redis",
        "redis serves pods that share a database: remove it, or set backend to PostgreSQL",
    ),
    Refusal(
        {"spec.state": {"backend": "PostgreSQL", "postgreSQL": URL}, "spec.tasks.workers": 1},
        "spec.tasks.workers",
        "set state.backend to PostgreSQL and state.redis, or set tasks.workers to 0",
    ),
    Refusal({"spec.tasks.workers": 1}, "spec.tasks.workers", "set state.backend to PostgreSQL and state.redis"),
    Refusal({"metadata.name": "1st"}, "", "metadata.name must be at most 50"),
    Refusal({"metadata.name": "a.b"}, "", "metadata.name must be at most 50"),
    Refusal({"metadata.name": "a" * 51}, "", "metadata.name must be at most 50"),
    Refusal({"metadata.name": "shop-worker"}, "", "metadata.name must not end in -worker"),
    Refusal(
        {"spec.models.0.anthropic": CLAUDE["anthropic"]}, "spec.models[0].anthropic", "anthropic must be set where"
    ),
    Refusal({"spec.models.0.provider": "Anthropic"}, "spec.models[0].anthropic", "anthropic must be set where"),
    Refusal(
        {"spec.models.0.pricing": {"inputPerMillion": "free", "outputPerMillion": "1"}},
        "spec.models[0].pricing.inputPerMillion",
        "a price must be a decimal number of USD with at most six places",
    ),
    Refusal(
        {"spec.models.0": CLAUDE, "spec.models.0.anthropic.baseURL": "https://user:pw@gateway"},
        "spec.models[0].anthropic.baseURL",
        "baseURL must be an http or https URL of host, port and path only",
    ),
    Refusal(
        {"spec.exposure": {"cors": {"allowedOrigins": ["https://App.example.com"]}}},
        "spec.exposure.cors.allowedOrigins[0]",
        "an origin must be scheme, host and port only",
    ),
    Refusal({"spec.agents.0.systemPrompt": REMOVED}, "spec.agents[0]", "set either systemPrompt or systemPromptFrom"),
    Refusal(
        {"spec.agents.0.systemPromptFrom": {"configMapKeyRef": {"name": "prompts", "key": "a"}}},
        "spec.agents[0]",
        "set either systemPrompt or systemPromptFrom",
    ),
    Refusal({"spec.agents.0.model": "other"}, "spec.agents", "the model of every agent must be the name of one"),
    Refusal(
        {"spec.agents.0.tools": ["weather"]}, "spec.agents", "the tools of every agent must be names of spec.tools"
    ),
    Refusal({"spec.models": [ECHO, ECHO | {"name": "b"}]}, "spec.defaultModel", "defaultModel is needed where there"),
    Refusal({"spec.defaultModel": "other"}, "spec.defaultModel", "defaultModel must be the name of one of the models"),
    Refusal(
        {"spec.agents": [ASSISTANT, ASSISTANT | {"name": "b"}]},
        "spec.defaultAgent",
        "defaultAgent is needed where there",
    ),
    Refusal({"spec.defaultAgent": "other"}, "spec.defaultAgent", "defaultAgent must be the name of one of the agents"),
    Refusal(
        {"spec.replicas": 2, "spec.autoscaling.maxReplicas": 3},
        "spec.replicas",
        "replicas and autoscaling exclude each other",
    ),
    Refusal(
        {"spec.autoscaling": {"minReplicas": 4, "maxReplicas": 3}},
        "spec.autoscaling.minReplicas",
        "minReplicas must not be above maxReplicas",
    ),
    Refusal(
        {"spec.runtime.rollout": {"maxSurge": "0%", "maxUnavailable": 0}},
        "spec.runtime.rollout",
        "maxSurge and maxUnavailable must not both be 0",
    ),
    Refusal(
        {"spec.runtime.serviceAccount": {"name": "cloud", "annotations": {"example.com/role": "a"}}},
        "spec.runtime.serviceAccount.annotations",
        "annotations are for the AgentService's own ServiceAccount",
    ),
    Refusal(
        {"spec.runtime.serviceAccount": {"name": "hello"}},
        "spec.runtime.serviceAccount.name",
        "serviceAccount.name must not be that of the AgentService",
    ),
    Refusal({"spec.runtime.env": [{"name": "A"}]}, "spec.runtime.env[0]", "set either value or valueFrom"),
    Refusal(
        {"spec.runtime.env": [{"name": "A", "value": "b", "valueFrom": KEY}]},
        "spec.runtime.env[0]",
        "set either value or valueFrom",
    ),
    Refusal(
        {"spec.runtime.env": [{"name": "A", "valueFrom": {}}]},
        "spec.runtime.env[0].valueFrom",
        "set either secretKeyRef or configMapKeyRef",
    ),
    *(
        Refusal(
            {"spec.runtime.env": [{"name": name, "value": "not-a-real-key"}]},
            "spec.runtime.env[0].value",
            "the name says that the value is a secret",
        )
        for name in ("API_KEY", "OPENAI_APIKEY", "github_token", "DB_PASSWORD", "Tls_Private_Key", "PASSWD", "SECRET")
    ),
    Refusal(
        {"spec.runtime.env": [{"name": "DATABASE", "value": "postgres://user:pw@db/agents"}]},
        "spec.runtime.env[0].value",
        "the value is a URL with user information",
    ),
    *(
        Refusal(
            {"spec.runtime.env": [{"name": name, "value": "1"}]},
            "spec.runtime.env[0].name",
            "are set by the operator: choose another name",
        )
        for name in ("PORT", "ADMIN_PORT", "BIND_ADDRESS", "AGENTSERVICE_CONFIG")
    ),
    Refusal(
        {"spec.runtime.resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}}},
        "spec.runtime.resources",
        "a request is above its limit",
    ),
    Refusal(
        {"spec.runtime.resources": {"requests": {"cpu": 1}, "limits": {"cpu": "900m"}}},
        "spec.runtime.resources",
        "a request is above its limit",
    ),
    *(
        Refusal(
            {"spec.networkPolicy": {"mode": "Disabled", list_name: [{}]}},
            "spec.networkPolicy.mode",
            "allowFrom and allowTo do nothing with mode Disabled",
        )
        for list_name in ("allowFrom", "allowTo")
    ),
    Refusal({"spec.exposure.ingress": {"hosts": ["Agents.example.com"]}}, f"{HOSTS}[0]", "a host must be a DNS name"),
    Refusal({"spec.exposure.ingress": {"hosts": ["a.example", "a.example"]}}, HOSTS, "a host is there twice"),
    Refusal(
        {"spec.exposure.ingress": {"hosts": ["a.example"], "path": "support"}},
        "spec.exposure.ingress.path",
        "path must begin with '/'",
    ),
    *(
        Refusal(
            {"spec.exposure.ingress": {"hosts": ["a.example"], "annotations": {key: "x"}}},
            "spec.exposure.ingress.annotations",
            says,
        )
        for key, says in (("app.kubernetes.io/name", RESERVED), ("a b", MISNAMED), (LONG_KEY, OVERLONG))
    ),
    *(
        Refusal(
            {"spec.exposure.httpRoute": {"parentRefs": [ref, ref]}},
            "spec.exposure.httpRoute.parentRefs",
            "two parentRefs name the same listeners of a Gateway",
        )
        for ref in ({"name": "a"}, {"name": "a", "namespace": "b"}, {"name": "a", "sectionName": "c"})
    ),
    *(
        Refusal(
            {"spec.exposure.httpRoute": {"parentRefs": [{"name": "a"}], "hostnames": names}},
            f"spec.exposure.httpRoute.hostnames{at}",
            says,
        )
        for names, at, says in (
            (["a.example", "a.example"], "", "a host is there twice"),
            (["A.example"], "[0]", "a host must be a DNS name"),
        )
    ),
    Refusal({"spec.runtime.tolerations": [{}]}, "spec.runtime.tolerations[0]", "needs operator Exists"),
    Refusal(
        {"spec.runtime.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
        "spec.runtime.tolerations[0].value",
        "a toleration with operator Exists has no value",
    ),
    Refusal(
        {"spec.runtime.tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]},
        "spec.runtime.tolerations[0].tolerationSeconds",
        "tolerationSeconds needs effect NoExecute",
    ),
    Refusal(
        {"spec.runtime.topologySpreadConstraints": [SPREAD | {"minDomains": 2}]},
        "spec.runtime.topologySpreadConstraints[0].minDomains",
        "minDomains needs whenUnsatisfiable DoNotSchedule",
    ),
    Refusal(
        {
            "spec.runtime.topologySpreadConstraints": [
                SPREAD | {"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}
            ]
        },
        "spec.runtime.topologySpreadConstraints[0].labelSelector.matchExpressions[0].values",
        "operators In and NotIn need values",
    ),
    *(
        Refusal({f"spec.{where}": {key: "x"}}, f"spec.{where}", says)
        for where in (
            "runtime.podLabels",
            "runtime.podAnnotations",
            "runtime.serviceAccount.annotations",
            "inheritedMetadata.labels",
            "inheritedMetadata.annotations",
            "exposure.service.annotations",
            "observability.podMonitor.labels",
            "observability.prometheusRule.labels",
        )
        for key, says in (
            ("app.kubernetes.io/name", RESERVED),
            ("agentservice.dev/service", RESERVED),
            ("sub.agentservice.dev/x", RESERVED),
            ("a b", MISNAMED),
            ("a..b/c", MISNAMED),
            ("a" * 64, MISNAMED),
            (LONG_KEY, OVERLONG),
        )
    ),
    *(
        Refusal({f"spec.runtime.{where}": {key: "1"}}, f"spec.runtime.{where}", says)
        for where in ("nodeSelector", "resources.requests", "resources.limits")
        for key, says in (("-", MISNAMED), ("c p u", MISNAMED), (LONG_KEY, OVERLONG))
    ),
    *(
        Refusal(
            {"spec.runtime.topologySpreadConstraints": [SPREAD | {"labelSelector": {"matchLabels": {key: "x"}}}]},
            "spec.runtime.topologySpreadConstraints[0].labelSelector.matchLabels",
            says,
        )
        for key, says in (("-", MISNAMED), (LONG_KEY, OVERLONG))
    ),
)
"""Broken rules of our own, whose sentences the API server and ``parse`` share."""

BOUNDS = (
    ("spec.models.0.maxTokens", 1, 200_000),
    ("spec.models.0.firstTokenTimeoutSeconds", 1, 600),
    ("spec.models.0.retries", 0, 5),
    ("spec.requestTimeoutSeconds", 1, 3600),
    ("spec.replicas", 0, 1000),
    ("spec.runtime.maxConcurrentRequests", 1, 10_000),
    ("spec.runtime.maxQueuedRequests", 0, 10_000),
    ("spec.runtime.lameDuckSeconds", 0, 60),
    ("spec.runtime.drainSeconds", 0, 3600),
    ("spec.runtime.revisionHistoryLimit", 0, 50),
    ("spec.state.retentionDays", 1, 3650),
    ("spec.runtime.rollout.progressDeadlineSeconds", 1, 86_400),
    ("spec.runtime.rollout.maxUnavailable", 0, 1000),
    ("spec.disruption.maxUnavailable", 1, 1000),
    ("spec.exposure.service.port", 1, 65_535),
)
"""Least and largest value of every number with a bound that api.md names, and of the other numbers."""

SHAPES = (
    Refusal({"spec.models": REMOVED}, "spec.models", ""),
    Refusal({"spec.models": []}, "spec.models", ""),
    Refusal({"spec.agents": REMOVED}, "spec.agents", ""),
    Refusal({"spec.models": [ECHO, ECHO], "spec.defaultModel": "main"}, "spec.models", ""),
    Refusal(
        {"spec.models": [ECHO | {"name": f"m{n}"} for n in range(17)], "spec.defaultModel": "m1"}, "spec.models", ""
    ),
    Refusal({"spec.models.0.name": "Main"}, "spec.models[0].name", ""),
    Refusal({"spec.models.0.name": ""}, "spec.models[0].name", ""),
    Refusal({"spec.models.0.name": "a" * 64}, "spec.models[0].name", ""),
    Refusal({"spec.models.0.provider": "OpenAI"}, "spec.models[0].provider", ""),
    Refusal({"spec.models.0.maxTokens": "many"}, "spec.models[0].maxTokens", ""),
    Refusal({"spec.models.0.maxTokens": True}, "spec.models[0].maxTokens", ""),
    Refusal({"spec.agents.0.systemPrompt": ""}, "spec.agents[0].systemPrompt", ""),
    Refusal({"spec.agents.0.systemPrompt": "a" * 32_769}, "spec.agents[0].systemPrompt", ""),
    Refusal({"spec.paused": "yes"}, "spec.paused", ""),
    Refusal({"spec.runtime.image": "two words"}, "spec.runtime.image", ""),
    Refusal({"spec.runtime.imagePullPolicy": "Sometimes"}, "spec.runtime.imagePullPolicy", ""),
    Refusal({"spec.runtime.resources.limits": {"cpu": "1 core"}}, "spec.runtime.resources.limits.cpu", ""),
    Refusal({"spec.runtime.resources.limits": {"cpu": -1}}, "spec.runtime.resources.limits.cpu", ""),
    Refusal({"spec.runtime.rollout.maxSurge": "half"}, "spec.runtime.rollout.maxSurge", ""),
    Refusal({"spec.disruption.maxUnavailable": "0%"}, "spec.disruption.maxUnavailable", ""),
    Refusal({"spec.disruption.maxUnavailable": "101%"}, "spec.disruption.maxUnavailable", ""),
    Refusal({"spec.disruption.maxUnavailable": ""}, "spec.disruption.maxUnavailable", ""),
    Refusal({"spec.runtime.podLabels": {"a": "b c"}}, "spec.runtime.podLabels.a", ""),
    Refusal({"spec.runtime.env": [{"name": "A B", "value": "c"}]}, "spec.runtime.env[0].name", ""),
    Refusal({"spec.runtime.tolerations": [{"key": "a", "effect": "Never"}]}, "spec.runtime.tolerations[0].effect", ""),
    Refusal({"spec.runtime.topologySpreadConstraints": [SPREAD, SPREAD]}, "spec.runtime.topologySpreadConstraints", ""),
    Refusal({"spec.exposure.service.type": "ExternalName"}, "spec.exposure.service.type", ""),
    Refusal({"spec.exposure.httpRoute": {}}, "spec.exposure.httpRoute.parentRefs", ""),
    Refusal({"spec.exposure.httpRoute": {"parentRefs": []}}, "spec.exposure.httpRoute.parentRefs", ""),
    Refusal({"spec.exposure.ingress": {}}, HOSTS, ""),
    Refusal({"spec.exposure.ingress": {"hosts": []}}, HOSTS, ""),
    Refusal({"spec.exposure.ingress": {"hosts": [f"h{n}" for n in range(17)]}}, HOSTS, ""),
    Refusal({"spec.networkPolicy.mode": "Off"}, "spec.networkPolicy.mode", ""),
    Refusal({"spec.networkPolicy.allowFrom": [{}] * 33}, "spec.networkPolicy.allowFrom", ""),
    Refusal({"spec.networkPolicy.allowTo": [{}] * 33}, "spec.networkPolicy.allowTo", ""),
    Refusal({"spec.observability.logLevel": "Trace"}, "spec.observability.logLevel", ""),
    Refusal({"spec.state.backend": "MySQL"}, "spec.state.backend", ""),
    Refusal({"spec.state": {"backend": "Volume", "volume": {}}}, "spec.state.volume.size", ""),
    Refusal({"spec.state": {"backend": "Volume", "volume": {"size": "0Gi"}}}, "spec.state.volume.size", ""),
    Refusal({"spec.state": {"backend": "Volume", "volume": {"size": "large"}}}, "spec.state.volume.size", ""),
    Refusal(
        {"spec.state": {"backend": "Volume", "volume": {"size": "1Gi", "whenDeleted": "Keep"}}},
        "spec.state.volume.whenDeleted",
        "",
    ),
    Refusal({"spec.autoscaling": {}}, "spec.autoscaling.maxReplicas", ""),
    Refusal(
        {"spec.models.0": CLAUDE, "spec.models.0.anthropic.credentials.secretKeyRef.name": "Not_A_Name"},
        "spec.models[0].anthropic.credentials.secretKeyRef.name",
        "",
    ),
    Refusal(
        {"spec.models.0": CLAUDE, "spec.models.0.anthropic.credentials.secretKeyRef.key": ".."},
        "spec.models[0].anthropic.credentials.secretKeyRef.key",
        "",
    ),
)
"""Broken types, bounds and patterns: each side has its own words, and names the field."""
