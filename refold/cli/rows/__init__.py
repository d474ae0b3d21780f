"""Commands about single rows and events."""
