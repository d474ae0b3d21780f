"""The progress of a rebuild in a web page, as it happens: FastAPI and server-sent events.

    pip install "fastapi>=0.135" uvicorn
    uvicorn examples.web_progress:app --timeout-graceful-shutdown 5

It takes the settings of a worker: REFOLD_DATABASE_URL, REFOLD_PROJECTIONS, REFOLD_TASK_QUEUE and
TEMPORAL_*. It asks nobody who they are: put it behind what does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from refold.errors import RefoldError, UnknownProjection
from refold.manager.projections import (
    AlreadyRunning,
    NoRun,
    ProjectionManager,
    StartedRun,
)
from refold.messages.run.status import RunStatus
from refold.projection.registry import Registry
from refold.runtime.settings import load_settings
from refold.runtime.temporal.client import connect

STATUS: dict[type[Exception], int] = {UnknownProjection: 404, NoRun: 404, AlreadyRunning: 409}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """One manager and one registry for all requests."""
    settings = load_settings()
    app.state.registry = settings.registry()
    client = await connect()
    async with ProjectionManager(
        client, settings.database_url, task_queue=settings.task_queue
    ) as manager:
        app.state.manager = manager
        yield


async def refused(request: Request, error: Exception) -> JSONResponse:
    """What was refused, in the words of its error."""
    return JSONResponse({"detail": str(error)}, STATUS[type(error)])


app = FastAPI(title="Refold", lifespan=lifespan)
for kind in STATUS:
    app.add_exception_handler(kind, refused)


async def the_manager(request: Request) -> ProjectionManager:
    """The process's manager."""
    manager: ProjectionManager = request.app.state.manager
    return manager


async def the_registry(request: Request) -> Registry:
    """The process's projections."""
    registry: Registry = request.app.state.registry
    return registry


Manager = Annotated[ProjectionManager, Depends(the_manager)]
Projections = Annotated[Registry, Depends(the_registry)]


async def the_run(name: str, manager: Manager) -> StartedRun:
    """The projection's run, found before the response begins: afterwards there is no 404."""
    return await manager.current_run(name)


@app.post("/projections/{name}/rebuild", status_code=202)
async def rebuild(name: str, manager: Manager, registry: Projections) -> StartedRun:
    """Starts a rebuild and returns at once."""
    registry.get(name)
    return await manager.start_rebuild(name)


@app.get("/projections/{name}/progress", response_class=EventSourceResponse)
async def progress(
    run: Annotated[StartedRun, Depends(the_run)], manager: Manager
) -> AsyncIterator[ServerSentEvent]:
    """Events `progress` until the run ends, then one `end`; a caller who leaves ends it, too."""
    async for now in manager.watch(run):
        yield ServerSentEvent(event="progress", data=now)
    yield ServerSentEvent(event="end", data=await ending(manager, run))


async def ending(manager: ProjectionManager, run: StartedRun) -> dict[str, Any]:
    """How a run ended: its result, or why it failed."""
    try:
        return (await manager.result(run)).model_dump(mode="json", exclude_none=True)
    except RefoldError as error:
        return {"status": RunStatus.FAILED, "error": str(error)}


@app.get("/")
async def page(registry: Projections) -> HTMLResponse:
    """A page that shows it."""
    options = "".join(f"<option>{escape(projection.name)}</option>" for projection in registry)
    return HTMLResponse(PAGE.replace("OPTIONS", options))


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><title>Refold</title>
<h1>Rebuild</h1>
<select id="name">OPTIONS</select> <button id="rebuild">Rebuild</button>
<p><progress id="bar" max="100" value="0"></progress> <output id="text"></output></p>
<script>
  const [name, bar, text] = ["name", "bar", "text"].map(id => document.getElementById(id));
  const url = what => `/projections/${name.value}/${what}`;
  let source;

  function watch() {
    source?.close();
    bar.value = 0;
    text.value = "";
    source = new EventSource(url("progress"));
    source.addEventListener("progress", ({data}) => {
      const now = JSON.parse(data);
      bar.value = now.percent_complete;
      text.value = `${now.status}, ${now.phase}: ${now.events_processed} of ${now.total_events}`;
    });
    // An EventSource that is not closed connects again.
    source.addEventListener("end", ({data}) => {
      source.close();
      const {status, error} = JSON.parse(data);
      text.value = error ? `${status}: ${error}` : status;
    });
  }

  document.getElementById("rebuild").onclick = async () => {
    const response = await fetch(url("rebuild"), {method: "POST"});
    if (response.ok) watch();
    else text.value = (await response.json()).detail;
  };
  name.onchange = watch;
  watch();
</script>
</html>
"""
