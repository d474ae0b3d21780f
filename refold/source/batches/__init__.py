"""The events of one batch that follows."""
