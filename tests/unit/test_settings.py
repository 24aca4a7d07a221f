"""The operator's settings, and what a wrong one says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from agentservice_operator.settings import DEFAULT_RUNTIME_IMAGE, Settings

NAMESPACE_LISTS = ("WATCH_NAMESPACES", "GATEWAY_NAMESPACES", "MONITORING_NAMESPACES")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME_IMAGE", *NAMESPACE_LISTS, "LOG_LEVEL", "WORKERS", "TELEMETRY_PORT", "NAMESPACE"):
        monkeypatch.delenv(f"AGENTSERVICE_{name}", raising=False)
    for name in ("POD_NAME", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)


def test_without_any_variable_it_works_on_the_whole_cluster() -> None:
    settings = Settings()

    assert settings.watch_namespaces == settings.gateway_namespaces == settings.monitoring_namespaces == ()
    assert settings.runtime_image == DEFAULT_RUNTIME_IMAGE
    assert settings.namespace == "default"


@pytest.mark.parametrize("variable", NAMESPACE_LISTS)
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
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, namespaces: tuple[str, ...]
) -> None:
    monkeypatch.setenv(f"AGENTSERVICE_{variable}", value)

    assert getattr(Settings(), variable.lower()) == namespaces


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
        ("AGENTSERVICE_RUNTIME_IMAGE", ""),
        ("AGENTSERVICE_WATCH_NAMESPACES", "team-a,Team B"),
        ("POD_NAMESPACE", "not a name"),
    ],
)
def test_a_wrong_value_ends_the_operator_with_2_and_names_the_variable(variable: str, value: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "agentservice_operator"],
        env={"PYTHONPATH": ":".join(sys.path), variable: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith(f"{variable}:"), ended.stderr
    assert "Traceback" not in ended.stderr
