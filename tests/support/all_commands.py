"""What each process of the tests does at first: imports all commands, hashes the code."""

from __future__ import annotations

from temporalio.worker._worker import load_default_build_id

from refold.cli.commands import COMMANDS, Later

for command in COMMANDS:
    Later(command).loaded()

# A worker is known by a hash of all code that is imported; the processes that are forked have it.
load_default_build_id()
