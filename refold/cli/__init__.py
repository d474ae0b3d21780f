"""The command line `refold`."""
