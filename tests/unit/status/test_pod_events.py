"""What is read out of a kubelet's Events, and that nothing else of them is."""

from __future__ import annotations

from typing import Any

import pytest
from agentservice_operator.api.v1alpha1.conditions import Reason
from agentservice_operator.status.pod_events import hint

CANARY = "q7Zt0bXw9LrK2mVc8sYd4HfJ6nPg1TeA"
MOUNT = "FailedMount"


def event(reason: str, note: str, second: int = 10, **fields: Any) -> dict[str, Any]:
    """As a kubelet writes it; in the newer form where told."""
    moment = f"2026-11-21T12:00:{second:02}Z"
    return {"reason": reason, "note": note, "deprecatedLastTimestamp": moment, **fields}


def said(*events: dict[str, Any], since: str = "2026-11-21T12:00:00Z") -> tuple[Reason, str] | None:
    found = hint(events, since)
    return (found.reason, found.sentence) if found else None


CASES = [
    (
        MOUNT,
        'MountVolume.SetUp failed for volume "credentials-provider" : secret "provider" not found',
        Reason.REFERENCE_NOT_FOUND,
        "cannot mount its volume credentials-provider: Secret provider does not exist. Create it.",
    ),
    (
        MOUNT,
        'MountVolume.SetUp failed for volume "config" : configmap "hello-config-1" not found',
        Reason.REFERENCE_NOT_FOUND,
        "cannot mount its volume config: ConfigMap hello-config-1 does not exist. Create it.",
    ),
    (
        MOUNT,
        'MountVolume.SetUp failed for volume "credentials-a" : references non-existent secret key: api-key',
        Reason.REFERENCE_NOT_FOUND,
        "cannot mount its volume credentials-a: the Secret has no key api-key. Add it, or correct the reference.",
    ),
    (
        MOUNT,
        f'MountVolume.MountDevice failed for volume "pvc-1" : rpc error: token {CANARY} refused by https://u:p@store',
        Reason.MOUNT_FAILED,
        "cannot mount its volume pvc-1.",
    ),
    (
        MOUNT,
        "Unable to attach or mount volumes: unmounted volumes=[data]: timed out waiting for the condition",
        Reason.MOUNT_FAILED,
        "cannot mount one of its volumes.",
    ),
    (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) hello-0',
        Reason.MOUNT_FAILED,
        "cannot mount its volume pvc-1: it is in use on another node.",
    ),
    (
        "Unhealthy",
        "Readiness probe failed: HTTP probe failed with statuscode: 503",
        Reason.PROBE_FAILED,
        "runs, but its readiness probe fails (status 503).",
    ),
    (
        "Unhealthy",
        'Liveness probe failed: Get "http://10.0.0.7:9090/livez": dial tcp 10.0.0.7:9090: connect: connection refused',
        Reason.PROBE_FAILED,
        "runs, but its liveness probe fails (nothing listens on its port).",
    ),
    (
        "Unhealthy",
        'Readiness probe failed: Get "http://10.0.0.7:9090/readyz": context deadline exceeded',
        Reason.PROBE_FAILED,
        "runs, but its readiness probe fails (no answer came in time).",
    ),
    (
        "Unhealthy",
        f"Readiness probe failed: {CANARY}",
        Reason.PROBE_FAILED,
        "runs, but its readiness probe fails.",
    ),
]


@pytest.mark.parametrize(("reason", "note", "means", "sentence"), CASES)
def test_sec_6_a_trouble_is_told_in_our_words(reason: str, note: str, means: Reason, sentence: str) -> None:
    assert said(event(reason, note)) == (means, sentence)
    assert CANARY not in sentence


def test_the_latest_trouble_counts_in_whatever_order_they_come() -> None:
    mount = event(MOUNT, 'MountVolume.SetUp failed for volume "a" : secret "s" not found', 5)
    probe = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", 20)

    assert said(probe, mount) == said(probe)
    assert said(mount, probe) == said(probe)


def test_a_volume_that_could_not_be_mounted_before_the_image_was_pulled_is_no_trouble() -> None:
    mount = event(MOUNT, 'MountVolume.SetUp failed for volume "a" : failed to sync secret cache', 5)

    assert said(mount, event("Pulling", "Pulling image", 5)) is None


def test_a_probe_that_failed_before_the_container_was_started_again_still_counts() -> None:
    probe = event("Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 500", 20)

    assert said(probe, event("Started", "Started container", 21)) == said(probe)


def test_what_is_older_than_the_trouble_is_over() -> None:
    probe = event("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", 10)

    assert said(probe, since="2026-11-21T12:00:11Z") is None


def test_the_newer_form_of_an_event_is_read_too() -> None:
    note = "Readiness probe failed: HTTP probe failed with statuscode: 503"
    newer = {"reason": "Unhealthy", "note": note, "eventTime": "2026-11-21T12:00:01.000000Z"}
    again = {**newer, "series": {"count": 3, "lastObservedTime": "2026-11-21T12:05:01.000000Z"}}

    assert hint([newer], "2026-11-21T12:05:00Z") is None
    assert hint([again], "2026-11-21T12:05:00Z") is not None


def test_a_startup_probe_is_told_apart() -> None:
    found = hint([event("Unhealthy", "Startup probe failed: HTTP probe failed with statuscode: 503")], "")

    assert found is not None
    assert found.starting


@pytest.mark.parametrize(("reason", "note"), [("BackOff", "Back-off"), ("Unhealthy", "no sentence of a kubelet")])
def test_other_events_say_nothing(reason: str, note: str) -> None:
    assert said(event(reason, note)) is None
