"""Audits of catalogue and index: ask for one, and see what the last ones looked at, healed and missed."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.bodies import json_response
from api.dependencies import Operator, ServicesOf
from api.metrics import Sample, render_metric
from api.times import iso
from core.db import audit, index_audits
from core.db.comparing import being_refilled
from core.db.index_audits import IndexAudit
from core.errors import NotFound

router = APIRouter()


@router.post("/v1/admin/audit")
def ask_for_audit(caller: Operator, services: ServicesOf) -> Response:
    """Ask for an audit now, and return it; it runs beside everything else, and GET tells when it is done."""
    with services.database.transaction() as session:
        asked = index_audits.request_audit(session)
        audit.record(session, caller.key.tenant, caller.actor, "index.audit", str(asked.id))
    services.wake()
    return json_response(audit_json(asked), status=HTTPStatus.ACCEPTED)


@router.get("/v1/admin/audit")
def list_audits(caller: Operator, services: ServicesOf) -> Response:  # noqa: ARG001 - only the operator passes
    """Return the last audits, the newest first, and how many documents are being put back into the index now."""
    with services.database.reading() as session:
        audits = index_audits.list_audits(session)
        refilling = being_refilled(session)
    return json_response({"audits": [audit_json(one) for one in audits], "refilling": refilling})


@router.get("/v1/admin/audit/{audit}")
def show_audit(audit: UUID, caller: Operator, services: ServicesOf) -> Response:  # noqa: ARG001 - as above
    """Return one audit, and how many documents are being put back into the index now, by whichever."""
    with services.database.reading() as session:
        found = index_audits.get_audit(session, audit)
        refilling = being_refilled(session)
    if found is None:
        raise NotFound("There is no such audit.")
    return json_response({"audit": audit_json(found), "refilling": refilling})


def audit_json(one: IndexAudit) -> dict[str, Any]:
    """Return the audit as clients see it: times in ISO 8601, counts, and the missing files by name."""
    return {
        "id": str(one.id),
        "cause": one.cause,
        "day": one.day,
        "requested_at": iso(one.requested_at),
        "started_at": iso(one.started_at),
        "finished_at": iso(one.finished_at),
        **asdict(one.counts),
        "missing": list(one.missing),
        "foreign": one.foreign,
    }


def audit_metrics(session: Session) -> str:
    """Return what audits healed so far, and when and with what the last one ended, as Prometheus text."""
    healed = index_audits.healed_totals(session)
    last = index_audits.last_finished(session)
    texts = [
        render_metric(
            "footnote_audit_healed_total",
            "counter",
            "What audits healed: points removed, documents refilled, access payloads rewritten.",
            [Sample(labels={"kind": kind}, value=count) for kind, count in healed.items()],
        ),
        render_metric(
            "footnote_refilling_documents",
            "gauge",
            "Documents that are being put back into the index.",
            [Sample(labels={}, value=being_refilled(session))],
        ),
    ]
    if last is not None:
        ended, seconds = last
        texts += [
            render_metric(
                "footnote_audit_age_seconds",
                "gauge",
                "How long ago the last audit of index and catalogue ended.",
                [Sample(labels={}, value=round(seconds))],
            ),
            render_metric(
                "footnote_audit_files_missing",
                "gauge",
                "Files that documents need and that the last audit did not find.",
                [Sample(labels={}, value=ended.counts.files_missing)],
            ),
            render_metric(
                "footnote_audit_points_foreign",
                "gauge",
                "Points that the last audit left alone, because another installation's seem to be in the same index.",
                [Sample(labels={}, value=ended.foreign)],
            ),
        ]
    return "".join(texts)
