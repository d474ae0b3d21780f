"""The three ports of a stack, all on 127.0.0.1."""

import random
import socket
from dataclasses import dataclass

from refold.stack.errors import PortTaken

# Below 32768: the system hands out higher ports to outgoing connections, one of which could
# take the port between our look and the server's bind.
FREE_RANGE = range(20_000, 32_000)


@dataclass(frozen=True)
class Ports:
    """Where each server listens."""

    temporal: int = 7233
    ui: int = 8233
    postgres: int = 54321


def choose_ports(port_base: int | None = None) -> Ports:
    """The ports N, N+1 and N+2 for `port_base` N; without it the defaults, or free ones.

    Raises PortTaken when one of these ports is in use, ValueError when N is not from 1 to 65533.
    """
    if port_base is None:
        default = Ports()
        return Ports(
            temporal=_this_or_free(default.temporal),
            ui=_this_or_free(default.ui),
            postgres=_this_or_free(default.postgres),
        )
    if not 1 <= port_base <= 65_533:
        raise ValueError(f"port_base must be from 1 to 65533, got {port_base}")
    ports = Ports(temporal=port_base, ui=port_base + 1, postgres=port_base + 2)
    for purpose, port in vars(ports).items():
        if not is_free(port):
            raise PortTaken(port, port_base, purpose)
    return ports


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        # The servers set this, too: lingering connections of an earlier server do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:`port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _this_or_free(port: int) -> int:
    while not is_free(port):
        port = random.choice(FREE_RANGE)
    return port
