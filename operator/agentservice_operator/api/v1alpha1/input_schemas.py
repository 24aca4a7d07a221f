"""The JSON schemas of tools' inputs: what of them neither the API server nor a look at their shape can judge."""

from __future__ import annotations

from agent_runtime.input_schema import input_schema_fault
from agentservice_operator.api.v1alpha1.parse import InvalidSpec
from agentservice_operator.api.v1alpha1.types import AgentService


def check_input_schemas(service: AgentService) -> None:
    """Judge the schemas as the runtime does, which does not start with a faulty one.

    A schema of a megabyte takes seconds: whoever has more to do calls this in a thread.

    Raises:
        InvalidSpec: One is no JSON schema, or none that models can be called with.
    """
    for index, tool in enumerate(service.spec.tools):
        if tool.http is not None and (fault := input_schema_fault(tool.http.whole_input_schema)):
            raise InvalidSpec(f"spec.tools[{index}].http.inputSchema: {fault}; correct the JSON schema.")
