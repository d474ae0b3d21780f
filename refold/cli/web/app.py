"""What the page's server answers, and to whom."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route
from temporalio.service import RPCError

from refold.cli.output import json_bytes
from refold.cli.web.access import Access, Refusal
from refold.cli.web.actions import act
from refold.cli.web.board import Board
from refold.cli.web.details import details
from refold.cli.web.event_data import life, some_rows
from refold.cli.web.places import Places
from refold.errors import InvalidRequest, RefoldError, TemporalUnreachable, UnknownProjection
from refold.errors.codes import code_of
from refold.runtime.command import explained
from refold.runtime.database import DATABASE_ERRORS

_PAGE = Path(__file__).with_name("page")
_FILES = {path.name: path for path in sorted(_PAGE.iterdir()) if path.is_file()}
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_MOST_BODY_BYTES = 10_000
_NOT_ANSWERED: tuple[type[Exception], ...] = (RPCError, *DATABASE_ERRORS)

HEADERS = {
    # Nothing but the page's own files runs, and nobody may frame it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # A proxy that gathers what is streamed would show it late.
    "X-Accel-Buffering": "no",
}
"""Of every answer."""

Answer = Callable[[Request], Awaitable[Response]]


def make_app(places: Places, board: Board, access: Access) -> Starlette:
    """The application.

    Args:
        places: Where it looks.
        board: How all projections stand.
        access: Who may ask for what.
    """
    to = _Answers(places, board, access)
    data, event_data = access.to_data, access.to_event_data
    one = "/api/projections/{name}"
    return Starlette(
        routes=[
            Route("/", _guarded(access.to_page, to.page)),
            Route("/page/{file}", _guarded(access.to_page, to.page)),
            Route("/api/stream", _guarded(data, to.stream)),
            Route(one, _guarded(data, to.details)),
            Route(f"{one}/rows", _guarded(event_data, to.rows)),
            Route(f"{one}/life", _guarded(event_data, to.life)),
            Route(f"{one}/{{action}}", _guarded(access.to_steer, to.action), methods=["POST"]),
        ]
    )


class _Answers:
    def __init__(self, places: Places, board: Board, access: Access) -> None:
        self._places = places
        self._board = board
        self._control = access.control

    async def page(self, request: Request) -> Response:
        path = _FILES.get(request.path_params.get("file", "index.html"))
        if path is None:
            return _json({"error": {"message": "there is no such file"}}, 404)
        return FileResponse(path, media_type=_TYPES[path.suffix])

    async def stream(self, request: Request) -> Response:
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        yield _event("lags", self._board.lags)
        async for look in self._board.watch():
            if look is None:
                yield b": still there\n\n"
                continue
            told = {
                "at": look.at,
                "control": self._control,
                "problem": look.problem,
                "has_workers": look.has_workers,
                "projections": look.rows,
                "mirrors": look.mirrors,
            }
            yield _event("board", told)

    async def details(self, request: Request) -> Response:
        name = request.path_params["name"]
        return _json(await details(self._places, name, control=self._control))

    async def rows(self, request: Request) -> Response:
        return _json(await some_rows(self._places, request.path_params["name"]))

    async def life(self, request: Request) -> Response:
        asked = request.query_params
        version, after = (_number(asked.get(name), name) for name in ("version", "after"))
        name, key = request.path_params["name"], asked.getlist("key")
        return _json(await life(self._places, name, key, version, after))

    async def action(self, request: Request) -> Response:
        name, action = request.path_params["name"], request.path_params["action"]
        self._places.registry.get(name)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BODY_BYTES:
                raise InvalidRequest(f"body: expected at most {_MOST_BODY_BYTES:,} bytes")
        run = await act(await self._places.manager(), name, action, _parsed(body))
        self._board.look_soon()
        return _json({"workflow_id": run.workflow_id, "run_id": run.run_id, "asked": action}, 202)


def _guarded(refuse: Callable[[Headers], Refusal | None], answer: Answer) -> Answer:
    async def guarded(request: Request) -> Response:
        refusal = refuse(request.headers)
        if refusal is not None:
            return _refused("Refused", refusal.message, refusal.status)
        try:
            response = await answer(request)
        except RefoldError as error:
            return _refused(type(error).__name__, str(error), _status(error))
        except _NOT_ANSWERED as error:
            return _refused(type(error).__name__, explained(error), 503)
        response.headers.update(HEADERS)
        return response

    return guarded


def _status(error: RefoldError) -> int:
    if isinstance(error, UnknownProjection):
        return 404
    if isinstance(error, InvalidRequest):
        return 400
    return 503 if isinstance(error, TemporalUnreachable) else 409


def _refused(kind: str, message: str, status: int) -> Response:
    return _json({"error": {"code": code_of(kind), "type": kind, "message": message}}, status)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json_bytes(value), status, HEADERS, "application/json")


def _event(name: str, value: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + json_bytes(value) + b"\n\n"


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise InvalidRequest(f"{name}: expected a whole number, got {text!r}")
    return int(text)


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body or b"{}")
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"body: expected JSON ({error})") from None
