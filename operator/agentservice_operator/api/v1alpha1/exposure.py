"""How callers reach the agents: the Service, and what leads to it from outside the cluster."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agent_runtime.config import ORIGIN_PATTERN
from agentservice_operator.api.markers import Atomic, Cel, SetList, matching
from agentservice_operator.api.v1alpha1.base import Annotations, ApiModel, DnsLabel, DnsSubdomain

Host = Annotated[
    str,
    Field(min_length=1, max_length=253),
    matching(
        r"^(\*\.)?([a-z0-9]([-a-z0-9]*[a-z0-9])?\.)*[a-z]([-a-z0-9]*[a-z0-9])?$",
        "a host must be a DNS name in lower case, such as agents.example.com or *.example.com, without scheme and port",
    ),
]
UNIQUE = Cel(
    "self.all(host, self.exists_one(other, other == host))",
    "a host is there twice: remove one",
    lambda hosts: len(set(hosts)) == len(hosts),
)
UrlPath = Annotated[
    str,
    Field(min_length=1, max_length=256),
    matching(
        r"^(/|(/\.?[-A-Za-z0-9_~][-A-Za-z0-9_.~]*)+/?)$",
        "path must begin with '/' and be made of letters, digits, '-', '_', '.' and '~' between single slashes",
    ),
]


class ServiceExposure(ApiModel):
    """The Service in front of the pods."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    """Type of the Service."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 80
    """Port of the Service."""
    annotations: Annotations = {}
    """Further annotations of the Service, such as a cloud's load balancer reads."""


class IngressTLS(ApiModel):
    """How the ingress controller answers on https."""

    secret_name: DnsSubdomain | None = None
    """Secret of type kubernetes.io/tls with the certificate of the hosts; others may make it later, as cert-manager
    does. Absent: the controller's own certificate."""


class Ingress(ApiModel):
    """An Ingress to the Service."""

    class_name: DnsSubdomain | None = None
    """IngressClass. Absent: the cluster's default one."""
    hosts: Annotated[list[Host], Field(min_length=1, max_length=16), Atomic(), UNIQUE]
    """Host names that lead to the agents; status.url shows the first one without a wildcard."""
    path: UrlPath = "/"
    """Below which path the agents answer on these hosts: with /support, chats go to /support/v1/chat. The agents cut it
    off themselves, and do not mind a controller that does. A new path is rolled out."""
    tls: IngressTLS | None = None
    """Serve the hosts on https. Absent: on http, unless the controller is told otherwise by annotations."""
    annotations: Annotations = {}
    """Further annotations of the Ingress, such as its controller reads."""


class ParentRef(ApiModel):
    """A Gateway, or one listener of it."""

    name: DnsSubdomain
    """Name of the Gateway."""
    namespace: DnsLabel | None = None
    """Namespace of the Gateway, whose listeners say which others they take routes from. Absent: that of the
    AgentService."""
    section_name: DnsSubdomain | None = None
    """Name of the listener. Absent: all that take the route."""
    port: Annotated[int | None, Field(ge=1, le=65_535)] = None
    """Port of the listener. Absent: any."""


ParentRefs = Annotated[
    list[ParentRef],
    Field(min_length=1, max_length=8),
    Atomic(),
    Cel(
        "self.all(ref, self.exists_one(other, other.name == ref.name"
        " && has(other.__namespace__) == has(ref.__namespace__)"
        " && (!has(ref.__namespace__) || other.__namespace__ == ref.__namespace__)"
        " && has(other.sectionName) == has(ref.sectionName)"
        " && (!has(ref.sectionName) || other.sectionName == ref.sectionName)))",
        "two parentRefs name the same listeners of a Gateway: remove one, or give each its own sectionName",
        lambda refs: len({(ref.name, ref.namespace, ref.section_name) for ref in refs}) == len(refs),
    ),
]


class HTTPRoute(ApiModel):
    """An HTTPRoute of the Gateway API to the Service."""

    parent_refs: ParentRefs
    """Gateways that lead to the agents. status.url has the scheme and port of the first one's listener as far as this
    tells: http with port 80 or with a sectionName such as http or http-internal, else https."""
    hostnames: Annotated[list[Host], Field(max_length=16), Atomic(), UNIQUE] = []
    """Host names that lead to the agents; status.url shows the first one without a wildcard. Absent: those of the
    listeners."""


Origin = Annotated[
    str,
    Field(min_length=1, max_length=280),
    matching(
        ORIGIN_PATTERN,
        "an origin must be scheme, host and port only, in lower case, as browsers send it, such as"
        " https://app.example.com; or * for any",
    ),
]


class CORS(ApiModel):
    """Web pages that may ask."""

    allowed_origins: Annotated[list[Origin], Field(max_length=32), SetList()] = []
    """Origins of web pages that may send requests and read the answers, in browsers. A port is left out where it is
    that of the scheme. A page has the key that it sends, and so do all who see the page."""


class ApiDocs(ApiModel):
    """The description of the API."""

    mode: Literal["Disabled", "Enabled"] = "Disabled"
    """Enabled: /openapi.json, and a page at /docs on which the API can be tried out, are served to everybody who
    reaches the agents, without a key."""


class Exposure(ApiModel):
    """How callers reach the agents."""

    service: ServiceExposure = ServiceExposure()
    """The Service in front of the pods."""
    ingress: Ingress | None = None
    """An Ingress to the Service. Its controller must be let in: by the installation's gateway namespaces, or by
    networkPolicy.allowFrom."""
    http_route: HTTPRoute | None = None
    """An HTTPRoute to the Service, where the cluster has the Gateway API, 1.2 or newer. The Gateway's pods must be let
    in: by the installation's gateway namespaces, or by networkPolicy.allowFrom."""
    cors: CORS = CORS()
    """Web pages that may ask."""
    api_docs: ApiDocs = ApiDocs()
    """The description of the API."""
