"""From a fresh clone to an agent's answer on a real cluster.

python -m dev.demo up    a kind cluster, both images, the chart, an example, and a chat with it
python -m dev.demo down  removes the cluster, and the container engine where the demo started one
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

from dev import toolchain
from dev.agent_client import api_key, chat, reached
from dev.cluster import Cluster
from dev.engine import describe_absence, ensure_engine, find_engine, stop_engine
from dev.images import REPOSITORY, build_images
from dev.kind import delete_kind_cluster, kind_cluster, load_images
from dev.process import DeadlineError
from dev.progress import say, step
from dev.release import install_operator, report

CLUSTER = "agentservice-demo"
NAMESPACE = "demo"
_EXAMPLE = REPOSITORY / "examples" / "hello.yaml"
_QUESTION = "Hello from the demo: who are you?"


def up() -> int:
    """Bring everything up and talk to the example's agent; what is there already is used."""
    begin = time.monotonic()
    try:
        engine = ensure_engine()
        images = build_images(engine)
        cluster = kind_cluster(engine, CLUSTER)
        load_images(engine, cluster, images.operator, images.runtime)
    except (RuntimeError, DeadlineError) as error:
        say(str(error))
        return 1
    try:
        install_operator(cluster, images)
        _apply_example(cluster)
        answer = _ask(cluster)
    except (RuntimeError, DeadlineError, OSError, subprocess.TimeoutExpired) as error:
        say(f"{report(cluster, NAMESPACE)}\n\nThe demo failed: {error}")
        return 1
    print(_closing_words(cluster, answer, time.monotonic() - begin))
    return 0


def down() -> int:
    """Remove what `up` made, and say what stays."""
    try:
        engine = find_engine()
        if engine is None:
            print(f"{describe_absence()}, so nothing was removed.")
        else:
            delete_kind_cluster(engine, CLUSTER)
            print(f"The kind cluster {CLUSTER} is gone.")
            print(stop_engine())
    except RuntimeError as error:
        say(str(error))
        return 1
    print(f"Left for the next time: images in the engine, programs and archives in {toolchain.cache_folder()}.")
    return 0


def _apply_example(cluster: Cluster) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster.kubectl("apply", "--filename=-", input=json.dumps(namespace))
    with step(f"kubectl apply -f {_EXAMPLE.relative_to(REPOSITORY)}, and waiting until it is Ready"):
        cluster.kubectl("apply", f"--namespace={NAMESPACE}", f"--filename={_EXAMPLE}")
        target = ["--for=condition=Ready", "agentservice/hello", f"--namespace={NAMESPACE}"]
        cluster.kubectl("wait", *target, "--timeout=120s", timeout=130)


def _ask(cluster: Cluster) -> str:
    key = api_key(cluster, NAMESPACE, "hello")
    with step("sending a chat through the Service"), reached(cluster, NAMESPACE, "hello") as url:
        return str(chat(url, _QUESTION, key=key)["message"])


def _closing_words(cluster: Cluster, answer: str, seconds: float) -> str:
    kubectl = shutil.which("kubectl")
    path = "" if kubectl else f" PATH={cluster.kubectl_path.parent}:$PATH"
    return f"""
You:       {_QUESTION}
The agent: {answer}

That went through the Service `hello` and its API key, {seconds:.0f} s after the start. Go on with:

  export KUBECONFIG={cluster.kubeconfig}{path}
  kubectl config set-context --current --namespace={NAMESPACE}
  kubectl get agentservices
  kubectl explain agentservice.spec.models
  kubectl scale agentservice/hello --replicas=2
  kubectl port-forward service/hello 8080:80 &
  curl -s --retry 5 --retry-connrefused http://127.0.0.1:8080/v1/chat \\
    -H "X-API-Key: $(kubectl get secret hello-api-keys -o jsonpath='{{.data.default}}' | base64 -d)" \\
    -H 'Content-Type: application/json' -d '{{"message": "Hello"}}'

A model instead of the echo: examples/anthropic.yaml. To remove everything: make demo-down"""


def main(arguments: list[str]) -> int:
    """Run `up` or `down`, and return the process's exit code."""
    match arguments:
        case ["up"]:
            command = up
        case ["down"]:
            command = down
        case _:
            say(__doc__ or "")
            return 2
    try:
        return command()
    except KeyboardInterrupt:
        say("\nInterrupted. `make demo` goes on from here, `make demo-down` removes what is there.")
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
