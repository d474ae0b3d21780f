"""codec: a key file, and the server that decrypts for Temporal's UI and command line."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

import typer

from refold.cli.output import console, finished
from refold.errors import ConfigurationError
from refold.runtime.payloads.codec import EncryptingCodec
from refold.runtime.payloads.keys import add_key, load_keys
from refold.runtime.settings import load_settings

app = typer.Typer(help="Encrypt what crosses Temporal.", no_args_is_help=True)

_ORIGINS = ("http://localhost:8233", "http://127.0.0.1:8233", "http://localhost:8080")
_PORT = 8081


@app.callback()
def codec() -> None:
    """Encrypt what crosses Temporal: a key file, and a server for Temporal's UI."""


@app.command(name="new-key")
def new_key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="REFOLD_PAYLOAD_KEY_FILE.")],
    *,
    last: Annotated[
        bool,
        typer.Option("--last", help="Put it last: it decrypts, and encrypts nothing yet."),
    ] = False,
) -> None:
    """Put a new key into a key file, which is made if it is not there.

    It stands first, so that it encrypts from now on, and all others still decrypt.
    """

    async def run() -> str:
        return add_key(file, last=last)

    name = finished(run())
    does = "decrypts" if last else "encrypts"
    console.print(f"key {name} in {file} {does} for processes that are started from now on")


@app.command()
def serve(
    *,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Where Temporal's UI is, as the browser has it; several.",
            show_default=", ".join(_ORIGINS),
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen at.")] = _PORT,
    host: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file with a token: who asks sends `Authorization: Bearer <token>`."),
    ] = None,
    anybody: Annotated[
        bool,
        typer.Option(
            "--anybody",
            help="Without a token beyond loopback: whoever reaches the port reads all.",
        ),
    ] = False,
) -> None:
    """Decrypt for Temporal's UI, and its command line, until SIGINT or SIGTERM.

    In the UI, its address is the endpoint of the data encoder; of `temporal`, --codec-endpoint.
    """
    from refold.cli.codec.server import CodecServer, serve_until_signalled

    async def run() -> CodecServer:
        key_file = load_settings().payload_key_file
        if key_file is None:
            raise ConfigurationError(
                "REFOLD_PAYLOAD_KEY_FILE is not set: expected the key file of the workers; "
                "`refold codec new-key FILE` makes one"
            )
        token = _token(token_file)
        if token is None and not anybody and not _is_loopback(host):
            raise ConfigurationError(
                f"--host: expected an address of this machine alone, such as 127.0.0.1, without "
                f"--token-file, got {host!r}: whoever reaches the port reads all that is encrypted"
            )
        made = EncryptingCodec(load_keys(key_file))
        origins = [one.rstrip("/") for one in origin or _ORIGINS]
        try:
            return CodecServer((host, port), made, origins, token)
        except OSError as error:
            raise ConfigurationError(
                f"{host}:{port}: it cannot be listened at ({error.strerror}); --port names another"
            ) from None

    server = finished(run())
    console.print(f"codec server at {server.url}, for {', '.join(server.origins)}", soft_wrap=True)
    serve_until_signalled(server)


def _token(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        token = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"--token-file: {file} cannot be read ({getattr(error, 'strerror', 'no text')})"
        ) from None
    if len(token) < 16:
        raise ConfigurationError("--token-file: expected a token of 16 characters or more")
    return token


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
