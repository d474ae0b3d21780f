"""`refold doctor` finds each fault that is put in, by name, with what to do; and nothing else."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
from sqlalchemy import text
from temporalio import activity
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker
from typer.testing import CliRunner

from refold.cli.doctor.examination import STAGES, examine
from refold.cli.doctor.finding import Finding, Level
from refold.cli.doctor.look import Look
from refold.cli.main import app
from refold.runtime.temporal.search_attributes import missing, register
from refold.stack.postgres import EmbeddedPostgres
from tests.conftest import _beside_python
from tests.support.ailments import AILMENTS, Ailment
from tests.support.counters import counters, registry_of
from tests.support.databases import Database
from tests.support.patient import QUEUE, Patient, settings_of
from tests.support.ports import free_port
from tests.support.runs import until
from tests.support.segments import Segments
from tests.support.standby import in_thread, make_standby

FINE = (Level.OK, Level.UNSEEN)


@activity.defn(name="segment")
async def segment(tenant: str) -> None:
    """Never called: its worker is there to poll."""


@pytest.fixture(scope="module")
async def well(temporal: WorkflowEnvironment) -> AsyncIterator[Client]:
    """A client of a namespace that has search attributes, and a worker that polls."""
    target = temporal.client.service_client.config.target_host
    name = f"doctor-{uuid4().hex}"
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await temporal.client.workflow_service.register_namespace(request)
    made = await Client.connect(target, namespace=name, data_converter=pydantic_data_converter)

    async def registered() -> bool:
        try:
            await register(made)
            return not await missing(made)
        except RPCError:  # the server's caches do not have the namespace yet
            return False

    await until(registered)
    worker = Worker(
        made,
        task_queue=QUEUE,
        workflows=[Segments],
        activities=[segment],
        identity="a worker",
        max_concurrent_workflow_task_polls=2,
        max_concurrent_activity_task_polls=1,
    )
    async with worker:
        yield made


@pytest.fixture
async def patient(
    well: Client,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Patient]:
    """A deployment without a fault."""
    monkeypatch.setenv("TEMPORAL_ADDRESS", well.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", well.namespace)
    registry = registry_of(counters())
    look = Look(settings_of(database), registry)
    look.made_client = well
    async with AsyncExitStack() as stack:
        made = Patient(database, well, look, monkeypatch, tmp_path, stack)
        await made.show(registry)
        yield made


def amiss(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.level not in FINE]


async def test_a_healthy_deployment_has_nothing_wrong(patient: Patient) -> None:
    found = await examine(patient.look)
    assert amiss(found) == []
    names = [check.name for stage in STAGES for check in stage]
    assert [one.check for one in found] == names
    assert [one.check for one in found if one.level is Level.UNSEEN] in ([], ["disk"])


async def test_a_role_with_what_workers_need_will_do(patient: Patient) -> None:
    await patient.log_in()
    assert amiss(await examine(patient.look)) == []


@pytest.mark.parametrize("ailment", AILMENTS, ids=lambda one: one.name)
async def test_each_fault_is_found_with_its_remedy(ailment: Ailment, patient: Patient) -> None:
    await ailment.put_in(patient)
    found = amiss(await examine(patient.look))
    print(*found, sep="\n")
    [one] = [finding for finding in found if ailment.found in finding.found]
    assert one.check == ailment.check
    assert one.level.value == ailment.level
    assert ailment.remedy in f"{one.found} {one.remedy}"
    assert {finding.check for finding in found} == {ailment.check, *ailment.also}
    if ailment.mends:
        await patient.execute(*one.remedy.split("; "))
        assert amiss(await examine(patient.look)) == []


def test_there_are_at_least_fifteen() -> None:
    assert len({ailment.name for ailment in AILMENTS}) >= 15


async def test_nothing_hangs_on_a_lock_and_the_rest_is_looked_at(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.cli.doctor.examination.SECONDS", 0.5)
    async with patient.database.engine.begin() as connection:
        await connection.execute(text("LOCK TABLE refold.leases"))
        found = amiss(await examine(patient.look))
    assert {one.check for one in found} == {"leases", "tables"}  # abandoned ones hold no lease
    assert all("no answer within" in one.found for one in found)


@pytest.mark.soak
async def test_a_server_as_it_comes_is_told_to_let_tenants_take_turns(patient: Patient) -> None:
    temporal = shutil.which("temporal", path=_beside_python())
    server = WorkflowEnvironment.start_local(dev_server_existing_path=temporal)
    async with await server as untouched:
        target = untouched.client.service_client.config.target_host
        patient.environment.setenv("TEMPORAL_ADDRESS", target)
        patient.environment.setenv("TEMPORAL_NAMESPACE", "default")
        found = amiss(await examine(patient.look))
    [one] = [finding for finding in found if finding.check == "fairness"]
    assert (one.level, "has 4 partitions" in one.found) == (Level.MIND, True)
    assert "matching.enableFairness" in one.remedy


@pytest.fixture
def place_of_a_standby(postgres: EmbeddedPostgres) -> Iterator[Path]:
    """Where a standby of the server may be, which runs as another account."""
    with tempfile.TemporaryDirectory(prefix="refold-doctor-") as directory:
        Path(directory).chmod(0o777)
        yield Path(directory) / "standby"


@pytest.mark.soak
async def test_a_standby_is_named(
    patient: Patient, postgres: EmbeddedPostgres, place_of_a_standby: Path
) -> None:
    follower = await asyncio.to_thread(make_standby, postgres, place_of_a_standby)
    await in_thread(follower, "start")
    try:
        name = patient.database.url.rsplit("/", 1)[1]
        patient.address(f"{follower.url.rsplit('/', 1)[0]}/{name}")
        found = amiss(await examine(patient.look))
    finally:
        await in_thread(follower, "stop")
    assert {one.check for one in found} == {"writes", "events"}
    [one] = [finding for finding in found if finding.check == "writes"]
    assert "leads to a standby" in one.found
    assert "primary" in one.remedy


async def said(*arguments: str, **environment: str) -> tuple[int, str]:
    command = ["doctor", *arguments]
    ended = await asyncio.to_thread(CliRunner().invoke, app, command, env=environment)
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended.exit_code, ended.stdout


async def test_the_command_tells_and_exits_with_one_when_something_is_wrong(
    patient: Patient,
) -> None:
    environment = {
        "REFOLD_DATABASE_URL": patient.database.url,
        "REFOLD_PROJECTIONS": "tests.support.mortal",
        "REFOLD_TASK_QUEUE": QUEUE,
    }
    status, output = await said(**environment)
    assert (status, output.splitlines()[-1].endswith("ok (--all shows them)")) == (0, True)
    assert "wrong" not in output
    status, output = await said("--all", **environment)
    assert status == 0
    assert "ok: workers: " in output

    password = "hidden-p4ssword"
    nowhere = f"postgresql://postgres:{password}@127.0.0.1:{free_port()}/refold"
    environment["REFOLD_DATABASE_URL"] = nowhere
    status, output = await said(**environment)
    assert status == 1
    first, *rest = output.splitlines()
    assert first.startswith("wrong: database: PostgreSQL at 127.0.0.1:")
    assert any(line.startswith("not looked at: schema, ") for line in rest)
    assert any(line.startswith("not looked at: rights, events, ") for line in rest)
    status, output = await said("--json", **environment)
    document = orjson.loads(output)
    assert (status, document["counts"]["wrong"]) == (1, 1)
    assert document["findings"][1]["check"] == "database"
    assert document["findings"][1]["level"] == "wrong"
    assert password not in output
    # What can be reached is looked at all the same.
    by_name = {one["check"]: one["level"] for one in document["findings"]}
    assert by_name["search attributes"] == by_name["workers"] == "ok"


async def test_settings_that_cannot_work_are_what_is_wrong(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFOLD_DATABASE_URL", raising=False)
    status, output = await said(REFOLD_PROJECTIONS="tests.support.mortal", REFOLD_TASK_QUEUE=QUEUE)
    assert status == 1
    assert output.startswith("wrong: database: REFOLD_DATABASE_URL is not set")
