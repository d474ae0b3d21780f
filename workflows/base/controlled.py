"""What a running workflow can be told: pause, resume, other limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception

from refold.workflows.base.step_listener import StepListener
from refold.workflows.base.steps import StepOptions, step

with workflow.unsafe.imports_passed_through():
    from refold.activities.lifecycle import LifecycleActivities
    from refold.errors import InvalidRequest
    from refold.errors.short_failure import ShortFailure
    from refold.messages.run.controls import Controls
    from refold.messages.run.life import ControlRun
    from refold.messages.run.progress import ProgressMeter
    from refold.messages.run.status import RunStatus
    from refold.requests.limits import Limits
    from refold.requests.validation import accept_limits

A = TypeVar("A")
T = TypeVar("T")


class Controlled(StepListener):
    """Base of runs: each step of their work waits while they are paused.

    What a run is told goes into the database, where the batches in hand see it. A run that is asked
    to pause is ``pausing`` until the last of these batches has ended; then it is ``paused``.
    """

    def __init__(self, meter: ProgressMeter, controls: Controls) -> None:
        super().__init__(meter.failing, meter.obstacles)
        self._meter = meter
        self._meter.controls = controls
        self._busy = 0
        self._ending = False
        # Before the plan no step is at work: each step gets the controls when it begins.
        self._can_tell = False
        self._note_hold()

    @property
    def _controls(self) -> Controls:
        return self._meter.controls

    # -- signals and updates -----------------------------------------------------------------

    @workflow.signal(name="pause", description="Finish the batches in hand, then stand still")
    async def pause(self, *said: Any) -> None:
        """Asks the run to pause; nothing happens when it is paused or about to end."""
        if not self._controls.paused:
            await self._tell_if_possible(paused=True)

    @workflow.signal(name="resume", description="Go on after a pause")
    async def resume(self, *said: Any) -> None:
        """Lets a paused run go on where it stands."""
        if self._controls.paused:
            self._meter.resumed()
            await self._tell_if_possible(paused=False)

    @workflow.update(
        name="set_limits",
        description="batch_size, max_concurrency, events_per_second (0: no limit); each optional",
    )
    async def set_limits(self, *inputs: Any) -> Limits | None:
        """Changes limits while the run goes on; answers with those that it goes by then."""
        limits = accept_limits(inputs)
        await self._tell(**limits.model_dump(exclude_none=True))
        return self._meter.progress().limits

    @set_limits.validator
    def _refuse_wrong_limits(self, *inputs: Any) -> None:
        try:
            accept_limits(inputs)
        except InvalidRequest as error:
            raise ShortFailure(str(error), type="InvalidRequest", non_retryable=True) from None
        if self._meter.status.ended or self._ending:
            raise ShortFailure(
                f"expected a run that goes on, it is {self._meter.status}",
                type="InvalidRequest",
                non_retryable=True,
            )

    async def _tell_if_possible(self, **changes: Any) -> None:
        """Tells the steps at work; if that fails, the run goes on, and later steps are told."""
        try:
            await self._tell(**changes)
        except ActivityError as error:
            if is_cancelled_exception(error):
                raise
            workflow.logger.warning("the steps at work cannot be told: %s", error.cause)

    async def _tell(self, **changes: Any) -> None:
        self._meter.controls = controls = self._controls.told(**changes)
        self._note_hold()
        if self._can_tell and not self._ending:
            await workflow.execute_activity_method(
                LifecycleActivities.control_run,
                ControlRun(run_id=workflow.info().first_execution_run_id, controls=controls),
                summary=_in_words(changes),
                **step(),
            )

    # -- steps -------------------------------------------------------------------------------

    async def _do(
        self,
        method: Callable[[Any, A], Awaitable[T]],
        argument: Callable[[], A],
        *,
        summary: str,
        options: StepOptions,
    ) -> T:
        """One step of work; while the run is paused it waits.

        Args:
            method: The activity.
            argument: Its argument, made when it begins: what was told meanwhile counts.
            summary: What people read.
            options: Its time limits.
        """
        await self._unless_paused()
        self._count_busy(1)
        # Not `finally`: nothing may be shown when a worker that ends throws the coroutine away.
        try:
            done = await workflow.execute_activity_method(
                method, argument(), summary=summary, **options
            )
        except (Exception, asyncio.CancelledError):
            self._count_busy(-1)
            raise
        self._count_busy(-1)
        return done

    def _count_busy(self, more: int) -> None:
        self._busy += more
        self._note_hold()

    async def _unless_paused(self) -> None:
        if self._controls.paused and not self._ending:
            await workflow.wait_condition(lambda: not self._controls.paused or self._ending)

    async def _while_at_work(self) -> None:
        """Waits as long as the run stands still because it is paused."""
        if self._stands_still:
            await workflow.wait_condition(lambda: not self._stands_still)

    @property
    def _stands_still(self) -> bool:
        return self._controls.paused and self._busy == 0 and not self._ending

    def _note_hold(self) -> None:
        held = None
        if self._controls.paused and not self._ending:
            held = RunStatus.PAUSING if self._busy else RunStatus.PAUSED
        if held is not self._meter.held:
            self._meter.held = held
            self._show()

    def _heard(self) -> None:
        self._meter.failing = self._failures.latest
        self._meter.steps_wait_for = self._waits.waiting_for
        self._meter.obstacles = self._waits.obstacles
        self._show()

    def _show(self) -> None:
        """Puts the progress where people see it."""


def _in_words(changes: dict[str, Any]) -> str:
    if "paused" in changes:
        return "pause" if changes["paused"] else "resume"
    return ", ".join(f"{name} {value:g}" for name, value in changes.items())
