"""The steps, by their revision."""
