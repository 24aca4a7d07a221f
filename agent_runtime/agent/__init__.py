"""The agent: its turn, the model calls in it, and the providers that models are reached by."""
