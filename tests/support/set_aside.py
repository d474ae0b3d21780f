"""The read model ``counters`` that sets poison events aside, for commands to import."""

from tests.support.letters import aside

counters = aside()
