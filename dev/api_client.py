"""A small synchronous client of the Kubernetes API, for tests that look at a cluster from outside."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import urllib3
import yaml

Object = dict[str, Any]

_TIMEOUT = 30.0  # seconds without a byte from the server
_KEPT = 8  # idle connections: as many as threads that are likely to ask at the same time
# The server may close a kept connection just when it is used again: whoever only reads may ask once more.
_READ_AGAIN = urllib3.Retry(
    1, connect=0, redirect=0, status=0, other=0, allowed_methods={"GET"}, respect_retry_after_header=False
)


class ApiError(RuntimeError):
    """The API server refused a request.

    Args:
        code: the HTTP status.
        status: the `Status` object that it answered with.
    """

    def __init__(self, code: int, status: Object) -> None:
        super().__init__(f"{code} {status.get('reason', '')}: {status.get('message', status)}")
        self.code = code
        self.reason = str(status.get("reason", ""))
        self.status = status


@dataclass(frozen=True)
class ApiClient:
    """Requests to one API server under one identity, from any thread, over connections that are kept.

    Tests ask over and over: with a TLS handshake for each request they would spend most of their time on those.

    Args:
        server: the address, "https://host:port".
        tls: trust and client certificate.
        headers: sent with every request.
    """

    server: str
    tls: ssl.SSLContext
    headers: Mapping[str, str] = field(default_factory=dict)
    _resources: dict[tuple[str, str], Object] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_kubeconfig(cls, path: Path) -> ApiClient:
        """A client with what the current context of a self-contained kubeconfig says.

        Raises:
            ValueError: the user has neither a token nor a client certificate in the file.
        """
        config = yaml.safe_load(path.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        cluster = _named(config["clusters"], context["cluster"])["cluster"]
        user = _named(config["users"], context["user"])["user"]
        tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        # Chains that Kubernetes makes for itself lack what RFC 5280 asks of a CA, which Python 3.13 checks by default.
        tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
        headers = {"User-Agent": "agentservice-tests"}
        if "token" in user:
            headers["Authorization"] = f"Bearer {user['token']}"
        elif "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as pem:  # the ssl module takes a client certificate only from a file
                pem.write(base64.b64decode(user["client-certificate-data"]))
                pem.write(base64.b64decode(user["client-key-data"]))
                pem.flush()
                tls.load_cert_chain(pem.name)
        else:
            raise ValueError(f"{path}: user {context['user']} needs a token or client-certificate-data")
        return cls(cluster["server"], tls, headers)

    def as_user(self, user: str) -> ApiClient:
        """The same client, acting as somebody else (impersonation): RBAC and the audit log see that user."""
        return replace(self, headers={**self.headers, "Impersonate-User": user})

    def get(self, path: str, **query: str) -> Object:
        """Read what is at `path`."""
        return self.request("GET", path, query=query)

    def find(self, path: str) -> Object | None:
        """Read what is at `path`; None where nothing is."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.code == http.client.NOT_FOUND:
                return None
            raise

    def list(self, path: str, **query: str) -> list[Object]:
        """The items of the collection at `path`, narrowed by query parameters such as labelSelector."""
        items: list[Object] = self.get(path, **query)["items"]
        return items

    def create(self, body: Object, **query: str) -> Object:
        """Create an object."""
        return self.request("POST", self.path_of(body, collection=True), body=body, query=query)

    def apply(self, body: Object, *, manager: str = "test", force: bool = False, **query: str) -> Object:
        """Apply an object on the server's side as the field manager `manager`."""
        query |= {"fieldManager": manager, "force": str(force).lower()}
        return self.request("PATCH", self.path_of(body), body=body, query=query, media="application/apply-patch+yaml")

    def patch(self, path: str, body: object, *, media: str = "application/merge-patch+json", **query: str) -> Object:
        """Change what is at `path`: a JSON merge patch, or another kind named by its media type."""
        return self.request("PATCH", path, body=body, query=query, media=media)

    def delete(self, path: str, **query: str) -> Object:
        """Delete what is at `path`."""
        return self.request("DELETE", path, query=query)

    def watch(self, path: str, *, seconds: float, **query: str) -> Iterator[Object]:
        """The watch events of the collection at `path` as they come, for `seconds`.

        The request is sent when the first event is asked for: name a resourceVersion in order to miss nothing before.
        """
        query |= {"watch": "true", "timeoutSeconds": str(round(seconds))}
        with self._answer("GET", f"{path}?{urlencode(query)}", timeout=seconds + _TIMEOUT) as response:
            for line in response:
                yield json.loads(line)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, str] | None = None,
        media: str = "application/json",
    ) -> Object:
        """Send one request.

        Args:
            method: the HTTP method.
            path: from the root, as in "/api/v1/namespaces/default/pods".
            body: sent as JSON.
            query: query parameters.
            media: the body's media type.

        Returns:
            The answer's JSON; {"message": text} where it isn't a JSON object (probes answer "ok").

        Raises:
            ApiError: the server answered with an error.
            ConnectionError: it did not answer.
        """
        target = f"{path}?{urlencode(query)}" if query else path
        payload = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        with self._answer(method, target, body=payload, media=media) as response:
            return _json(response.data)

    def path_of(self, body: Object, *, collection: bool = False) -> str:
        """The path of an object by its apiVersion, kind and metadata; or that of the collection it is in."""
        metadata = body["metadata"]
        return self.path(
            body["apiVersion"],
            body["kind"],
            namespace=metadata.get("namespace", "default"),
            name="" if collection else metadata["name"],
        )

    def path(self, api_version: str, kind: str, *, namespace: str = "", name: str = "") -> str:
        """The path of an object or, without a name, of a collection; the server is asked how `kind` is called there.

        Raises:
            LookupError: the server knows no such kind.
        """
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        if (api_version, kind) not in self._resources:
            served = self.get(root)["resources"]
            self._resources.update({(api_version, r["kind"]): r for r in served if "/" not in r["name"]})
        resource = self._resources.get((api_version, kind))
        if resource is None:
            raise LookupError(f"the API server has no {kind} in {api_version}")
        scope = f"/namespaces/{namespace}" if resource["namespaced"] and namespace else ""
        return f"{root}{scope}/{resource['name']}" + (f"/{quote(name)}" if name else "")

    @contextmanager
    def _answer(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        media: str = "application/json",
        timeout: float = _TIMEOUT,
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        try:
            with self._connections.urlopen(
                method,
                target,
                body=body,
                headers={**self.headers, "Content-Type": media},
                timeout=timeout,
                retries=_READ_AGAIN,
                preload_content=False,
            ) as response:
                if response.status >= http.client.BAD_REQUEST:
                    raise ApiError(response.status, _json(response.data))
                yield response
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(f"{method} {target}: {error}") from error

    @cached_property
    def _connections(self) -> urllib3.HTTPSConnectionPool:
        address = urlsplit(self.server)
        return urllib3.HTTPSConnectionPool(
            address.hostname or "", address.port or 443, ssl_context=self.tls, maxsize=_KEPT
        )


def _json(body: bytes) -> Object:
    try:
        answer = json.loads(body)
    except ValueError:
        return {"message": body.decode(errors="replace")}
    return answer if isinstance(answer, dict) else {"message": str(answer)}


def _named(entries: list[Object], name: str) -> Object:
    return next(entry for entry in entries if entry["name"] == name)
