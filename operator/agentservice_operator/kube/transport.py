"""Requests to the API server, each sent once: authentication, timeouts, errors. Bodies are JSON, never typed models."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from agentservice_operator.engine.ports import KubernetesError, Object
from agentservice_operator.kube.errors import error_from

JSON = "application/json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_ONLY_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
# The API server ignores the parameter; without it the client package would encode the body itself, and slower.
APPLY_PATCH = "application/apply-patch+yaml; charset=utf-8"

_NOT_IN_YAML = re.compile("[\\x7f-\\x9f\\u2028\\u2029\\ufeff\\ufffe\\uffff]")
"""Characters that JSON lets stand in a text and YAML refuses or, worse, takes for a line end."""

REQUEST_TIMEOUT = 10.0
CONCURRENCY = 32
NO_ANSWER = "<error>"
"""The status that is reported where there was none, as client-go names it."""

OnRequest = Callable[[str, str, str], None]
"""Told of every answer: verb, kind, HTTP status."""

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``verb`` and ``kind`` are its names in metrics, ``name`` is in messages."""

    verb: str
    kind: str
    method: str
    path: str
    name: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Object | Sequence[Object] | None = None
    content_type: str = JSON
    accept: str = JSON

    @property
    def subject(self) -> str:
        """``apply Deployment default/hello``."""
        return f"{self.verb} {self.kind} {self.name}".rstrip()


async def connect(*, user_agent: str, kubeconfig: str | None = None) -> ApiClient:
    """Open a client for the cluster of a kubeconfig, else the one that this pod runs in, else that of ~/.kube/config.

    In a pod, the ServiceAccount's token is read again every minute. Close it with ``await api_client.close()``.

    Args:
        user_agent: as audit logs show it, such as ``agentservice-operator/0.1.0``.
        kubeconfig: paths as in the environment variable KUBECONFIG, which is used if this is None.

    Raises:
        kubernetes.aio.config.ConfigException: there is no usable configuration.
    """
    configuration = Configuration(
        # trust_env makes aiohttp look for proxies and read ~/.netrc on every request: a third of the throughput.
        client_session_kwargs={"trust_env": any(os.environ.get(name) for name in _PROXY_VARIABLES)},
        connection_pool_maxsize=0,  # watches hold connections for good; the number of other requests is limited here
    )
    # Python 3.13 refuses authorities without some extensions of RFC 5280; those of older clusters lack them.
    configuration.disable_strict_ssl_verification = True
    kubeconfig = kubeconfig or os.environ.get("KUBECONFIG")
    if not kubeconfig and os.environ.get("KUBERNETES_SERVICE_HOST"):
        config.load_incluster_config(configuration)  # type: ignore[no-untyped-call] # the package is typed in part
    else:
        await config.load_kube_config(kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call] # same
    client = ApiClient(configuration)
    client.user_agent = user_agent
    return client


class Transport:
    """Sends requests over one ``ApiClient``. It knows neither retries nor leadership."""

    def __init__(self, api_client: ApiClient, *, on_request: OnRequest | None = None) -> None:
        self._api_client = api_client
        self._on_request = on_request or (lambda _verb, _kind, _status: None)
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def send(
        self,
        request: Request,
        *,
        before: Callable[[], None] | None = None,
        within: float = REQUEST_TIMEOUT,
        queued: bool = True,
    ) -> bytes:
        """Send once and return the body of the answer.

        Args:
            request: what to send.
            before: called right before the request leaves, after any wait for a free slot; may raise to stop it.
            within: seconds for the whole exchange, the wait for a slot not counted.
            queued: False passes by the limit of concurrent requests.

        Raises:
            KubernetesError: or the subclass that fits the answer.
        """
        slot: AbstractAsyncContextManager[object] = self._slots if queued else nullcontext()
        async with slot:
            if before is not None:
                before()
            try:
                async with self._answer(request, aiohttp.ClientTimeout(total=within)) as response:
                    return await response.read()
            except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
                raise self._unanswered(request, error) from error

    @asynccontextmanager
    async def stream(self, request: Request, *, stalled_after: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Send a watch, and yield its answer as pieces of bytes, cut anywhere.

        Raises:
            KubernetesError: as ``send``; also when no byte came for ``stalled_after`` seconds or the connection broke.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT, sock_read=stalled_after)
        try:
            async with self._answer(request, limits) as response:
                yield response.content.iter_any()
        except (aiohttp.ClientError, OSError) as error:
            raise self._unanswered(request, error) from error

    @asynccontextmanager
    async def _answer(self, request: Request, limits: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {
            "Accept": request.accept,
            "Content-Type": request.content_type,
            "User-Agent": self._api_client.user_agent,
        }
        await self._api_client.update_params_for_auth(
            headers, [], ["BearerToken"], request.path, request.method, request.body
        )
        url = self._api_client.configuration.host + request.path
        if request.query:
            url += "?" + urlencode(request.query)
        body = _yaml(request.body) if request.content_type == APPLY_PATCH else request.body
        answer = await self._api_client.call_api(request.method, url, headers, body=body, _request_timeout=limits)
        response: aiohttp.ClientResponse = answer.response
        async with response:
            self._on_request(request.verb, request.kind, str(response.status))
            if response.status >= 400:  # noqa: PLR2004 - RFC 9110
                raise error_from(
                    response.status, await response.read(), subject=request.subject, headers=response.headers
                )
            yield response

    def _unanswered(self, request: Request, error: Exception) -> KubernetesError:
        self._on_request(request.verb, request.kind, NO_ANSWER)
        return KubernetesError(f"{request.subject}: no answer: {type(error).__name__}: {error}".rstrip(": "))


def _yaml(body: Object | Sequence[Object] | None) -> bytes:
    """Write JSON that is also the same document as YAML, which is what the API server reads an apply as."""
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", orjson.dumps(body).decode()).encode()
