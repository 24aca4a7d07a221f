"""``python -m agentservice_operator``."""

from agentservice_operator.main import main

main()
