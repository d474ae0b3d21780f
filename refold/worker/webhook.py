"""Notifications: what somebody is to look at is posted to REFOLD_WEBHOOK_URL, as Slack takes it.

It is a handler of system events: given them in order, each at least once, in a workflow of its own.
A webhook that fails is tried again, is said, and holds no run up.
"""

from __future__ import annotations

import json
from functools import partial
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from temporalio.exceptions import ApplicationError

from refold.errors.words import shortened
from refold.system_events.events import (
    ProjectionApprovalAwaited,
    ProjectionBackfillCompleted,
    ProjectionBackfillFailed,
    ProjectionDeadLettered,
    ProjectionFailed,
    SystemEvent,
)
from refold.system_events.handlers import SystemEventContext, SystemHandler

NAME = "refold.worker.webhook:notify"
"""The handler's name, in `refold log` and in the ids of its workflows."""

_SECONDS = 10.0
# With pauses of up to five minutes: about eight hours.
_MAX_ATTEMPTS = 100
_LONGEST = 2_000


def webhook(url: str) -> SystemHandler:
    """The handler that posts to a webhook.

    Args:
        url: Where to. It may hold a secret: no error and no log has more of it than the host.
    """
    events = (
        ProjectionApprovalAwaited,
        ProjectionBackfillFailed,
        ProjectionBackfillCompleted,
        ProjectionFailed,
        ProjectionDeadLettered,
    )
    return SystemHandler(NAME, events, partial(_post, url), max_attempts=_MAX_ATTEMPTS)


def said_of(event: SystemEvent) -> str:
    """What a notification says, in Slack's markup."""
    said = shortened(_words(event), _LONGEST)
    for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        said = said.replace(character, escaped)
    return f"*{event.projection}*: {said}"


def _words(event: SystemEvent) -> str:
    name = event.projection
    match event:
        case ProjectionApprovalAwaited():
            why = f" ({'; '.join(event.reasons)})" if event.reasons else ""
            return (
                f"{event.kind} awaits approval{why}: `refold diff {name}`, then `refold approve "
                f"{name}` or `refold reject {name}`"
            )
        case ProjectionBackfillCompleted():
            table = "" if event.generation is None else f", generation {event.generation} is live"
            return f"{event.kind} {event.status}: {event.events_processed:,} events{table}"
        case ProjectionBackfillFailed():
            return f"{event.kind} {event.status} ({event.code}): {event.error}"
        case ProjectionFailed():
            again = f"`refold restart {name}` once it is mended"
            if event.next_attempt_at is not None:
                again = f"it is tried again at {event.next_attempt_at:%Y-%m-%d %H:%M:%S %Z}"
            return f"does not follow any more ({event.code}): {event.message}; {again}"
        case ProjectionDeadLettered():
            events = (
                "1 event is" if event.dead_letters == 1 else f"{event.dead_letters:,} events are"
            )
            return (
                f"{events} set aside, the latest at position {event.position} "
                f"({event.event_type}): {event.error}: `refold dead-letters list {name}`"
            )
    raise AssertionError(f"no notification of {type(event).__name__}")


class _NoRedirect(HTTPRedirectHandler):
    """A post that is redirected would become a get, which delivers nothing."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, event: SystemEvent, context: SystemEventContext) -> None:
    body = json.dumps({"text": said_of(event)}).encode()
    # Whoever receives it twice knows it again.
    headers = {"Content-Type": "application/json", "Idempotency-Key": context.id}
    request = Request(url, body, headers, method="POST")  # settings say http or https
    try:
        with build_opener(_NoRedirect).open(request, timeout=_SECONDS):
            return
    except HTTPError as error:
        why = f"got {error.code}"
        error.close()
    except (OSError, HTTPException) as error:
        why = f"got no answer ({getattr(error, 'reason', None) or type(error).__name__})"
    raise ApplicationError(
        f"REFOLD_WEBHOOK_URL, at {urlsplit(url).hostname}: expected an answer of 200 to 299, "
        f"{why}; the notification is tried again",
        type="WebhookFailed",
    ) from None
