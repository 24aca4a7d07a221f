"""``agentctl run``: the runtime on this machine, configured by the same builder as in a cluster."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from agent_runtime.config import (
    CREDENTIALS_DIRECTORY,
    DEFAULT_CLIENT,
    HeaderConfig,
    ModelConfig,
    RuntimeConfig,
    StateConfig,
    ToolConfig,
)
from agentservice_operator.api.v1alpha1.types import AgentService
from agentservice_operator.builders.config_map import runtime_config
from agentservice_operator.builders.context import BuildContext
from agentservice_operator.builders.references import UnresolvedReference, references
from agentservice_operator.cli.documents import Document, InputError, read_documents
from agentservice_operator.cli.render import agent_services, config_map_values, parse_document

READY_WITHIN_SECONDS = 60
ANTHROPIC_API_KEY = "ANTHROPIC_API_KEY"

SecretFiles = Mapping[tuple[str, str], Path]
"""Files with the values of Secrets, by name and key."""


def run(path: Path, *, name: str | None, port: int, secret_files: SecretFiles) -> int:
    """Serve an AgentService until a signal ends it.

    Args:
        path: YAML documents: the AgentService, and the ConfigMaps that it refers to.
        name: Which AgentService; None where the file holds one.
        port: TCP port on the loopback address.
        secret_files: Values of the Secrets that the spec refers to.

    Returns:
        The exit code of the runtime: 0 after an orderly end.

    Raises:
        InputError: The file, a Secret or the port cannot be used.
    """
    documents = read_documents(path)
    document = _chosen(agent_services(documents), name)
    service = parse_document(document, "default")
    values = config_map_values(documents)
    config = _config(document, service, values)
    _require_free(port)
    with tempfile.TemporaryDirectory(prefix="agentctl-") as folder:
        secret_values = _secret_values(document, service, secret_files)
        key = _write(Path(folder), config, secret_values, _trust_bundle(document, service, values))
        environment = _environment(document, service, secret_values, values)
        return _serve(Path(folder) / "config.json", environment, port=port, key=key)


def _chosen(documents: list[Document], name: str | None) -> Document:
    if name is None and len(documents) == 1:
        return documents[0]
    matching = [document for document in documents if document.name == name]
    if len(matching) == 1:
        return matching[0]
    names = ", ".join(document.name for document in documents)
    raise InputError(f"{documents[0].file}: holds the AgentServices {names}: choose one of them with --name")


def _config(document: Document, service: AgentService, values: Mapping[tuple[str, str], str]) -> RuntimeConfig:
    try:
        return runtime_config(service, BuildContext(runtime_image="", config_map_values=values))
    except UnresolvedReference as error:
        raise document.error(f"{error}, or as a document of this file") from error


def _secret_values(document: Document, service: AgentService, files: SecretFiles) -> dict[tuple[str, str], str]:
    """The value of every Secret's key that the spec refers to."""
    values = {}
    credentials = {
        (reference.name, reference.key)
        for model in service.spec.models
        if model.anthropic
        for reference in [model.anthropic.credentials.secret_key_ref]
    }
    for (name, key), purpose in references(service).secrets.items():
        if file := files.get((name, key)):
            try:
                values[name, key] = file.read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"--secret {name}/{key}: {file} cannot be read: {error}") from error
        elif (name, key) in credentials and (value := os.environ.get(ANTHROPIC_API_KEY)):
            values[name, key] = value
        else:
            remedy = f"pass --secret {name}/{key}=FILE"
            if (name, key) in credentials:
                remedy = f"set {ANTHROPIC_API_KEY}, or {remedy}"
            raise document.error(f"key {key} of Secret {name} is needed for {purpose}: {remedy}")
    return values


def _trust_bundle(document: Document, service: AgentService, values: Mapping[tuple[str, str], str]) -> str | None:
    """The certificate authorities that the spec refers to."""
    wanted = references(service).trust_bundle
    if wanted is not None and wanted not in values:
        name, key = wanted
        raise document.error(
            f"key {key} of ConfigMap {name} is needed for runtime.trustBundle: "
            "add the ConfigMap as a document of this file"
        )
    return values[wanted] if wanted is not None else None


def _write(
    folder: Path, config: RuntimeConfig, secret_values: Mapping[tuple[str, str], str], trust_bundle: str | None
) -> str:
    """Lay out what a pod would mount, and return the API key that callers use."""
    key = f"local-{secrets.token_urlsafe(24)}"
    client = config.clients[0].name if config.clients else DEFAULT_CLIENT
    _write_private(folder / "api-keys" / client, key)
    for (name, secret_key), value in secret_values.items():
        _write_private(folder / "credentials" / name / secret_key, value)
    if trust_bundle is not None:
        _write_private(folder / "trust-bundle", trust_bundle)
    local = config.model_copy(
        update={
            "models": tuple(_with_local_credentials(model, folder / "credentials") for model in config.models),
            "tools": tuple(_with_local_headers(tool, folder / "credentials") for tool in config.tools),
            "api_keys_directory": str(folder / "api-keys"),
            "state": _local_state(config.state, folder),
            "tasks": config.tasks.model_copy(update={"in_workers": False}),  # here is no process but this one
            "trust_bundle_file": None if trust_bundle is None else str(folder / "trust-bundle"),
            "lame_duck_seconds": 0.0,
        }
    )
    _write_private(folder / "config.json", local.model_dump_json(exclude_none=True))
    return key


def _local_state(state: StateConfig, folder: Path) -> StateConfig:
    if state.url_file is None:
        return state.model_copy(update={"path": str(folder / "state.db")})
    secrets_here = folder / "credentials"
    redis = state.redis_url_file and _local_secret(state.redis_url_file, secrets_here)
    local = {"url_file": _local_secret(state.url_file, secrets_here), "redis_url_file": redis}
    return state.model_copy(update=local)


def _with_local_credentials(model: ModelConfig, folder: Path) -> ModelConfig:
    if model.anthropic is None:
        return model
    local = {"credentials_file": _local_secret(model.anthropic.credentials_file, folder)}
    return model.model_copy(update={"anthropic": model.anthropic.model_copy(update=local)})


def _with_local_headers(tool: ToolConfig, folder: Path) -> ToolConfig:
    def local(headers: Iterable[HeaderConfig]) -> dict[str, tuple[HeaderConfig, ...]]:
        files = ((header, header.value_file and _local_secret(header.value_file, folder)) for header in headers)
        return {"headers": tuple(header.model_copy(update={"value_file": file}) for header, file in files)}

    http = tool.http and tool.http.model_copy(update=local(tool.http.headers))
    mcp = tool.mcp and tool.mcp.model_copy(update=local(tool.mcp.headers))
    return tool.model_copy(update={"http": http, "mcp": mcp})


def _local_secret(file: str, folder: Path) -> str:
    """Where what a pod has mounted as `file` is here."""
    return str(folder / Path(file).relative_to(CREDENTIALS_DIRECTORY))


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def _environment(
    document: Document,
    service: AgentService,
    secret_values: Mapping[tuple[str, str], str],
    config_map_values: Mapping[tuple[str, str], str],
) -> dict[str, str]:
    """The variables that the spec gives to the container."""
    environment = {}
    for variable in service.spec.runtime.env:
        source = variable.value_from
        if source and source.secret_key_ref:
            environment[variable.name] = secret_values[source.secret_key_ref.name, source.secret_key_ref.key]
        elif source and source.config_map_key_ref:
            name, key = source.config_map_key_ref.name, source.config_map_key_ref.key
            if (name, key) not in config_map_values:
                raise document.error(
                    f"key {key} of ConfigMap {name} is needed for the environment variable {variable.name}: "
                    "add the ConfigMap as a document of this file"
                )
            environment[variable.name] = config_map_values[name, key]
        else:
            environment[variable.name] = variable.value or ""
    return environment


def _require_free(port: int) -> None:
    try:
        _bind(port)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "there is none of that number"
        raise InputError(f"port {port} cannot be used ({reason}): choose another one with --port") from error


def _bind(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return int(probe.getsockname()[1])


def _serve(config: Path, environment: Mapping[str, str], *, port: int, key: str) -> int:
    """Run the runtime in a process of its own until it ends; a signal to us ends it in its orderly way."""
    admin_port = _bind(0)
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_runtime"],
        env={
            **{name: value for name, value in os.environ.items() if name != ANTHROPIC_API_KEY},
            **environment,
            "AGENTSERVICE_CONFIG": str(config),
            "BIND_ADDRESS": "127.0.0.1",
            "PORT": str(port),
            "ADMIN_PORT": str(admin_port),
        },
        start_new_session=True,
    )
    with _ended_by_signals(process):
        try:
            if _wait_until_ready(process, admin_port):
                _say(f"\nServing on http://127.0.0.1:{port}. Try:\n\n{_example(port, key)}\n\nCtrl-C ends it.\n")
            return process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


@contextlib.contextmanager
def _ended_by_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """The first signal asks the process to drain, the second one kills it."""

    def forward(_number: int, _frame: FrameType | None) -> None:
        process.send_signal(signal.SIGKILL if asked else signal.SIGTERM)
        asked.append(True)

    asked: list[bool] = []
    previous = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _wait_until_ready(process: subprocess.Popen[bytes], admin_port: int) -> bool:
    """Whether it became ready; it did not if it ended before, and then has said why."""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, TimeoutError, ConnectionError):
            urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/readyz", timeout=1).close()
            return True
        if time.monotonic() > deadline:
            raise InputError(f"the runtime is not ready after {READY_WITHIN_SECONDS} s: see what it logged above")
        time.sleep(0.05)
    return False


def _example(port: int, key: str) -> str:
    return (
        f"curl -s http://127.0.0.1:{port}/v1/chat -H 'X-API-Key: {key}' -H 'Content-Type: application/json'"
        """ -d '{"message": "Hello"}'"""
    )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
