"""What kwok, in place of kubelets, does to nodes and pods: Ready at once, or failing the way a test asks for.

A pod asks by annotations, which a test puts on the pod template or on a live pod:

    pods.example.com/pod                the state to be in: Ready (the default); NotReady: running, and its readiness
                                        probe fails; or the waiting reason of a container that does not run, as in
                                        ImagePullBackOff, CreateContainerConfigError, CrashLoopBackOff
    pods.example.com/message            what a waiting container says about it
    pods.example.com/exit-code          how the container of a CrashLoopBackOff ended last time ("1")
    pods.example.com/last-message       what it left in its termination log
    pods.example.com/last-reason        why it ended ("Error"; "OOMKilled")
    pods.example.com/ready-after        how long it runs before it is Ready, as in "3s"

Taking the annotation off, or changing it, mends or changes the pod. Without one, an image from missing.invalid is not
to be had: ImagePullBackOff.
"""

from __future__ import annotations

from typing import Any

PREFIX = "pods.example.com"

_WANTED = (
    f'(.metadata.annotations["{PREFIX}/pod"]'
    ' // (if .spec.containers[0].image | startswith("missing.invalid/") then "ImagePullBackOff" else "Ready" end))'
)
_READY_AFTER = f'.metadata.annotations["{PREFIX}/ready-after"]'
_SHOWN = (
    '(if any(.status.conditions[]?; .type == "Ready" and .status == "True") then "Ready"'
    " else (.status.containerStatuses[0].state.waiting.reason"
    ' // (if .status.containerStatuses[0].state.running then "NotReady" else "" end)) end)'
)

# kwok renders these Go templates into a patch of the pod's status. The conditions that others set (PodScheduled) stay.
_CONDITIONS = """
{{ $now := Now }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- type: ContainersReady
  status: "READY"
  lastTransitionTime: {{ $now | Quote }}
- type: Ready
  status: "READY"
  lastTransitionTime: {{ $now | Quote }}
  REASON
"""
_ADDRESSES = """
{{ if not .status.podIP }}
{{ with PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
podIP: {{ index . 0 | Quote }}
podIPs:
{{ range . }}
- ip: {{ . | Quote }}
{{ end }}
{{ end }}
{{ end }}
startTime: {{ or .status.startTime $now | Quote }}
"""
_RUNNING = """
phase: Running
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: READY
  started: READY
  restartCount: 0
  lastState: {}
  state:
    running:
      startedAt: {{ $now | Quote }}
{{ end }}
"""
_WAITING = """
{{ $wanted := or ( index .metadata.annotations "PREFIX/pod" ) "ImagePullBackOff" }}
{{ $crashed := eq $wanted "CrashLoopBackOff" }}
{{ $message := or ( index .metadata.annotations "PREFIX/message" ) "" }}
{{ $exitCode := or ( index .metadata.annotations "PREFIX/exit-code" ) "1" }}
{{ $lastMessage := or ( index .metadata.annotations "PREFIX/last-message" ) "" }}
{{ $lastReason := or ( index .metadata.annotations "PREFIX/last-reason" ) "Error" }}
phase: {{ if $crashed }}Running{{ else }}Pending{{ end }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: false
  started: false
  restartCount: {{ if $crashed }}5{{ else }}0{{ end }}
  state:
    waiting:
      reason: {{ $wanted | Quote }}
      message: {{ $message | Quote }}
  {{ if $crashed }}
  lastState:
    terminated:
      exitCode: {{ $exitCode }}
      reason: {{ $lastReason | Quote }}
      message: {{ $lastMessage | Quote }}
      startedAt: {{ $now | Quote }}
      finishedAt: {{ $now | Quote }}
  {{ else }}
  lastState: {}
  {{ end }}
{{ end }}
"""
_NODE = """
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
capacity: &size {cpu: "1000", memory: 4Ti, pods: "100000"}
allocatable: *size
"""


def stages() -> list[dict[str, Any]]:
    """The Stage objects of kwok's configuration file."""
    alive = _is(".metadata.deletionTimestamp == null")
    changed = _is(f"{_WANTED} != {_SHOWN}")
    ready = _is(f'{_WANTED} == "Ready"')
    unready = _is(f'{_WANTED} == "NotReady"')
    slow = _is(f'{_READY_AFTER} != null and {_SHOWN} == ""')
    not_slow = _is(f'({_READY_AFTER} != null and {_SHOWN} == "") | not')
    waiting = _is(f'{_WANTED} != "Ready" and {_WANTED} != "NotReady"')
    return [
        _stage(
            "Node",
            "node-ready",
            [_is('any(.status.conditions[]?; .type == "Ready" and .status == "True") | not')],
            _NODE,
        ),
        _stage(
            "Pod", "pod-ready", [alive, changed, ready, not_slow], _status(_RUNNING, ready=True), delay=_READY_AFTER
        ),
        _stage("Pod", "pod-starting", [alive, ready, slow], _status(_RUNNING, ready=False)),
        _stage("Pod", "pod-not-ready", [alive, changed, unready], _status(_RUNNING, ready=False)),
        _stage("Pod", "pod-waiting", [alive, changed, waiting], _status(_WAITING, ready=False)),
        _stage("Pod", "pod-deleted", [_is(".metadata.deletionTimestamp != null")], None),
    ]


def _stage(
    kind: str, name: str, selector: list[dict[str, Any]], status: str | None, *, delay: str | None = None
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": selector},
        "next": {"delete": True} if status is None else {"statusTemplate": status},
    }
    if delay:
        spec["delay"] = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": delay}}
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _is(condition: str) -> dict[str, Any]:
    return {"key": condition, "operator": "In", "values": ["true"]}


def _status(containers: str, *, ready: bool) -> str:
    reason = "" if ready else "reason: ContainersNotReady"
    template = _CONDITIONS.replace("REASON", reason).replace('"READY"', f'"{ready}"') + _ADDRESSES + containers
    return template.replace("READY", str(ready).lower()).replace("PREFIX", PREFIX)
