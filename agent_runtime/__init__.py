"""The agent runtime: the server that the pods of an AgentService run."""

__version__ = "0.1.0"
