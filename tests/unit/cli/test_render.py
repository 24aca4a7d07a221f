"""``agentctl render``: what it prints, and what it says where it cannot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from agentservice_operator.cli.main import main
from agentservice_operator.settings import DEFAULT_RUNTIME_IMAGE

EXAMPLES = sorted((Path(__file__).parent.parent.parent.parent / "examples").glob("*.yaml"))
HELLO = """\
apiVersion: agentservice.dev/v1alpha1
kind: AgentService
metadata: {name: hello}
spec:
  models:
  - {name: main, provider: Echo}
  agents:
  - {name: assistant, systemPrompt: You are a helpful assistant.}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "agents.yaml"
    path.write_text(HELLO)
    return path


def complaint(file: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What render says about a file; it must fail and print no object."""
    file.write_text(text)
    assert main(["render", "-f", str(file)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    return printed.err


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_renders_every_example(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(example)]) == 0

    kinds = [item["kind"] for item in yaml.safe_load_all(capsys.readouterr().out)]
    assert {"ServiceAccount", "ConfigMap", "Deployment", "Service"} <= set(kinds)


def test_the_objects_stand_on_their_own(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(file), "--namespace", "team-a", "--runtime-image", "example.com/runtime:1"]) == 0

    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {item["metadata"]["namespace"] for item in objects} == {"team-a"}
    assert all("ownerReferences" not in item["metadata"] for item in objects)
    (deployment,) = (item for item in objects if item["kind"] == "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "example.com/runtime:1"


def test_the_default_image_is_that_of_the_operator(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["render", "-f", str(file)])

    assert f"image: {DEFAULT_RUNTIME_IMAGE}\n" in capsys.readouterr().out


def test_every_agent_service_of_a_file_is_rendered(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(HELLO + "---\n" + HELLO.replace("hello", "bye") + "---\n")

    assert main(["render", "-f", str(file)]) == 0

    services = [item for item in yaml.safe_load_all(capsys.readouterr().out) if item["kind"] == "Service"]
    assert [item["metadata"]["name"] for item in services] == ["hello", "bye"]


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(HELLO))

    assert main(["render", "-f", "-"]) == 0

    assert "kind: Deployment" in capsys.readouterr().out


def test_a_date_in_a_text_stays_a_text(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(HELLO.replace("You are a helpful assistant.", "2026-11-21"))

    assert main(["render", "-f", str(file)]) == 0

    assert '"system_prompt": "2026-11-21"' in capsys.readouterr().out


def test_an_error_names_file_document_object_and_field(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint(file, HELLO + "---\n" + HELLO.replace("Echo", "Eco").replace("hello", "bye"), capsys)

    assert said.startswith(f"agentctl: {file}: document 2 (AgentService bye): spec.models[0].provider: ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HELLO.replace("systemPrompt", "sytemPrompt"), "spec.agents[0].sytemPrompt: there is no such field"),
        (HELLO.replace("name: main, ", ""), "spec.models[0].name: the field is missing"),
        (HELLO + "  defaultModel: large\n", "defaultModel"),
        (
            HELLO
            + "  tools: [{name: a, type: HTTP, http: {method: GET, url: 'http://a', inputSchema: {anyOf: []}}}]\n",
            "spec.tools[0].http.inputSchema: $.anyOf: models do not take it here",
        ),
        (HELLO + "  replicas: 2\n  autoscaling: {maxReplicas: 3}\n", "replicas"),
        (HELLO.replace("hello", "1st"), "metadata.name"),
        (HELLO.replace("agentservice.dev/v1alpha1", "agentservice.dev/v2"), "agentservice.dev/v1alpha1"),
        (HELLO.replace("apiVersion: agentservice.dev/v1alpha1\n", ""), "apiVersion: is missing: write apiVersion"),
        ("kind: [", "is not YAML"),
        ("just a text", "document 1: is not a Kubernetes object: give it apiVersion, kind and metadata"),
        ("kind: AgentService", "document 1 (AgentService): metadata: is missing: give it a name"),
        ("", "holds no AgentService: add a document with kind: AgentService"),
        (
            HELLO.replace(
                "systemPrompt: You are a helpful assistant.", "systemPromptFrom: {configMapKeyRef: {name: p, key: k}}"
            ),
            "agent assistant: systemPromptFrom: ConfigMap p with key k was not found",
        ),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place(
    file: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(file, text, capsys)


def test_a_file_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(tmp_path / "none.yaml")]) == 1

    assert capsys.readouterr().err == f"agentctl: {tmp_path}/none.yaml: cannot be read: No such file or directory\n"


def test_a_file_that_is_no_text_is_named(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes(b"kind: \xff")

    assert main(["render", "-f", str(file)]) == 1

    assert "is not text in UTF-8 (byte 6)" in capsys.readouterr().err


def test_what_an_installation_decides_is_rendered_as_in_its_cluster(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = tmp_path / "defaults.yaml"
    defaults.write_text("nodeSelector: {pool: agents}\n")

    assert main(["render", "-f", str(file), "--defaults", str(defaults)]) == 0

    assert "pool: agents" in capsys.readouterr().out


def test_defaults_that_cannot_be_used_are_said_with_their_place(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    defaults = tmp_path / "defaults.yaml"
    defaults.write_text("nodeSelectors: {pool: agents}\n")

    assert main(["render", "-f", str(file), "--defaults", str(defaults)]) == 1

    assert f"{defaults}: nodeSelectors: there is no such field" in capsys.readouterr().err


TRUSTING = HELLO + "  runtime: {trustBundle: {configMapKeyRef: {name: corp, key: ca.crt}}}\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "runtime.trustBundle: ConfigMap corp with key ca.crt was not found"),
        (
            "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: corp}, data: {ca.crt: none}}\n",
            "runtime.trustBundle: ConfigMap corp: what stands under ca.crt has no certificates in PEM",
        ),
    ],
    ids=["missing", "broken"],
)
def test_a_trust_bundle_that_cannot_be_used_is_said_with_its_place(
    file: Path, more: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in complaint(file, TRUSTING + more, capsys)
