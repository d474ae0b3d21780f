"""The database roles of `refold roles`."""
