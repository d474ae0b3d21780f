"""Imports all of the command line, which imports only what is typed."""

from __future__ import annotations

from refold.cli.commands import COMMANDS, Later

for command in COMMANDS:
    Later(command).loaded()
