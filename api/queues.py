"""The queues, for whoever runs this installation: as JSON and as metrics. Numbers alone, over all tenants."""

from collections.abc import Iterator, Sequence
from math import inf

from fastapi import APIRouter
from sqlalchemy.orm import Session
from starlette.responses import Response

from api.bodies import json_response
from api.dependencies import Operator, ServicesOf
from api.metrics import Sample, render_metric
from api.services import Services
from core.db import signs
from core.db.queues import QueueView, queues
from core.db.verdicts import Verdict

router = APIRouter()

LATE_SECONDS = 60.0  # It comes round every five: then twelve times it did not.


@router.get("/v1/admin/queues")
def read_queues(caller: Operator, services: ServicesOf) -> Response:  # noqa: ARG001 - only the operator passes
    """Return per queue how deep, old and fast it is, what failed of it and why, and what to think of it."""
    with services.database.reading() as session:
        views = queues(session, watched_seconds=services.up_seconds)
        reconciler = reconciler_json(session, services) if services.distributed else None
    return json_response({"queues": [queue_json(view) for view in views], "reconciler": reconciler})


def reconciler_json(session: Session, services: Services) -> dict[str, object]:
    """Return when the reconciler last came round, and whether that is too long ago; null where it never did."""
    seconds = signs.age_seconds(session, signs.RECONCILED)
    return {
        "age_seconds": None if seconds is None else round(seconds, 1),
        "late": min(inf if seconds is None else seconds, services.up_seconds) > LATE_SECONDS,
    }


def queue_json(view: QueueView) -> dict[str, object]:
    """Return one queue as JSON values; times in seconds, null where nobody knows."""
    return {
        "queue": view.queue,
        "verdict": view.verdict,
        "detail": view.detail,
        "depth": depth(view),
        "oldest_seconds": round(view.oldest_seconds, 1),
        "finished": view.finished,
        "rate_per_minute": None if view.rate_per_minute is None else round(view.rate_per_minute, 2),
        "eta_seconds": None if view.eta_seconds is None else round(view.eta_seconds, 1),
        "progress": None if view.progress is None else round(view.progress, 3),
        "put_off": [{"reason": one.reason, "shared": one.shared, "count": one.count} for one in view.put_off],
        "failures": [{"stage": one.stage, "reason": one.reason, "count": one.count} for one in view.failures],
    }


def depth(view: QueueView) -> dict[str, int]:
    """Return how many are open, by state."""
    return {"ready": view.ready, "postponed": view.postponed, "leased": view.leased, "lapsed": view.lapsed}


def queue_metrics(session: Session, services: Services) -> str:
    """Return the same in the Prometheus text format. Every queue and state is always there, be it 0."""
    families = list(_families(queues(session, watched_seconds=services.up_seconds)))
    if services.distributed:
        seconds = signs.age_seconds(session, signs.RECONCILED)
        age = services.up_seconds if seconds is None else seconds
        text = "How long ago the reconciler last came round; where it never did, since this process started."
        families.append(("reconciled_age_seconds", text, [Sample(labels={}, value=round(age, 1))]))
    return "".join(render_metric(f"footnote_{name}", "gauge", text, samples) for name, text, samples in families)


def _families(views: Sequence[QueueView]) -> Iterator[tuple[str, str, list[Sample]]]:
    yield (
        "queue_depth",
        "Stages, and changes of the index, that are not finished.",
        [
            Sample(labels={"queue": view.queue, "state": state}, value=count)
            for view in views
            for state, count in depth(view).items()
        ],
    )
    yield "queue_oldest_seconds", "Age of the oldest of them.", [_sample(view, view.oldest_seconds) for view in views]
    yield (
        "queue_rate_per_minute",
        "Stages done a minute, over the last five; 0 where none was.",
        [_sample(view, view.rate_per_minute or 0.0) for view in views],
    )
    yield (
        "queue_eta_seconds",
        "Time until what is in the queue now is done; absent where nothing is done.",
        [_sample(view, view.eta_seconds) for view in views if view.eta_seconds is not None],
    )
    yield (
        "lapsed_leases",
        "Stages whose worker is gone and that nobody took over yet.",
        [_sample(view, view.lapsed) for view in views],
    )
    yield (
        "queue_put_off",
        "Stages that wait for another attempt; shared: a part that every document needs refused.",
        [
            Sample(
                labels={"queue": view.queue, "reason": one.reason, "shared": "true" if one.shared else "false"},
                value=one.count,
            )
            for view in views
            for one in view.put_off
        ],
    )
    yield (
        "queue_verdict",
        "1 for what the queue is: idle, working, waiting, slow or dead.",
        [
            Sample(labels={"queue": view.queue, "verdict": verdict}, value=float(view.verdict is verdict))
            for view in views
            for verdict in Verdict
        ],
    )
    yield (
        "failed_documents",
        "Documents that failed and were neither retried nor replaced.",
        [
            Sample(labels={"stage": one.stage, "reason": one.reason}, value=one.count)
            for view in views
            for one in view.failures
        ],
    )


def _sample(view: QueueView, value: float) -> Sample:
    return Sample(labels={"queue": view.queue}, value=value)
