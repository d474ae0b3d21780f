"""The codec server, as Temporal's UI and command line ask it: POST /encode and POST /decode."""

from __future__ import annotations

import hmac
import signal
import threading
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from temporalio.api.common.v1 import Payloads

from refold.errors import UnreadablePayload
from refold.runtime.payloads.codec import EncryptingCodec

# A page of the UI asks for all payloads of a page of history at once.
_MOST_BYTES = 64 * 2**20
_SECONDS = 30.0
# What the UI sends along.
_HEADERS = "content-type,x-namespace,authorization,authorization-extras"


class CodecServer(ThreadingHTTPServer):
    """Encrypts and decrypts payloads for whoever may ask.

    A browser's page may, if its origin is one of those named: from any other, whatever a browser
    has open could read what is encrypted.

    Args:
        address: The host and port to listen at; port 0 for any that is free.
        codec: What has the keys.
        origins: The origins of Temporal's UI, such as ``http://localhost:8233``.
        token: What who asks has to know; None for nothing.

    Raises:
        OSError: The address cannot be listened at.
    """

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        codec: EncryptingCodec,
        origins: Sequence[str],
        token: str | None = None,
    ) -> None:
        self.codec = codec
        self.origins = list(origins)
        self.token = token
        super().__init__(address, _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}"


class _Handler(BaseHTTPRequestHandler):
    server: CodecServer
    timeout = _SECONDS
    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        """Tells a browser whether its page may ask."""
        self._answer(HTTPStatus.NO_CONTENT if self._is_of_ui() else HTTPStatus.FORBIDDEN)

    def do_POST(self) -> None:
        """Encrypts or decrypts."""
        work = {"/encode": self.server.codec.sealed, "/decode": self.server.codec.opened}
        step = work.get(self.path.partition("?")[0])
        if not self._is_of_ui():
            self._refuse(HTTPStatus.FORBIDDEN, "this origin is none of --origin")
        elif not self._is_known():
            self._refuse(HTTPStatus.UNAUTHORIZED, "expected `Authorization: Bearer <token>`")
        elif step is None:
            self._refuse(HTTPStatus.NOT_FOUND, "expected /encode or /decode")
        elif (body := self._body()) is not None:
            try:
                asked = json_format.Parse(body, Payloads())
                done = Payloads(payloads=[step(payload) for payload in asked.payloads])
            except (json_format.ParseError, DecodeError, ValueError):
                self._refuse(HTTPStatus.BAD_REQUEST, "expected Temporal's Payloads as JSON")
            except UnreadablePayload as error:
                self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            else:
                said = json_format.MessageToJson(done, indent=None)
                self._answer(HTTPStatus.OK, said, "application/json")

    def _body(self) -> bytes | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > _MOST_BYTES:
            self.close_connection = True
            self._refuse(HTTPStatus.BAD_REQUEST, f"expected at most {_MOST_BYTES} bytes of JSON")
            return None
        return self.rfile.read(int(length))

    def _is_of_ui(self) -> bool:
        origin = self.headers.get("Origin")
        return origin is None or origin in self.server.origins

    def _is_known(self) -> bool:
        token = self.server.token
        given = self.headers.get("Authorization", "")
        return token is None or hmac.compare_digest(given.encode(), f"Bearer {token}".encode())

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # what the body holds has not been read
        self._answer(status, f"{why}\n", "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, text: str = "", kind: str | None = None) -> None:
        body = text.encode()
        self.send_response(status)
        origin = self.headers.get("Origin")
        self.send_header("Vary", "Origin")
        if origin is not None and self._is_of_ui():
            self.send_header("Access-Control-Allow-Origin", origin)
            self.send_header("Access-Control-Allow-Credentials", "true")
            self.send_header("Access-Control-Allow-Methods", "POST,OPTIONS")
            self.send_header("Access-Control-Allow-Headers", _HEADERS)
            if self.headers.get("Access-Control-Request-Private-Network") == "true":
                self.send_header("Access-Control-Allow-Private-Network", "true")
        if kind is not None:
            self.send_header("Content-Type", kind)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Says nothing: what is asked for is nobody's business."""


def serve_until_signalled(server: CodecServer) -> None:
    """Serves until SIGINT or SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # From within the thread that serves, it would wait for itself.
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    with server:
        server.serve_forever()
