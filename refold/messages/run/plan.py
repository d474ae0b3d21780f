"""What a run is going to do: made by its first activity, for the next ones and for people."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from refold.messages.base import Message, open_to_new
from refold.messages.run.controls import Controls
from refold.messages.run.preview import Preview
from refold.messages.run.selection import Selection
from refold.requests.criteria import Criteria
from refold.requests.limits import Limits, Pacing
from refold.requests.poison_policy import Poison
from refold.requests.runs import Approval


class RunStep(Message):
    """Tells a step which run it is of: it goes by that run's plan, as the database has it.

    Attributes:
        run_id: The run.
        bringing_back: It goes by the plan that puts the run's backup live again.
        knows_obstacles: Whether the run knows of something that would stop its swap: then it must
            hear when nothing does any more.
    """

    run_id: str
    bringing_back: bool = False
    knows_obstacles: bool = True


class Plan(Message):
    """What a run is going to do; made once, kept in ``refold.runs``.

    Attributes:
        run_id: The run.
        projection: The projection.
        version: The projection's version that folds.
        generation: The generation that is written.
        atomic: Whether it is a shadow, to be swapped in.
        position: What is refolded reaches to here; the rest is followed. For a shadow it is the
            live table's checkpoint, where the two are compared.
        head: The settled head when the plan was made: what is followed reaches at least to here.
        partitions: How many slices to refold; 0 when everything is followed.
        max_concurrency: Partitions at a time.
        batch_size: Events in one transaction.
        total_events: Events to be refolded or followed, as of the plan.
        heartbeat_seconds: Silence after which an activity is given to another worker.
        swap_patience_seconds: How long the swap waits for what cannot move to be taken away.
        note: Why it is done otherwise than one might expect; None when it is not.
        restores: The generation stood live before: it is followed and swapped, never built.
        stale: It is swapped in at `position`, without the events since.
        copies: The generation whose rows and checkpoint the one that is written begins with; None
            when it does not begin as a copy.
        snapshot: The snapshot of that generation, by its id, whose rows are copied; None when the
            generation is copied as it is.
        snapshot_version: The version that made these rows, when it is another one: then this
            version's `restore` makes its own of what `create` has kept.
        backup: The generation that holds what stood there before an in-place run; None for none.
        rollback_on_failure: Bring the backup back when the run does not complete.
        keep_backup: Keep the backup when the run completes.
        approval: Who decides that a new table goes live.
        max_changed_percent: See `refold.requests.BackfillRequest`.
        max_removed_rows: See `refold.requests.BackfillRequest`.
        selection: Which events name the keys that are repaired; None for all keys.
        selected_keys: How many keys these are; None for all.
        pacing: How fast it may go, and what it holds back for.
        poison: What is done with poison events.
        preview: The same for people, with what moves with the table and how long it may take;
            None only while the plan is made.
        is_listed: Whether Temporal's server has Refold's search attributes, as it was begun.
        key_cuts: Of a key that is a function: the slices of the log, each from one position
            (exclusive) to the next (inclusive), whose keys are computed first. Empty when nothing
            is computed first.
        is_keyed: Whether they were computed when the plan was made. Else it is made once more then.
        letters_of: The generation whose dead letters there are already; None for none.
    """

    run_id: str
    projection: str
    version: int
    generation: int
    atomic: bool
    position: int
    head: int
    partitions: int
    max_concurrency: int
    batch_size: int
    total_events: int
    heartbeat_seconds: float
    swap_patience_seconds: float = 900.0
    note: str | None = None
    restores: bool = False
    stale: bool = False
    copies: int | None = None
    snapshot: int | None = None
    snapshot_version: int | None = None
    backup: int | None = None
    rollback_on_failure: bool = False
    keep_backup: bool = False
    approval: Approval = Approval.AUTO
    max_changed_percent: float | None = None
    max_removed_rows: int | None = None
    selection: Selection | None = None
    selected_keys: int | None = None
    pacing: Annotated[Pacing, open_to_new(Pacing)] = Pacing()
    poison: Annotated[Poison, open_to_new(Poison)] = Poison()
    preview: Preview | None = None
    is_listed: bool = False
    key_cuts: list[int] = Field(default_factory=list)
    is_keyed: bool = False
    letters_of: int | None = None

    @property
    def key_slices(self) -> int:
        """How many slices of the log there are whose keys are computed first."""
        return max(0, len(self.key_cuts) - 1)

    @property
    def keys_upto(self) -> int:
        """Up to which position (inclusive) keys are computed before the plan is whole."""
        return self.key_cuts[-1]

    @property
    def awaits_keys(self) -> bool:
        """Whether keys have to be computed before it can be made as a whole."""
        return self.key_slices > 0 and not self.is_keyed

    @property
    def step(self) -> RunStep:
        """What a step that goes by this plan is told."""
        return RunStep(run_id=self.run_id, bringing_back=self.brings_back)

    @property
    def brings_back(self) -> bool:
        """Whether it is `bringing_back`: no further than the live table, which may have failed."""
        return self.backup == self.generation

    def shown_as(self, preview: Preview) -> Plan:
        """The plan with what people see of it, whose note has all that there is to say."""
        return self.model_copy(update={"note": preview.note, "preview": preview})

    def of(self, step: RunStep) -> Plan:
        """The plan that the step goes by."""
        return self.bringing_back() if step.bringing_back else self

    @property
    def retries_only(self) -> bool:
        """Whether it retries dead letters in the live table: new events are for others to apply."""
        selection = self.selection
        retries = selection is not None and selection.criteria is Criteria.DEAD_LETTERS
        return retries and not self.atomic

    @property
    def replaces_keys(self) -> bool:
        """Whether keys are refolded in a table that has rows: the live one, or a copy of it."""
        return not self.atomic or self.copies is not None

    def limits(self, controls: Controls) -> Limits:
        """The limits that the run goes by: what it has been told, else what was planned."""
        rate = controls.events_per_second
        # As they are: a projection's own batches may be larger than what people can ask for.
        return Limits.model_construct(
            batch_size=controls.batch_size or self.batch_size,
            max_concurrency=controls.max_concurrency or self.max_concurrency,
            events_per_second=self.pacing.events_per_second if rate is None else rate,
        )

    def bringing_back(self) -> Plan:
        """The plan that puts the backup live again.

        Raises:
            ValueError: There is no backup.
        """
        if self.backup is None:
            raise ValueError("expected a plan with a backup")
        return self.model_copy(
            update={
                "generation": self.backup,
                "atomic": True,
                "restores": True,
                "partitions": 0,
                # Readers wait for it: it does not.
                "pacing": Pacing(),
            }
        )
