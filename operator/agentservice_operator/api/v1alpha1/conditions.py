"""Condition types and reasons that an AgentService reports; kstatus-compatible.

Source of the conventions: Kubernetes API conventions (conditions) and sigs.k8s.io/cli-utils kstatus: Ready is always
there, Reconciling only while work goes on, Stalled only when nothing moves without a person.
"""

from __future__ import annotations

from enum import StrEnum


class ConditionType(StrEnum):
    """Types of conditions in ``status.conditions``."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    REFERENCES_RESOLVED = "ReferencesResolved"
    SCALING_ACTIVE = "ScalingActive"
    ROUTE_ACCEPTED = "RouteAccepted"
    VOLUME_BOUND = "VolumeBound"
    STATE_SHARED = "StateShared"
    PAUSED = "Paused"
    PROVIDER_HEALTHY = "ProviderHealthy"
    MODEL_RETIRING = "ModelRetiring"
    UPGRADE_PENDING = "UpgradePending"
    MONITORING_AVAILABLE = "MonitoringAvailable"


class Reason(StrEnum):
    """Reasons of conditions: CamelCase words that alerts and scripts may match on."""

    # Ready is True
    AVAILABLE = "Available"
    SCALED_TO_ZERO = "ScaledToZero"
    # Ready is False and things move
    PROGRESSING = "Progressing"
    ROLLING_OUT = "RollingOut"
    PODS_NOT_READY = "PodsNotReady"
    WAITING_FOR_DELETION = "WaitingForDeletion"
    # Ready is False until somebody else acts; Stalled after progressDeadlineSeconds
    REFERENCE_NOT_FOUND = "ReferenceNotFound"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CRASH_LOOPING = "CrashLooping"
    MOUNT_FAILED = "MountFailed"
    PROBE_FAILED = "ProbeFailed"
    UNSCHEDULABLE = "Unschedulable"
    QUOTA_EXCEEDED = "QuotaExceeded"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    # Stalled at once
    INVALID_SPEC = "InvalidSpec"
    NAME_CONFLICT = "NameConflict"
    CHILD_REJECTED = "ChildRejected"
    # other conditions
    RESOLVED = "Resolved"
    PAUSED_BY_SPEC = "PausedBySpec"
    PAUSED_BY_ANNOTATION = "PausedByAnnotation"
    ADDRESS_ASSIGNED = "AddressAssigned"
    ADDRESS_PENDING = "AddressPending"
    ACCEPTED = "Accepted"
    REFUSED_BY_GATEWAY = "RefusedByGateway"
    GATEWAY_PENDING = "GatewayPending"
    PER_POD_STATE = "PerPodState"
    KIND_NOT_AVAILABLE = "KindNotAvailable"
    BOUND = "Bound"
    VOLUME_PENDING = "VolumePending"
    VOLUME_LOST = "VolumeLost"
    # ProviderHealthy and ModelRetiring, as the pods report
    PROVIDER_ANSWERS = "ProviderAnswers"
    CREDENTIALS_REFUSED = "CredentialsRefused"
    MODEL_NOT_FOUND = "ModelNotFound"
    PROVIDER_OVERLOADED = "ProviderOverloaded"
    PROVIDER_UNAVAILABLE = "ProviderUnavailable"
    MODEL_RETIRES = "ModelRetires"
    # UpgradePending
    WAITING_FOR_TURN = "WaitingForTurn"
    UPGRADING = "Upgrading"
    UPGRADING_WHILE_NOT_READY = "UpgradingWhileNotReady"


UPGRADE_REASONS = (Reason.WAITING_FOR_TURN, Reason.UPGRADING, Reason.UPGRADING_WHILE_NOT_READY)
"""Reasons of UpgradePending."""
