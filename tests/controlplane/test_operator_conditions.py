"""Every status on the way, not only the last one, keeps the conventions, and kstatus judges it rightly."""

from __future__ import annotations

from dev.kwok_stages import PREFIX
from tests.controlplane.agent_services import AgentServices, Object, conditions
from tests.controlplane.operator_process import OperatorProcess
from tests.controlplane.status_history import recorded
from tests.unit.status.kstatus import Judgement, judge

CREDENTIALS = {"secretKeyRef": {"name": "provider", "key": "api-key"}}
MODELS = [{"name": "main", "provider": "Anthropic", "anthropic": {"model": "claude-fake", "credentials": CREDENTIALS}}]
WORKING, SERVES, STUCK = Judgement.IN_PROGRESS, Judgement.CURRENT, Judgement.FAILED


def runtime(**asks: str) -> Object:
    """Pods that do what kwok is asked for, within five seconds or never."""
    annotations = {f"{PREFIX}/{key.replace('_', '-')}": value for key, value in asks.items()}
    return {"podAnnotations": annotations, "rollout": {"progressDeadlineSeconds": 5}}


def test_api_1_api_2_every_status_of_a_life_keeps_the_conventions(
    operator: OperatorProcess, services: AgentServices
) -> None:
    with recorded(services) as history:
        services.apply(models=MODELS)
        services.wait_not_ready("ReferenceNotFound")
        services.make_secret("provider", **{"api-key": "fake"})
        services.wait_ready()
        services.apply(models=MODELS, runtime=runtime(ready_after="1s"))
        services.wait_ready()
        services.apply(models=MODELS, runtime=runtime(pod="ImagePullBackOff"))
        services.wait(lambda service: "Stalled" in conditions(service))
        services.apply(models=MODELS, runtime=runtime(ready_after="1s"))
        services.wait_ready()
        services.apply(models=MODELS, runtime=runtime(ready_after="1s"), replicas=3)
        services.wait(lambda service: service["status"]["readyReplicas"] == 3)
        services.apply(models=MODELS, runtime=runtime(ready_after="1s"), replicas=0)
        services.wait_ready(reason="ScaledToZero")

    assert history.breaches() == []
    first = [WORKING, SERVES]
    edited, broken = [WORKING, SERVES], [WORKING, STUCK]
    assert history.judgements() == [*first, *edited, *broken, *edited, *edited, *edited]
    assert history.reasons() >= {"Progressing", "RollingOut", "PerPodState", "Resolved", "ScaledToZero"}
    assert operator.child.exit_code is None


def test_api_3_nobody_takes_one_for_ready_that_no_operator_has_seen(services: AgentServices) -> None:
    """The schema's default says so: in a namespace that is not watched there is nobody else to say it."""
    unwatched = AgentServices(services.cluster, "default")

    with recorded(unwatched, "unseen") as history:
        made = unwatched.apply("unseen")

    assert judge(made) == WORKING
    assert history.judgements() == [WORKING]
    assert history.breaches() == []
