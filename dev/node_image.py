"""The kind node image that we build where the stock one cannot be pulled: Debian packages and Go modules alone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dev import toolchain
from dev.debian import import_root_file_system
from dev.engine import Engine
from dev.progress import say, step

_RECIPE = Path(__file__).parent / "kind_node"
# cgroup version 1, which many nested virtual machines still have, is no longer supported by Debian 13's systemd.
_SUITE = "bookworm"
_PACKAGES = (
    *("ca-certificates", "conntrack", "containerd", "containernetworking-plugins", "dbus", "ebtables", "ethtool"),
    *("hostname", "iproute2", "iptables", "kmod", "mount", "nftables", "openssl", "procps", "psmisc", "rsync", "runc"),
    *("socat", "systemd", "systemd-sysv", "tar", "util-linux"),
)
_NODE_CNI = "localhost/agentservice/node-cni:1"  # the name in rootfs/kind/manifests/default-cni.yaml
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
_ON_THE_NODE = ("kubelet", "kubeadm", "kubectl")
# The stages of the recipe that make images of programs, where it is not the plain one.
_TARGETS = {
    "coredns": "coredns",
    "pause": "pause",
    "kube-proxy": "program-with-network-tools",
    "node-cni": "program-with-network-tools",
}
_PROGRAMS = (*_CONTROL_PLANE, *_ON_THE_NODE, "kube-proxy", "coredns", "pause", "node-cni")


def ensure_node_image(engine: Engine) -> str:
    """Have the node image in the engine, built if its recipe or a program's version changed.

    Args:
        engine: where it is built, and stays.

    Returns:
        Its name.

    Raises:
        NoEngineError: debootstrap cannot be had.
        ToolchainError: one of its programs cannot be built.
        RuntimeError: the build failed; the message holds the end of its log.
    """
    image = f"localhost/agentservice/kind-node:{toolchain.version('kubelet')}-{_fingerprint()}"
    if engine.has_image(image):
        return image
    if missing := [name for name in _PROGRAMS if toolchain.find(name) is None]:
        say(f"==> building a node image, as none can be pulled: {len(missing)} programs come first, about ten minutes")
    programs = toolchain.ensure(*_PROGRAMS)
    base = f"localhost/agentservice/kind-base:{_SUITE}-{hashlib.sha256(' '.join(_PACKAGES).encode()).hexdigest()[:8]}"
    cache = toolchain.cache_folder() / "images"
    import_root_file_system(engine, base, suite=_SUITE, packages=_PACKAGES, cache=cache)
    with step("building the kind node image"), tempfile.TemporaryDirectory(dir=cache, prefix=".node-") as folder:
        _build(engine, image, base, programs, Path(folder))
    return image


def _build(engine: Engine, image: str, base: str, programs: Mapping[str, Path], context: Path) -> None:
    shutil.copytree(_RECIPE, context, dirs_exist_ok=True)
    for name, path in programs.items():
        try:
            (context / name).hardlink_to(path)
        except OSError:  # KUBEBUILDER_ASSETS may lie on another file system
            shutil.copy2(path, context / name)

    kubernetes = toolchain.version("kubelet")
    wanted = subprocess.run(
        [programs["kubeadm"], "config", "images", "list", "--kubernetes-version", kubernetes],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    bundled = {name.rpartition("/")[2].partition(":")[0]: name for name in wanted} | {"node-cni": _NODE_CNI}
    for program, name in bundled.items():
        _docker_build(engine, context, _TARGETS.get(program, "program"), name, BASE=base, PROGRAM=program)
    engine.docker("save", "--output", str(context / "images.tar"), *bundled.values())
    _docker_build(engine, context, "node", image, BASE=base, VERSION=kubernetes)
    with contextlib.suppress(RuntimeError):  # they live on inside the node image
        engine.docker("image", "rm", *bundled.values())


def _docker_build(engine: Engine, context: Path, target: str, image: str, **arguments: str) -> None:
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    options = ["--progress=plain", "--network=none", f"--target={target}", f"--tag={image}", *given]
    engine.docker("build", *options, str(context))


def _fingerprint() -> str:
    """Changes with everything that the image is made of."""
    digest = hashlib.sha256(" ".join((_SUITE, *_PACKAGES)).encode())
    folders = [_RECIPE, *sorted({toolchain.SOURCES / toolchain.TOOLS[name].folder for name in _PROGRAMS})]
    for file in (file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()):
        digest.update(f"{file.name}\0{os.access(file, os.X_OK)}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]
