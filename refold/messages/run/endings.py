"""What activities are told, and tell, of a run's last steps: the swap, retention, the end."""

from __future__ import annotations

from pydantic import Field

from refold.messages.base import Message
from refold.messages.run.life import ProgressReport
from refold.messages.run.plan import RunStep
from refold.messages.run.status import RunStatus


class SwapSegment(RunStep):
    """Tells `swap_generation` what to put live.

    Attributes:
        mark: What is attached to the live table, as it was when the swap was prepared.
        last: Whether what stands in the way ends the run, instead of being waited for.
    """

    mark: str
    last: bool = False


class Swapped(Message):
    """What a segment of tries to swap came to.

    Attributes:
        done: Whether the generation is live now.
        changed: What is attached to the live table has changed since the swap was prepared:
            prepare it again.
        position: Its checkpoint.
        waiting_for: Who held the last try up.
        refused: Whether that is something attached to the live table that cannot move: somebody
            has to take it away.
        hold_milliseconds: How long readers were locked out; None when an earlier attempt swapped.
    """

    done: bool
    changed: bool = False
    position: int | None = None
    waiting_for: list[str] = Field(default_factory=list)
    refused: bool = False
    hold_milliseconds: float | None = None


class Prepared(Message):
    """What `prepare_swap` found.

    Attributes:
        mark: What is attached to the live table: the swap is for no other.
        few_left: Whether so few events are left up to the head that the swap applies them itself.
    """

    mark: str
    few_left: bool = False


class DropGenerations(Message):
    """Tells `drop_generations` what a run leaves to be dropped.

    Attributes:
        run_id: The run, which holds the projection.
        projection: The projection.
        also: Retained generations to drop beside those beyond their time.
    """

    run_id: str
    projection: str
    also: list[int] = Field(default_factory=list)


class Why(Message):
    """Why a run did not do what it was asked for.

    Attributes:
        error: In a sentence; None of a run that worked, or of which nobody said.
        error_type: What kind of error it is; empty of a run that worked.
        is_transient: Whether the same may work later though nobody mends anything.
    """

    error: str | None = None
    error_type: str = ""
    is_transient: bool = False


class FinishRun(Why):
    """Tells `finish_run` how a run ended.

    Attributes:
        run_id: The run.
        projection: The projection.
        status: How it ended.
        correlation_id: What a run that was refused answers to.
        keeps: The generation that it has made and that becomes a snapshot; None for none.
        drops: Retained generations that are dropped first, and with them those beyond their time;
            None when nothing is dropped.
    """

    run_id: str
    projection: str
    status: RunStatus
    correlation_id: str | None = None
    keeps: int | None = None
    drops: list[int] | None = None


class Finished(Message):
    """What `finish_run` found at the end.

    Attributes:
        generation: The active one; None for none.
        position: Its checkpoint.
        report: The run's counters; None when it had none.
        is_listed: Whether Temporal's server has Refold's search attributes.
        ended_before: How the run had ended before, by another execution; None when it had not.
        undropped: Why something is still there that was to be dropped; None when nothing is.
    """

    generation: int | None
    position: int | None
    report: ProgressReport | None
    is_listed: bool = False
    ended_before: str | None = None
    undropped: str | None = None
