"""Settings from the environment (REFOLD_*); Temporal's and OpenTelemetry's are their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from refold.errors import ConfigurationError
from refold.projection.backfill_policy import BackfillPolicy
from refold.projection.checkpoints import SAME_DATABASE, SCHEMES, Checkpoints
from refold.projection.defaults import Defaults
from refold.projection.snapshot_policy import Snapshots
from refold.runtime.database_url import EXAMPLE, DatabaseUrl, parse_database_url
from refold.runtime.threads import CALL_SECONDS

if TYPE_CHECKING:
    from refold.projection.registry import Registry

PATIENCE_SECONDS = 600.0
"""A rolling deployment takes less."""

MOST_PROCESSES = 64
"""Of worker processes on a machine."""

_JSON_EXAMPLES = {
    "backfill": '{"batch_size": 500}',
    "snapshots": '{"strategy": "automatic", "every_n_events": 1000, "keep_last": 5}',
}


class Settings(BaseSettings):
    """What a worker or a command needs to know.

    Attributes:
        database_url: PostgreSQL that holds read models, ``refold.*`` and events.
        worker_processes: How many processes `refold worker` keeps up.
        projections: Modules to import for projections, comma-separated in the environment.
        task_queue: Temporal task queue.
        segment_seconds: What one refold or follow activity aims to last, in seconds.
        heartbeat_timeout_seconds: Silence after which Temporal hands an activity to another
            worker, in seconds.
        swap_patience_seconds: How long a finished table waits for what stops its swap to be taken
            away, in seconds: a materialized view, say, that was made meanwhile.
        handler_seconds: How long one call of a handler, key function or predicate may take, in
            seconds.
        system_events_days: How long system events are kept, in days.
        history_days: How long ended runs and discarded generations are remembered, in days; the
            latest of each projection are remembered longer.
        deployment_seconds: How long a step of a projection that a worker does not have, or not in
            that version, is left to other workers before it fails, in seconds.
        events: Where the events are: ``module:name`` of an `EventSource`, or of a function without
            arguments that makes one; None for Refold's own table.
        events_url: The PostgreSQL that has the events, when it is another database than the read
            models'; None for what the `EventSource` says, else for theirs.
        mirrors: What mirrors copy from: ``module:name`` of each `MirrorSource`, or of a function
            without arguments that makes one, comma-separated in the environment.
        tenant_path: Where an event names its tenant: ``metadata.tenant_id``, ``data.tenant``, or
            ``stream_id``; None for events without tenants.
        checkpoints: Where live checkpoints are kept, unless a projection says otherwise:
            ``same_database``, or the address of a store.
        sql_url: The PostgreSQL that keeps checkpoints apart from their rows.
        redis_url: The Redis that does.
        dynamodb_url: The DynamoDB table that does: ``dynamodb://table?region=…``.
        cosmosdb_url: The container of Cosmos DB that does: ``cosmosdb://host/database/container``.
        snapshots: When projections make snapshots that do not say so themselves, and of which no
            `Defaults` does: ``none``, ``automatic``, or ``automatic:1000:5`` for one every 1,000
            events and the last 5 kept; or JSON with the fields of `refold.Snapshots`.
        backfill: The same for backfills; JSON with fields of `refold.BackfillPolicy`.
        webhook_url: Where notifications go, as JSON with ``text``, which Slack takes; None for
            none.
        web_token: What `refold web` asks for, at least 16 printable ASCII characters; None for one
            that it makes up and prints, where it needs one.
        health_port: Where a worker answers probes, over HTTP; None for nowhere.
        worker_deployment: The name of the deployment that workers of this code are versions of, for
            Temporal's Worker Versioning; None for workers without versions.
        worker_build_id: Which build of the code these workers are; with `worker_deployment`.
        payload_key_file: The keys that encrypt what crosses Temporal, see
            `refold.runtime.payloads.keys`; None to encrypt nothing.
        log_format: ``text`` for people, or ``json``: one object a line.
    """

    model_config = SettingsConfigDict(env_prefix="REFOLD_", extra="ignore")

    database_url: str | None = None
    projections: Annotated[list[str], NoDecode] = ["projections"]
    task_queue: str = Field(default="refold", min_length=1)
    worker_processes: int = Field(default=1, ge=1, le=MOST_PROCESSES)
    segment_seconds: float = Field(default=10, gt=0, le=600)
    heartbeat_timeout_seconds: float = Field(default=10, ge=1, le=600)
    swap_patience_seconds: float = Field(default=900, ge=0)
    handler_seconds: float = Field(default=CALL_SECONDS, gt=0, le=3600)
    system_events_days: float = Field(default=30, gt=0)
    history_days: float = Field(default=30, gt=0)
    deployment_seconds: float = Field(default=PATIENCE_SECONDS, ge=0)
    events: str | None = None
    events_url: str | None = Field(default=None, repr=False)
    mirrors: Annotated[list[str], NoDecode] = []
    tenant_path: str | None = Field(
        default=None, pattern=r"^(stream_id|(data|metadata)(\.[^.]+)+)$"
    )
    checkpoints: str = Field(default=SAME_DATABASE, min_length=1, repr=False)
    sql_url: str | None = Field(default=None, repr=False)
    redis_url: str | None = Field(default=None, repr=False)
    dynamodb_url: str | None = Field(default=None, repr=False)
    cosmosdb_url: str | None = Field(default=None, repr=False)
    snapshots: Annotated[Snapshots | None, NoDecode] = None
    backfill: BackfillPolicy = BackfillPolicy()
    webhook_url: str | None = Field(default=None, repr=False)
    web_token: str | None = Field(default=None, pattern=r"^[!-~]{16,}$", repr=False)
    health_port: int | None = Field(default=None, ge=1, le=65535)
    worker_deployment: str | None = Field(default=None, max_length=200, pattern=r"^[^./]+$")
    worker_build_id: str | None = Field(default=None, max_length=200)
    payload_key_file: Path | None = None
    log_format: Literal["text", "json"] = "text"

    @field_validator("snapshots", mode="before")
    @classmethod
    def _policy(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        is_json = value.lstrip().startswith("{")
        return Snapshots.model_validate_json(value) if is_json else Snapshots.parse(value)

    @property
    def defaults(self) -> Defaults:
        """What holds for projections that say nothing else, and of which no `Defaults` does."""
        store = SCHEMES.get(self.checkpoints.partition("://")[0])
        return Defaults(
            checkpoints=Checkpoints(store=store) if store else Checkpoints(),
            snapshots=self.snapshots,
            backfill=self.backfill,
        )

    def registry(self) -> Registry:
        """Loads what `projections` names, with these settings behind all that is declared.

        Raises:
            ConfigurationError: A module cannot be imported.
            InvalidProjection: A declaration cannot work.
        """
        from refold.projection.registry import load_registry

        return load_registry(self.projections, self.defaults)

    @field_validator("webhook_url")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        address = urlsplit(value or "")
        if value and (address.scheme not in ("http", "https") or not address.hostname):
            raise ValueError("expected an address such as https://hooks.example/services/…")
        return value or None

    @field_validator(
        *("events", "events_url", "web_token", "payload_key_file"),
        *("worker_deployment", "worker_build_id", "health_port"),
        mode="before",
    )
    @classmethod
    def _none_if_empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("projections", "mirrors", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    def database_address(self) -> DatabaseUrl:
        """Where the database is.

        Raises:
            ConfigurationError: REFOLD_DATABASE_URL is not set, is not a PostgreSQL URL, or has a
                parameter that cannot be honoured.
        """
        if not self.database_url:
            raise ConfigurationError(
                f"REFOLD_DATABASE_URL is not set: expected an address such as {EXAMPLE} "
                "(`refold dev` starts a PostgreSQL and prints its address)"
            )
        return parse_database_url(self.database_url)

    def store_urls(self) -> list[tuple[str, str, str]]:
        """The addresses of checkpoint stores that are set: store, variable and address."""
        urls = {
            "sql": self.sql_url,
            "redis": self.redis_url,
            "dynamodb": self.dynamodb_url,
            "cosmosdb": self.cosmosdb_url,
        }
        return [(store, f"REFOLD_{store.upper()}_URL", url) for store, url in urls.items() if url]


def load_settings() -> Settings:
    """The settings of this process.

    Raises:
        ConfigurationError: A variable has a value that cannot work; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable, *within = (str(part) for part in first["loc"])
        place = f"{'.'.join(within)}: " if within else ""
        # What is not shown elsewhere may hold a secret.
        is_shown = Settings.model_fields[variable].repr
        got = repr(first["input"]) if is_shown else "something else"
        raise ConfigurationError(
            f"REFOLD_{variable.upper()}: {place}{first['msg']}, got {got}"
        ) from None
    except SettingsError as error:
        field = str(error).partition('field "')[2].partition('"')[0]
        raise ConfigurationError(
            f"REFOLD_{field.upper()}: expected JSON, such as {_JSON_EXAMPLES.get(field, '{}')} "
            f"({error.__cause__})"
        ) from None
