"""How the runtime reaches providers: whom it believes by TLS, and through which proxy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agentservice_operator.builders.defaults import Proxy
from agentservice_operator.builders.proxy import proxy_variables

from agent_runtime.tls import outbound_tls
from dev.fake_messages_api import FakeMessagesApi, running
from tests.authority import HOST, Authority, make_authority
from tests.runtime.connect_proxy import connect_proxy
from tests.runtime.runtime_process import PROVIDER_KEY, anthropic_model, environment, runtime_process, write_config


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


@pytest.fixture
def secure_provider(authority: Authority) -> Iterator[FakeMessagesApi]:
    """A provider whose certificate only that authority vouches for."""
    with running(
        certificate=authority.server_certificate, key=authority.server_key, authority=authority.certificate
    ) as provider:
        yield provider


def model_at(base_url: str, directory: Path) -> dict[str, Any]:
    credentials = directory / "provider-key"
    credentials.write_text(PROVIDER_KEY)
    return anthropic_model("main", base_url, credentials, retries=0)


def test_a_private_authority_is_believed_with_the_trust_bundle(
    tmp_path: Path, authority: Authority, secure_provider: FakeMessagesApi
) -> None:
    model = model_at(secure_provider.base_url, tmp_path)

    with runtime_process(tmp_path, models=[model], trust_bundle_file=str(authority.certificate)) as runtime:
        assert runtime.chat().status_code == 200


def test_a_private_authority_is_not_believed_without_it(tmp_path: Path, secure_provider: FakeMessagesApi) -> None:
    model = model_at(secure_provider.base_url, tmp_path)

    with runtime_process(tmp_path, models=[model]) as runtime:
        answer = runtime.chat()

    assert answer.json()["code"] == "upstream_unavailable"
    assert "SSLCertVerificationError" in answer.json()["detail"]
    assert secure_provider.requests() == []


def test_the_public_authorities_are_believed_beside_those_of_the_bundle(authority: Authority) -> None:
    public, all_of_them = outbound_tls(None).cert_store_stats(), outbound_tls(str(authority.certificate))

    assert all_of_them.cert_store_stats()["x509_ca"] == public["x509_ca"] + 1
    assert all_of_them.check_hostname


@pytest.mark.parametrize(("content", "said"), [("not PEM", "holds no certificates in PEM"), (None, "cannot be read")])
def test_a_bundle_that_cannot_be_used_ends_the_process_and_is_named(
    tmp_path: Path, content: str | None, said: str
) -> None:
    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)

    ended = subprocess.run(
        [sys.executable, "-m", "agent_runtime"],
        env=environment(write_config(tmp_path, trust_bundle_file=str(bundle))),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert f"trust_bundle_file: {bundle} {said}" in ended.stderr


def test_the_installations_proxy_is_used_for_what_is_outside_the_cluster(
    tmp_path: Path, authority: Authority, secure_provider: FakeMessagesApi
) -> None:
    model = model_at(f"https://{HOST}", tmp_path)

    with connect_proxy(secure_provider.port) as proxy:
        variables = proxy_variables(Proxy(https=proxy.url), taken=set())
        with runtime_process(
            tmp_path, models=[model], trust_bundle_file=str(authority.certificate), env=variables
        ) as runtime:
            assert runtime.chat().status_code == 200

    assert proxy.asked == [f"CONNECT {HOST}:443"]
    assert len(secure_provider.requests()) == 1


@pytest.mark.parametrize("reach", ["http://gateway.models.svc", "http://gateway.models.svc.cluster.local", "loopback"])
def test_the_proxy_is_not_used_for_what_is_inside_the_cluster(
    tmp_path: Path, provider: FakeMessagesApi, reach: str
) -> None:
    model = model_at(provider.base_url if reach == "loopback" else reach, tmp_path)

    with connect_proxy(provider.port) as proxy:
        variables = proxy_variables(Proxy(http=proxy.url, https=proxy.url), taken=set())
        with runtime_process(tmp_path, models=[model], env=variables) as runtime:
            answer = runtime.chat()

    # There is no such Service here: that it is looked for directly is what counts.
    assert answer.status_code == (200 if reach == "loopback" else 502), answer.json()
    assert proxy.asked == []
