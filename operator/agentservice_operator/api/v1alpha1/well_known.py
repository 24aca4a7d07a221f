"""Names that are a part of the API: people select by them, and the operator knows its own by them."""

from __future__ import annotations

SERVICE_LABEL = "agentservice.dev/service"
"""On every child and pod: the name of the AgentService."""
COMPONENT_LABEL = "app.kubernetes.io/component"
"""On every child and pod: what it is for."""
SERVER = "server"
"""The component that answers callers."""
WORKER = "worker"
"""The component that does tasks."""
REVISION_ANNOTATION = "agentservice.dev/revision"
"""On pods: what they run."""
OPTIONAL_KINDS = frozenset({"HTTPRoute", "PodMonitor", "PrometheusRule"})
"""Kinds of children that come with other projects' CustomResourceDefinitions: an API server may lack them."""
API_KEY_ROTATION_ANNOTATION = "agentservice.dev/api-key-rotation"
"""On the key Secret: the `access.apiKeys.rotation` that its key is of; absent for the first."""
TRUST_BUNDLE_ANNOTATION = "agentservice.dev/trust-bundle"
"""On pods: digest of the certificate authorities that they trust besides the public ones."""
PAUSED_ANNOTATION = "agentservice.dev/paused"
"""On an AgentService, with the value ``true``: the operator writes no child."""
FIELD_MANAGER = "agentservice-operator"
"""Owner of every field that the operator applies."""
