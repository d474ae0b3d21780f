"""The read model `counters` for a worker process that is measured; poison events are set aside."""

from __future__ import annotations

from tests.support.letters import aside

counters = aside()
