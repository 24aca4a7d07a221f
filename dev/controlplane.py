"""A real Kubernetes control plane without containers: etcd, API server, controllers, scheduler; kwok plays kubelet.

Everything listens on loopback only and ends with this process, however it ends.

    python -m dev.controlplane              run one until Ctrl-C
    python -m dev.controlplane --prepare    only find or build its programs, minutes the first time
"""

from __future__ import annotations

import argparse
import csv
import itertools
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from dev import toolchain
from dev.api_client import ApiError
from dev.cluster import Cluster, write_kubeconfig
from dev.kwok_stages import stages
from dev.process import Child, ChildDiedError, DeadlineError, start, wait_until

PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "kubectl")
NODE = "fake-node"

_START_DEADLINE = 120.0  # seconds; 3 on an idle machine
_PORTS = range(20000, 30000)  # below those that kernels give to outgoing connections (from 32768 on Linux)
_CLIENT_RATE = ("--kube-api-qps=500", "--kube-api-burst=1000")  # the defaults pace a production cluster, not a test
_USERS = {  # user: group
    "kubernetes-admin": "system:masters",
    "system:kube-controller-manager": "system:authenticated",
    "system:kube-scheduler": "system:authenticated",
    "kwok": "system:masters",
}
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


@dataclass(frozen=True)
class _Plane:
    """What the parts of one control plane have in common."""

    folder: Path
    programs: dict[str, Path]
    tokens: dict[str, str]
    commands: dict[str, list[str | Path]] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)

    def start(self, program: str, *arguments: str) -> None:
        self.commands[program] = [self.programs[program], *arguments]
        self._run(program)

    def restart(self, program: str) -> None:
        self.children[program].kill()
        self._run(program)

    def _run(self, program: str) -> None:
        log = self.folder / f"{program}.log"
        self.children[program] = start(self.commands[program], name=program, log=log, cwd=self.folder)

    def require_running(self) -> None:
        for child in self.children.values():
            child.require_running()

    def stop(self) -> None:
        """Kill all at once: nothing here is worth an orderly end, and etcd's files are large."""
        for child in self.children.values():
            child.process.kill()
        for child in self.children.values():
            child.process.wait()
        shutil.rmtree(self.folder / "etcd", ignore_errors=True)


@dataclass(frozen=True)
class ControlPlane(Cluster):
    """A cluster whose parts are processes of this one."""

    plane: _Plane = field(kw_only=True, repr=False)

    def restart_api_server(self) -> None:
        """Let the API server crash, start it anew, and wait until it answers; etcd has kept everything."""
        self.plane.restart("kube-apiserver")
        _wait(self.plane, lambda: _answers(self, "/readyz"), "/readyz of the API server")


@contextmanager
def control_plane(folder: Path | None = None) -> Iterator[ControlPlane]:
    """Run a control plane with one fake node of boundless size, on which pods get Ready at once.

    Args:
        folder: where it keeps kubeconfigs and logs, which stay after it; None: a temporary one, which doesn't.

    Returns:
        The cluster, with its audit log.

    Raises:
        dev.toolchain.ToolchainError: a program can't be had.
        dev.process.ChildDiedError: a program ended; the message holds the end of its log.
        dev.process.DeadlineError: it isn't ready in two minutes.
    """
    programs = toolchain.ensure(*PROGRAMS)
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agentservice-controlplane-")))
        folder.mkdir(parents=True, exist_ok=True)
        plane = _Plane(folder, programs, {user: secrets.token_urlsafe() for user in _USERS})
        stack.callback(plane.stop)
        yield _start(plane)


def _start(plane: _Plane) -> ControlPlane:
    etcd_port, peer_port, api_port = _free_ports(3)
    _write_inputs(plane)
    _start_etcd(plane, etcd_port, peer_port)
    _start_api_server(plane, api_port, etcd_port)
    server, certificate = f"https://127.0.0.1:{api_port}", plane.folder / "tls" / "apiserver.crt"
    _wait(plane, certificate.exists, "the API server's certificate")
    kubeconfigs = {
        user: write_kubeconfig(
            plane.folder / f"{user.replace(':', '.')}.kubeconfig",
            server=server,
            ca=certificate.read_bytes(),
            token=token,
        )
        for user, token in plane.tokens.items()
    }
    cluster = ControlPlane(
        name="controlplane",
        kubeconfig=kubeconfigs["kubernetes-admin"],
        kubectl_path=plane.programs["kubectl"],
        audit_log=plane.folder / "audit.log",
        plane=plane,
    )
    _wait(plane, lambda: _answers(cluster, "/readyz"), "/readyz of the API server")
    _start_controllers(plane, kubeconfigs, certificate)
    _add_node(cluster)
    _wait(plane, lambda: _can_run_pods(cluster), "the node Ready and the default ServiceAccount")
    return cluster


def _start_etcd(plane: _Plane, port: int, peer_port: int) -> None:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    plane.start(
        "etcd",
        f"--data-dir={plane.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
    )


def _start_api_server(plane: _Plane, port: int, etcd_port: int) -> None:
    key = plane.folder / "service-accounts.key"
    plane.start(
        "kube-apiserver",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        "--endpoint-reconciler-type=none",  # it refuses loopback addresses, over and over
        f"--secure-port={port}",
        f"--cert-dir={plane.folder / 'tls'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
        "--authorization-mode=RBAC",
        f"--token-auth-file={plane.folder / 'tokens.csv'}",
        "--allow-privileged",
        f"--audit-policy-file={plane.folder / 'audit-policy.yaml'}",
        f"--audit-log-path={plane.folder / 'audit.log'}",
        "--audit-log-mode=blocking",
        "--audit-log-maxsize=1000000",  # megabytes: never rotated, positions in it stay true
    )


def _start_controllers(plane: _Plane, kubeconfigs: dict[str, Path], certificate: Path) -> None:
    plane.start(
        "kube-controller-manager",
        f"--kubeconfig={kubeconfigs['system:kube-controller-manager']}",
        f"--service-account-private-key-file={plane.folder / 'service-accounts.key'}",
        f"--root-ca-file={certificate}",
        "--use-service-account-credentials",
        # Nobody routes to these pods; and the API server lets no endpoint have an address of loopback.
        "--controllers=*,-endpoints-controller,-endpointslice-controller,-endpointslice-mirroring-controller",
        "--leader-elect=false",
        "--secure-port=0",
        *_CLIENT_RATE,
    )
    plane.start(
        "kube-scheduler",
        f"--kubeconfig={kubeconfigs['system:kube-scheduler']}",
        "--leader-elect=false",
        "--secure-port=0",
        *_CLIENT_RATE,
    )
    plane.start(
        "kwok",
        f"--kubeconfig={kubeconfigs['kwok']}",
        f"--config={plane.folder / 'kwok.yaml'}",
        "--manage-all-nodes",
        "--node-ip=10.0.0.1",
        # Who asks a pod at its address reaches nothing but this machine, where nobody listens.
        "--cidr=127.64.0.0/10",
        "--node-lease-duration-seconds=40",
    )


def _write_inputs(plane: _Plane) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (plane.folder / "service-accounts.key").write_bytes(pem)
    (plane.folder / "audit-policy.yaml").write_text(yaml.safe_dump(_AUDIT_POLICY))
    (plane.folder / "kwok.yaml").write_text(yaml.safe_dump_all(stages()))
    with (plane.folder / "tokens.csv").open("w", newline="") as file:
        csv.writer(file).writerows((token, user, user, _USERS[user]) for user, token in plane.tokens.items())


def _add_node(cluster: Cluster) -> None:
    labels = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
    cluster.api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": labels}})


def _answers(cluster: Cluster, path: str) -> bool:
    try:
        cluster.api.get(path)
    except (ApiError, OSError):  # it isn't up yet
        return False
    return True


def _can_run_pods(cluster: Cluster) -> bool:
    node = cluster.api.get(f"/api/v1/nodes/{NODE}")
    conditions = {c["type"]: c["status"] for c in node.get("status", {}).get("conditions", [])}
    account = cluster.api.find("/api/v1/namespaces/default/serviceaccounts/default")
    return conditions.get("Ready") == "True" and not node["spec"].get("taints") and account is not None


def _wait(plane: _Plane, predicate: Callable[[], bool], what: str) -> None:
    def check() -> bool:
        plane.require_running()
        return predicate()

    def describe() -> str:
        return f"{what}; the logs end with\n" + "\n".join(
            f"{c.name}:\n{c.log_tail(5)}" for c in plane.children.values()
        )

    wait_until(check, deadline=_START_DEADLINE, describe=describe)


def _free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on and no outgoing connection will take meanwhile."""
    candidates = secrets.SystemRandom().sample(_PORTS, len(_PORTS))
    return list(itertools.islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.controlplane", description="Run a control plane until Ctrl-C.")
    parser.add_argument("--prepare", action="store_true", help="only find or build its programs")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if parser.parse_args().prepare:
            toolchain.ensure(*PROGRAMS)
            return 0
        with control_plane() as cluster:
            print(f"A control plane answers at {cluster.server}. Ctrl-C ends it.\n")
            print(f"export KUBECONFIG={cluster.kubeconfig}", flush=True)
            signal.pause()
    except KeyboardInterrupt:
        pass  # how it is meant to end
    except (toolchain.ToolchainError, ChildDiedError, DeadlineError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
