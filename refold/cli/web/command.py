"""web: serves the page until Ctrl-C."""

from __future__ import annotations

import secrets
import socket
from ipaddress import ip_address
from typing import Annotated

import typer

from refold.cli.output import console, finished
from refold.errors import ConfigurationError
from refold.runtime.settings import Settings, load_settings

_TOKEN_BYTES = 24


def web(
    *,
    host: Annotated[
        str, typer.Option(help="Where it listens; a token is asked for unless it is loopback.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="At which port; 0 for a free one.")
    ] = 8700,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Also start, approve, reject, pause, resume, cancel and roll back runs, and show "
            "rows and events; a token is asked for.",
        ),
    ] = False,
) -> None:
    """Serve a page that shows how projections stand, live.

    Until Ctrl-C. Without --control it shows no event data and changes nothing.
    """
    finished(_serve(host, port, control=control))


async def _serve(host: str, port: int, *, control: bool) -> None:
    try:
        from refold.cli.web.serving import serve
    except ImportError as error:
        raise ConfigurationError(
            "`refold web` needs starlette and uvicorn: pip install 'refold[web]' "
            f"({error.name or error} is missing)"
        ) from None
    settings = load_settings()
    token = _token(settings, needed=control or not is_loopback(host))
    with listening(host, port) as at:
        address = _address(host, at)
        console.print(f"{address}{with_token(token, settings)}", soft_wrap=True)
        console.print("read-only; --control adds buttons" if not control else "with control")
        console.print("Ctrl-C ends it")
        await serve(settings, at, token=token, control=control)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there; a name other than localhost may not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _token(settings: Settings, *, needed: bool) -> str | None:
    if settings.web_token is not None:
        return settings.web_token
    return secrets.token_urlsafe(_TOKEN_BYTES) if needed else None


def with_token(token: str | None, settings: Settings) -> str:
    """What follows the address; a token that somebody has chosen is a secret, and not printed."""
    if token is None:
        return ""
    return " (it asks for REFOLD_WEB_TOKEN)" if settings.web_token else f"#token={token}"


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigurationError: It cannot.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"--host {host} --port {port}: expected an address of this machine and a free port "
            f"({error.strerror or error}); --port 0 takes a free one"
        ) from None


def _address(host: str, at: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{at.getsockname()[1]}/"
