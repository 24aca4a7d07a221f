"""The operator's settings, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest
from agentservice_operator.builders.defaults import AgentDefaults, InvalidDefaults
from agentservice_operator.main import main
from agentservice_operator.settings import DEFAULT_RUNTIME_IMAGE, Settings, read_defaults


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        *("RUNTIME_IMAGE", "WATCH_NAMESPACES", "DEFAULTS_FILE", "MAX_CONCURRENT_UPGRADES", "LOG_LEVEL"),
        *("WORKERS", "TELEMETRY_PORT", "NAMESPACE"),
    ):
        monkeypatch.delenv(f"AGENTSERVICE_{name}", raising=False)
    for name in ("POD_NAME", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def test_without_any_variable_it_works_on_the_whole_cluster() -> None:
    settings = Settings()

    assert settings.watch_namespaces == ()
    assert settings.agent_defaults == AgentDefaults()
    assert settings.runtime_image == DEFAULT_RUNTIME_IMAGE
    assert settings.namespace == "default"


@pytest.mark.parametrize(
    ("value", "namespaces"),
    [
        ("team-a", ("team-a",)),
        ("team-a,team-b", ("team-a", "team-b")),
        (" team-a , team-b ,", ("team-a", "team-b")),
        ("team-a,team-a", ("team-a",)),
        ("", ()),
    ],
)
def test_namespaces_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, value: str, namespaces: tuple[str, ...]
) -> None:
    monkeypatch.setenv("AGENTSERVICE_WATCH_NAMESPACES", value)

    assert Settings().watch_namespaces == namespaces


def test_defaults_of_agents_are_read_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "defaults.yaml"
    file.write_text("gatewayNamespaces: [ingress]\nresources: {requests: {cpu: 1}}\npriorityClassName: null\n")
    monkeypatch.setenv("AGENTSERVICE_DEFAULTS_FILE", str(file))

    defaults = Settings().agent_defaults

    assert defaults.gateway_namespaces == ["ingress"]
    assert defaults.resources is not None
    assert defaults.resources.requests == {"cpu": 1}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tolerance: 1", "tolerance: there is no such field: correct its name or remove it."),
        ("resources: {request: {}}", "resources.request: there is no such field"),
        ("resources: {requests: {cpu: much}}", "resources.requests.cpu: "),
        ("tolerations: [{value: x}]", "tolerations[0]: a toleration without a key needs operator Exists."),
        ("gatewayNamespaces: [Ingress]", "gatewayNamespaces[0]: "),
        ("proxy: {noProxy: [example.com]}", "proxy: a proxy needs http, https or both"),
        ("proxy: {https: 'http://me:secret@proxy:3128'}", "proxy.https: a proxy must be an http or https URL"),
        ("- gatewayNamespaces", "the document is no map of defaults"),
        ("a: [", "is not YAML"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_defaults_that_cannot_be_used_are_named_with_their_file(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "defaults.yaml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(InvalidDefaults) as caught:
        read_defaults(file)

    assert str(caught.value).startswith(f"{file}: {said}")
    assert "secret" not in str(caught.value)


def test_the_pod_tells_who_and_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAME", "operator-7d9f-abcde")
    monkeypatch.setenv("POD_NAMESPACE", "agents-system")

    assert Settings().identity == "operator-7d9f-abcde"
    assert Settings().namespace == "agents-system"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AGENTSERVICE_WORKERS", "0"),
        ("AGENTSERVICE_WORKERS", "many"),
        ("AGENTSERVICE_LOG_LEVEL", "loud"),
        ("AGENTSERVICE_TELEMETRY_PORT", "70000"),
        ("AGENTSERVICE_DEFAULTS_FILE", "/nonexistent"),
        ("AGENTSERVICE_RUNTIME_IMAGE", ""),
        ("AGENTSERVICE_MAX_CONCURRENT_UPGRADES", "0"),
        ("AGENTSERVICE_MAX_CONCURRENT_UPGRADES", "101%"),
        ("AGENTSERVICE_WATCH_NAMESPACES", "team-a,Team B"),
        ("POD_NAMESPACE", "not a name"),
    ],
)
def test_a_wrong_value_ends_the_operator_with_2_and_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr().err
    assert ended.value.code == 2, said
    assert said.startswith(f"{variable}:"), said
