"""What the pods tell about themselves, and who is made to listen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agentservice_operator.api.v1alpha1.base import ApiModel, Labels

Mode = Literal["Auto", "Always", "Never"]


class PodMonitor(ApiModel):
    """Has the metrics scraped by a Prometheus of the Prometheus operator."""

    mode: Mode = "Auto"
    """Auto: there is a PodMonitor where the cluster has that kind. Always: as Auto, and the condition
    MonitoringAvailable says so where the cluster lacks it. Never: there is none."""
    labels: Labels = {}
    """Further labels of the PodMonitor: a Prometheus selects by them."""
    interval: Annotated[str | None, Field(min_length=2, max_length=5, pattern="^[1-9][0-9]{0,3}[smh]$")] = None
    """Time between two scrapes, such as `30s`. Absent: that of the Prometheus."""


class PrometheusRule(ApiModel):
    """Alerts on the metrics, for a Prometheus of the Prometheus operator."""

    mode: Mode = "Auto"
    """Auto: there is a PrometheusRule where the cluster has that kind. Always: as Auto, and the condition
    MonitoringAvailable says so where the cluster lacks it. Never: there is none."""
    labels: Labels = {}
    """Further labels of the PrometheusRule: a Prometheus selects by them."""


class Observability(ApiModel):
    """What the pods tell about themselves."""

    log_level: Literal["Debug", "Info", "Warning", "Error"] = "Info"
    """Least severe log records that are written."""
    pod_monitor: PodMonitor = PodMonitor()
    """Has the metrics scraped by a Prometheus of the Prometheus operator."""
    prometheus_rule: PrometheusRule = PrometheusRule()
    """Alerts on the metrics, for a Prometheus of the Prometheus operator."""
