"""Histories that are continued soon: a server that suggests it, and the chain of them."""

from __future__ import annotations

from typing import Any

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from refold.messages.run.life import BackfillResult
from tests.conftest import _beside_python

Handle = WorkflowHandle[Any, BackfillResult]

# Long histories are begun anew at this many events, where Temporal would at thousands.
SHORT = 40


async def short_history_server(length: int = SHORT) -> WorkflowEnvironment:
    """A Temporal server that suggests to continue as new at a length."""
    from shutil import which

    from temporalio.contrib.pydantic import pydantic_data_converter

    return await WorkflowEnvironment.start_local(
        dev_server_existing_path=which("temporal", path=_beside_python()),
        data_converter=pydantic_data_converter,
        dev_server_log_level="error",
        dev_server_extra_args=[
            *("--dynamic-config-value", f"limit.historyCount.suggestContinueAsNew={length}"),
        ],
    )


async def continuations(client: Client, handle: Handle) -> list[Handle]:
    """The run that was started and all that it continued as, in order."""
    chain = []
    run_id = handle.first_execution_run_id
    while run_id is not None:
        link: Handle = client.get_workflow_handle(
            handle.id, run_id=run_id, result_type=BackfillResult
        )
        chain.append(link)
        described = await link.describe()
        run_id = None
        if described.status == WorkflowExecutionStatus.CONTINUED_AS_NEW:
            last = (await link.fetch_history()).events[-1]
            attributes = last.workflow_execution_continued_as_new_event_attributes
            run_id = attributes.new_execution_run_id
    return chain
