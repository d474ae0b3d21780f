"""What can be said of an event source before anything is read of it for good."""
