"""Tasks: turns that nobody waits for, run from a queue in the database."""
