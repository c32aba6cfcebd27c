"""Is it alive, is it ready, and how is it doing."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.audits import audit_metrics
from api.bodies import json_response
from api.dependencies import Operator, Reader, ServicesOf
from api.documents import totals_json
from api.metrics import CONTENT_TYPE, RequestMetrics, Sample, render_metric
from api.queues import queue_metrics
from api.services import Services
from core.db import documents, lookups, stages
from core.db.comparing import being_refilled

router = APIRouter()


@router.get("/healthz")
async def alive() -> Response:
    """Return 200 while the process answers."""
    return json_response({"status": "ok"})


@router.get("/readyz")
def ready(services: ServicesOf) -> Response:
    """Return 200 when questions and uploads can be served, else 503: yes or no, and nothing more."""
    is_ready = services.health().ready
    if is_ready:
        return json_response({"ready": True})
    response = json_response({"ready": False}, status=HTTPStatus.SERVICE_UNAVAILABLE)
    response.headers["Retry-After"] = "1"
    return response


@router.get("/v1/status")
def status(caller: Reader, services: ServicesOf) -> Response:
    """Return how many of the documents that the caller may know of are in each state; the queue, to the operator."""
    with services.database.reading() as session:
        totals = documents.readable_totals(session, caller.principal)
        answer: dict[str, object] = {"totals": totals_json(totals)}
        if caller.operator:
            answer["queue"] = stages.backlog(session)
            answer["index_tasks"] = lookups.task_backlog(session)
            answer["refilling"] = being_refilled(session)
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
        text = _catalogue_metrics(session, services) + requests.render()
    return Response(text, headers={"Content-Type": CONTENT_TYPE})


def _catalogue_metrics(session: Session, services: Services) -> str:
    counts = lookups.document_counts(session)
    documents_by_state = render_metric(
        "footnote_documents",
        "gauge",
        "Documents by state.",
        [Sample(labels={"state": state}, value=count) for state, count in counts.items()],
    )
    return documents_by_state + queue_metrics(session, services) + audit_metrics(session)
