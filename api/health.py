"""Is it alive, is it ready, and how is it doing."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.bodies import json_response
from api.dependencies import Operator, Reader, ServicesOf
from api.documents import totals_json
from api.metrics import CONTENT_TYPE, RequestMetrics, Sample, render_metric
from core.db import documents, lookups, stages

router = APIRouter()


@router.get("/healthz")
async def alive() -> Response:
    """Return 200 while the process answers."""
    return json_response({"status": "ok"})


@router.get("/readyz")
def ready(services: ServicesOf) -> Response:
    """Return 200 when questions and uploads can be served, else 503: yes or no, and nothing more."""
    is_ready = services.health().ready
    return json_response({"ready": is_ready}, status=HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE)


@router.get("/v1/status")
def status(caller: Reader, services: ServicesOf) -> Response:
    """Return how many of the documents that the caller may know of are in each state; the queue, to the operator."""
    with services.database.reading() as session:
        totals = documents.readable_totals(session, caller.principal)
        answer: dict[str, object] = {"totals": totals_json(totals)}
        if caller.operator:
            answer["queue"] = stages.backlog(session)
            answer["index_tasks"] = lookups.task_backlog(session)
    return json_response(answer)


@router.get("/v1/doctor")
def doctor(caller: Operator, services: ServicesOf) -> Response:  # noqa: ARG001 - only the operator passes
    """Return facts about this installation: versions, model, sandbox layers, and whether it is ready."""
    health = services.health()
    return json_response({**services.doctor(), "ready": health.ready, "ready_detail": health.detail})


@router.get("/metrics")
def metrics(caller: Operator, services: ServicesOf, request: Request) -> Response:  # noqa: ARG001 - as above
    """Return counts and ages in the Prometheus text format, over all tenants."""
    requests: RequestMetrics = request.app.state.metrics
    with services.database.reading() as session:
        text = _catalogue_metrics(session) + requests.render()
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


def _catalogue_metrics(session: Session) -> str:
    counts = lookups.document_counts(session)
    backlog = stages.backlog(session)
    tasks = lookups.task_backlog(session)
    labelled = [({"stage": line.name, "state": line.state}, line) for line in backlog]
    index_tasks = {"stage": "index_task", "state": "queued"}
    return "".join(
        (
            render_metric(
                "footnote_documents",
                "gauge",
                "Documents by state.",
                [Sample(labels={"state": state}, value=count) for state, count in counts.items()],
            ),
            render_metric(
                "footnote_queue_depth",
                "gauge",
                "Stages and index tasks that are not finished.",
                [
                    *(Sample(labels=labels, value=line.count) for labels, line in labelled),
                    Sample(labels=index_tasks, value=tasks.count),
                ],
            ),
            render_metric(
                "footnote_queue_oldest_seconds",
                "gauge",
                "Age of the oldest of them.",
                [
                    *(Sample(labels=labels, value=line.oldest_seconds) for labels, line in labelled),
                    Sample(labels=index_tasks, value=tasks.oldest_seconds),
                ],
            ),
        )
    )
