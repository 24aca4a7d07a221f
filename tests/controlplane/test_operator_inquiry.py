"""The pods' own report becomes conditions: pods of the kwok kind, whose admin port is a server of the test's."""

from __future__ import annotations

import contextlib
import http.server
import secrets
import threading
from collections.abc import Iterator

import orjson
import pytest

from agent_runtime.config import ADMIN_PORT
from tests.controlplane.agent_services import AgentServices, Object, condition, conditions
from tests.controlplane.operator_process import OperatorProcess


class AdminPort:
    """What pods at one loopback address report."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.report: Object = {}

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Answer, as long as the block runs."""
        port = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = orjson.dumps(port.report)
                self.send_response(http.HTTPStatus.OK)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with http.server.ThreadingHTTPServer((self.address, ADMIN_PORT), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


@pytest.fixture
def admin_port() -> Iterator[AdminPort]:
    """One that is reached by nobody else's pods."""
    port = AdminPort(f"127.{1 + secrets.randbelow(254)}.{secrets.randbelow(256)}.{1 + secrets.randbelow(254)}")
    with port.open():
        yield port


def test_what_the_pods_report_is_told_once_and_taken_back(
    services: AgentServices, operator: OperatorProcess, admin_port: AdminPort
) -> None:
    services.make_secret("anthropic", **{"api-key": "obviously-fake"})
    credentials = {"secretKeyRef": {"name": "anthropic", "key": "api-key"}}
    model = {"name": "main", "provider": "Anthropic", "anthropic": {"model": "m-1", "credentials": credentials}}
    services.apply(models=[model])
    revision = services.wait_ready()["status"]["currentRevision"]
    (pod,) = services.pods()
    at = {"podIP": admin_port.address, "podIPs": [{"ip": admin_port.address}]}
    services.cluster.api.patch(f"{services.path('Pod', pod['metadata']['name'])}/status", {"status": at})

    failing = {"name": "main", "health": "failing", "code": "upstream_unauthorized", "retires": "2026-11-30"}
    admin_port.report = {"revision": revision, "models": [failing]}
    told = services.wait(lambda service: "ProviderHealthy" in conditions(service))

    assert conditions(told) == {
        "Ready": ("True", "Available"),
        "ReferencesResolved": ("True", "Resolved"),
        "ProviderHealthy": ("False", "CredentialsRefused"),
        "ModelRetiring": ("True", "ModelRetires"),
    }
    refused = condition(told, "ProviderHealthy")
    assert refused is not None
    assert "Secret anthropic, key api-key" in refused["message"]

    since = operator.audit.mark()
    admin_port.report = {"revision": revision, "models": [{"name": "main", "health": "healthy", "age_seconds": 1}]}
    services.wait(lambda service: conditions(service)["ProviderHealthy"][0] == "True")

    written = [(write.resource, write.subresource) for write in operator.writes(since=since)]
    assert written == [("agentservices", "status")]
