"""What crosses Temporal: how values become payloads, and payloads become unreadable to others."""
