"""What the main loop shows to the admin thread, besides the life of the process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent_runtime.agent.model import Model
from agent_runtime.state.task import TaskStatus


@dataclass
class Observed:
    """Written by the main loop, read by the admin thread: whole values that nobody changes, so no lock is needed."""

    models: Mapping[str, Model] = field(default_factory=dict)
    """By handle; empty until they are open."""
    tasks: Mapping[TaskStatus, int] | None = None
    """How many there are in the database; None until they are counted, and while the database does not tell."""
