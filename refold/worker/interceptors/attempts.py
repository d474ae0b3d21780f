"""Attempts of activities that fail: how often, and what their workflows are told of them."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.api.enums.v1 import TimeoutType
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError

from refold.messages.step_failures import SIGNAL, StepFailed, step_name

logger = logging.getLogger(__name__)

# What nobody knows is tried so often; with the waits between it takes about a minute. Where an
# attempt itself takes long, fewer will do.
_MOST_UNKNOWN, _LEAST_UNKNOWN, _LONGEST_UNKNOWN_SECONDS = 10, 3, 300.0

# The same failure is told again after this time, and more and more seldom: each telling makes a
# workflow's history longer.
_FIRST_TELL_SECONDS, LONGEST_TELL_SECONDS = 30.0, 600.0

# Temporal may be away: the failure itself then waits, too, but not for long.
_RPC_TIMEOUT = timedelta(seconds=2)

_REMEMBERED = 1_000
_NUMBERS = re.compile(r"[0-9]+")


class Telling:
    """When a failure of an activity is told: at once, and then more and more seldom.

    Args:
        clock: Seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.began = clock()
        self._at: float | None = None
        self._attempts = 0
        self.outline = ""

    @property
    def seconds(self) -> float:
        """Since the first failure."""
        return self._clock() - self.began

    def is_due(self, kind: str, message: str, attempts: int) -> bool:
        """Whether it is to be told now."""
        if self._at is None:
            return True
        since = self._clock() - self._at
        # However much changes: histories have an end.
        if since < min(self.seconds / 20, LONGEST_TELL_SECONDS):
            return False
        if _outline(kind, message) != self.outline:
            return True
        often = min(max(_FIRST_TELL_SECONDS, self.seconds / 10), LONGEST_TELL_SECONDS)
        return attempts >= 2 * self._attempts or since >= often

    def told(self, kind: str, message: str, attempts: int) -> None:
        """It has been told."""
        self._at, self._attempts = self._clock(), attempts
        self.outline = _outline(kind, message)


@dataclass
class _Past:
    """What this process remembers of an activity's attempts."""

    telling: Telling = field(default_factory=Telling)
    unknown: int = 0
    last_attempt: int = 0


class Attempts:
    """The activities of this process that have failed, by workflow run and activity id."""

    def __init__(self) -> None:
        self._past: OrderedDict[tuple[str, str], _Past] = OrderedDict()

    @contextmanager
    def attempt(self, arguments: Sequence[Any]) -> Iterator[Attempt]:
        """The attempt that is being made now.

        One before it that has ended without a word is told, while this one is at work.
        """
        info = activity.info()
        key = (info.workflow_run_id or "", info.activity_id)
        made = Attempt(self, key, info, step_name(info.activity_type, arguments))
        silence = None
        if info.attempt > 1 and made.knows_nothing_of_the_last:
            silence = asyncio.create_task(made.report_silence())
        try:
            yield made
        finally:
            if silence is not None:
                silence.cancel()

    def get(self, key: tuple[str, str]) -> _Past | None:
        """What is remembered."""
        return self._past.get(key)

    def remember(self, key: tuple[str, str]) -> _Past:
        """What is remembered, from now on."""
        past = self._past.setdefault(key, _Past())
        self._past.move_to_end(key)
        # Those that another process has ended.
        while len(self._past) > _REMEMBERED:
            self._past.popitem(last=False)
        return past

    def forget(self, key: tuple[str, str]) -> None:
        """The activity has ended."""
        self._past.pop(key, None)


@dataclass
class Attempt:
    """One attempt.

    Attributes:
        step: What people call what it does.
    """

    _attempts: Attempts
    _key: tuple[str, str]
    _info: activity.Info
    step: str
    _reporting: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def kind(self) -> str:
        """The activity's type."""
        return self._info.activity_type

    def worked(self) -> None:
        """There will be no other."""
        self._attempts.forget(self._key)

    @property
    def knows_nothing_of_the_last(self) -> bool:
        """Whether the attempt before this one has not failed in this process."""
        past = self._attempts.get(self._key)
        return past is None or past.last_attempt != self._info.attempt - 1

    def count_unknown(self) -> str | None:
        """Counts an error that nobody knows; why it is the last one, or None."""
        past = self._attempts.remember(self._key)
        past.unknown += 1
        seconds = past.telling.seconds
        long = past.unknown >= _LEAST_UNKNOWN and seconds > _LONGEST_UNKNOWN_SECONDS
        if past.unknown < _MOST_UNKNOWN and not long:
            return None
        return f"tried {past.unknown} times in {seconds:.0f} s; the worker's log says where"

    def is_news(self, failure: ApplicationError) -> bool:
        """Whether it is another failure than the one that was told last."""
        past = self._attempts.remember(self._key)
        return past.telling.outline != _outline(failure.type or "", failure.message)

    async def report(self, failure: ApplicationError) -> None:
        """Tells the workflow that this attempt has failed, and will be followed by another."""
        past = self._attempts.remember(self._key)
        past.last_attempt = self._info.attempt
        await self._tell(past, failure.type or "", failure.message, self._info.attempt)

    async def report_silence(self) -> None:
        """Tells the workflow of an attempt that ended without a word, if the last one did."""
        try:
            pending = (await self._workflow().describe(rpc_timeout=_RPC_TIMEOUT)).raw_description
            for one in pending.pending_activities:
                failure = one.last_failure
                if one.activity_id != self._info.activity_id:
                    continue
                if failure.HasField("timeout_failure_info"):
                    kind = TimeoutType.Name(failure.timeout_failure_info.timeout_type)
                    name = kind.removeprefix("TIMEOUT_TYPE_").replace("_", " ").lower()
                    message = (
                        f"an attempt ended without a word ({name} timeout): its worker was killed, "
                        "frozen, too busy or cut off"
                    )
                    past = self._attempts.remember(self._key)
                    await self._tell(past, "Timeout", message, self._info.attempt - 1)
        except Exception as error:
            logger.debug("%s: the last attempt is not known: %s", self.step, error)

    async def _tell(self, past: _Past, kind: str, message: str, attempts: int) -> None:
        async with self._reporting:
            if not past.telling.is_due(kind, message, attempts):
                return
            said = StepFailed(step=self.step, type=kind, message=message, attempts=attempts)
            try:
                await self._workflow().signal(
                    SIGNAL, said.model_dump(mode="json"), rpc_timeout=_RPC_TIMEOUT
                )
            except Exception as error:
                logger.debug("%s: its workflow cannot be told: %s", self.step, error)
                return
            past.telling.told(kind, message, attempts)

    def _workflow(self) -> WorkflowHandle[Any, Any]:
        info = self._info
        return activity.client().get_workflow_handle(
            info.workflow_id or "", run_id=info.workflow_run_id
        )


def _outline(kind: str, message: str) -> str:
    """What makes a failure the same as another: ports, process ids and times do not."""
    return f"{kind}: {_NUMBERS.sub('0', message)}"
