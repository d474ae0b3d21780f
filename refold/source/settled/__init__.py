"""How the head of an event source settles: strategies for `refold.source.head.SettledHead`."""
