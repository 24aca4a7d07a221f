"""Real CPU and memory metrics in a kind cluster, so that a HorizontalPodAutoscaler scales for real."""

from __future__ import annotations

from pathlib import Path
from string import Template

from dev import toolchain
from dev.cluster import Cluster
from dev.engine import Engine
from dev.kind import load_images
from dev.progress import step

_MANIFEST = Path(__file__).with_suffix(".yaml")
_RECIPE = b"""\
FROM scratch
COPY metrics-server /
ENTRYPOINT ["/metrics-server"]
"""


def install_metrics_server(engine: Engine, cluster: Cluster) -> None:
    """Build, load and start metrics-server, and wait until it serves metrics.

    Args:
        engine: where its image is built.
        cluster: a kind cluster of that engine.

    Raises:
        ToolchainError: it cannot be built.
        KubectlError: it does not get ready within two minutes.
    """
    program = toolchain.ensure("metrics-server")["metrics-server"]
    image = f"localhost/agentservice/metrics-server:{toolchain.version('metrics-server')}"
    engine.docker("build", "--file=-", f"--tag={image}", str(program.parent), data=_RECIPE)
    load_images(engine, cluster, image)
    with step("starting metrics-server"):
        manifest = Template(_MANIFEST.read_text()).substitute(IMAGE=image)
        cluster.kubectl("apply", "--server-side", "--filename=-", input=manifest)
        cluster.kubectl("wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io", "--timeout=120s")
