"""CustomResourceDefinitions of other projects, whose kinds the operator makes where a cluster has them.

They are files of Go modules, pinned by dev/tools/definitions as programs are by theirs (see dev/toolchain.py).

    python -m dev.definitions    find or fetch them, and print their paths
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import yaml

from dev import toolchain
from dev.cluster import Cluster
from dev.progress import say

_FOLDER = "definitions"

FILES: Mapping[str, tuple[str, ...]] = {
    "sigs.k8s.io/gateway-api": tuple(
        f"config/crd/standard/gateway.networking.k8s.io_{plural}.yaml"
        for plural in ("gatewayclasses", "gateways", "httproutes")
    ),
    "github.com/prometheus-operator/prometheus-operator": tuple(
        f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml"
        for plural in ("podmonitors", "prometheusrules")
    ),
}
"""Files by Go module."""


def ensure() -> list[Path]:
    """Find or fetch the definitions; each file holds one, and is called after its group and plural.

    Raises:
        dev.toolchain.ToolchainError: a module can't be had.
    """
    wanted = [path for paths in FILES.values() for path in paths]
    recipe = hashlib.sha256((toolchain.SOURCES / _FOLDER / "go.sum").read_bytes() + "\n".join(wanted).encode())
    target = toolchain.cache_folder() / _FOLDER / recipe.hexdigest()[:8]
    target.parent.mkdir(parents=True, exist_ok=True)
    with toolchain.lock(target.parent / ".lock", "the download of definitions"):
        if not target.exists():
            _fetch(target)
    return [target / Path(path).name for path in wanted]


def install(cluster: Cluster) -> None:
    """Create those definitions that a cluster lacks, and wait until it has taken them up.

    Args:
        cluster: where. Definitions that it has are left as they are, whatever their version.
    """
    files = ensure()
    for file in files:
        definition = yaml.safe_load(file.read_text())
        if cluster.api.find(cluster.api.path_of(definition)) is None:
            cluster.api.create(definition)
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"--filename={file}" for file in files))


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
        complete = Path(scratch) / "complete"
        complete.mkdir()
        for module, paths in FILES.items():
            source = toolchain.download(module, _FOLDER)
            for path in paths:
                shutil.copyfile(source / path, complete / Path(path).name)
        complete.rename(target)


def _main() -> int:
    try:
        for path in ensure():
            print(path)
    except toolchain.ToolchainError as error:
        say(f"definitions: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
