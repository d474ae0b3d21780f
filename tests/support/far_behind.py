"""The read model ``counters`` as it is followed in strides, for worker processes."""

from tests.support.counters import counters as made

counters = made()
