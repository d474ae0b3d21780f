"""Temporal's Worker Versioning: of which build of the code a worker is, if anybody says so.

`refold.workflows.versioned` says which workflows stay on their build.
"""

from __future__ import annotations

from temporalio.api.workflowservice.v1 import DescribeWorkerDeploymentRequest
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from refold.errors import ConfigurationError
from refold.runtime.settings import Settings


def deployment_of(settings: Settings) -> WorkerDeploymentConfig | None:
    """What Temporal is told of this worker's build; None for workers without versions.

    Raises:
        ConfigurationError: Only one of the two settings is there.
    """
    name, build = settings.worker_deployment, settings.worker_build_id
    if name is None and build is None:
        return None
    if name is None or build is None:
        there, lacking = ("WORKER_DEPLOYMENT", "WORKER_BUILD_ID")[:: 1 if build is None else -1]
        raise ConfigurationError(
            f"REFOLD_{lacking}: expected it beside REFOLD_{there}, got none: set both for Worker "
            "Versioning, or neither"
        )
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(deployment_name=name, build_id=build),
        use_worker_versioning=True,
    )


def build_of(deployment: WorkerDeploymentConfig | None) -> str | None:
    """The build to whose workers alone Temporal gives its runs: ``deployment.build``.

    None without versions.
    """
    if deployment is None or not deployment.use_worker_versioning:
        return None
    return deployment.version.to_canonical_string()


async def is_current(client: Client, build: str) -> bool:
    """Whether new workflows begin on a build, as `build_of` has it.

    Raises:
        RPCError: The server does not answer, or does not permit the question.
    """
    version = WorkerDeploymentVersion.from_canonical_string(build)
    try:
        described = await client.workflow_service.describe_worker_deployment(
            DescribeWorkerDeploymentRequest(
                namespace=client.namespace, deployment_name=version.deployment_name
            )
        )
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:  # nobody has polled as one of it yet
            return False
        raise
    routing = described.worker_deployment_info.routing_config
    return routing.current_deployment_version.build_id == version.build_id
