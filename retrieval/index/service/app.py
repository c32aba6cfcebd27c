"""The routes, in Qdrant's envelope.

Exactly the calls of qdrant-client that `retrieval.index.qdrant` and `retrieval.index.qdrant_connection` make.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from itertools import count
from typing import Any, TypeVar

import orjson
import qdrant_edge as edge
import structlog
from pydantic import BaseModel, ValidationError
from qdrant_client.http import models
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from retrieval.index.service import requests
from retrieval.index.service.collections import Collection, Collections
from retrieval.index.service.group_commit import GroupCommit
from retrieval.index.service.guard import Guard, answer, refusal
from retrieval.index.service.refusals import Malformed, NotSupported, Refusal, TooLarge
from retrieval.index.service.watch import LoopWatch

log = structlog.get_logger()

MOST_BODY_BYTES = 32 * 1024 * 1024  # As Qdrant's own default; our adapter's largest is some 6 MB.

M = TypeVar("M", bound=BaseModel)
Do = Callable[["_Service", Request], Awaitable[object]]


class _Service:
    """What the routes work with."""

    def __init__(self, collections: Collections, writes: GroupCommit) -> None:
        self.collections = collections
        self._writes = writes
        self._numbers = count()

    def collection(self, request: Request) -> Collection:
        return self.collections.get(request.path_params["collection"])

    async def write(self, collection: Collection, operations: Iterable[edge.UpdateOperation]) -> models.UpdateResult:
        """Apply and flush; also with `wait=false`, which allows to answer earlier and does not oblige to."""
        await self._writes.write(collection, operations)
        return models.UpdateResult(operation_id=next(self._numbers), status=models.UpdateStatus.COMPLETED)


async def _exists(service: _Service, request: Request) -> object:
    exists = service.collections.exists(request.path_params["collection"])
    return models.CollectionExistence(exists=exists)


async def _create(service: _Service, request: Request) -> object:
    service.collections.create(request.path_params["collection"], await _read(request, models.CreateCollection))
    return True


async def _drop(service: _Service, request: Request) -> object:
    return service.collections.drop(request.path_params["collection"])


async def _index(service: _Service, request: Request) -> object:
    asked = await _read(request, models.CreateFieldIndex)
    collection, operation = service.collection(request), requests.field_index(asked)
    return await service.write(collection, [] if collection.has_index(asked.field_name) else [operation])


async def _upsert(service: _Service, request: Request) -> object:
    asked = await _read(request, models.PointsList)
    collection = service.collection(request)
    return await service.write(collection, requests.upserts(collection.layout, asked))


async def _set_payload(service: _Service, request: Request) -> object:
    asked = await _read(request, models.SetPayload)
    return await service.write(service.collection(request), [requests.set_payload(asked)])


async def _delete(service: _Service, request: Request) -> object:
    asked = await _read(request, models.FilterSelector)
    return await service.write(service.collection(request), [requests.deletion(asked)])


async def _count(service: _Service, request: Request) -> object:
    asked = requests.count(await _read(request, models.CountRequest))
    return models.CountResult(count=service.collection(request).count(asked))


async def _query(service: _Service, request: Request) -> object:
    asked = await _read(request, models.QueryRequest)
    collection = service.collection(request)
    found = collection.query(requests.query(collection.layout, asked))
    return models.QueryResponse(
        points=[
            models.ScoredPoint(id=point.id, version=point.version, score=point.score, payload=point.payload)
            for point in found
        ]
    )


async def _scroll(service: _Service, request: Request) -> object:
    asked = requests.scroll(await _read(request, models.ScrollRequest))
    records, following = service.collection(request).scroll(asked)
    return models.ScrollResult(
        points=[models.Record(id=record.id, payload=record.payload) for record in records],
        next_page_offset=following,
    )


_ROUTES: tuple[tuple[str, str, Do], ...] = (
    ("GET", "/collections/{collection}/exists", _exists),
    ("PUT", "/collections/{collection}", _create),
    ("DELETE", "/collections/{collection}", _drop),
    ("PUT", "/collections/{collection}/index", _index),
    ("PUT", "/collections/{collection}/points", _upsert),
    ("POST", "/collections/{collection}/points/payload", _set_payload),
    ("POST", "/collections/{collection}/points/delete", _delete),
    ("POST", "/collections/{collection}/points/count", _count),
    ("POST", "/collections/{collection}/points/query", _query),
    ("POST", "/collections/{collection}/points/scroll", _scroll),
)


def create_app(collections: Collections, *, api_key: str | None) -> Starlette:
    """Return the application over these collections, which the caller closes when it has ended.

    With a key, every request has to send it, but for the version and the probes. Without one, only requests that name
    this machine by a loopback name are answered: a page in a browser could send others.
    """

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        writes = GroupCommit()
        watch = LoopWatch(asyncio.get_running_loop())
        watch.start()
        app.state.service = _Service(collections, writes)
        yield
        await writes.aclose()
        watch.stop()

    return Starlette(
        routes=[
            Route("/", _version),
            *(Route(path, _alive) for path in ("/healthz", "/livez", "/readyz")),
            *(Route(path, _endpoint(do), methods=[method]) for method, path, do in _ROUTES),
        ],
        middleware=[Middleware(Guard, api_key=api_key)],
        exception_handlers={HTTPStatus.NOT_FOUND: _no_route, HTTPStatus.METHOD_NOT_ALLOWED: _no_route},
        lifespan=lifespan,
    )


async def _version(_request: Request) -> Response:
    """Say of which Qdrant these are the requests and answers: the version of the client, which compares it."""
    told = models.VersionInfo(title="footnote index, with Qdrant Edge", version=version("qdrant-client"))
    return Response(told.model_dump_json(exclude_none=True), media_type="application/json")


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("all shards are ready")


async def _no_route(request: Request, _error: Exception) -> Response:
    return refusal(NotSupported(f"{request.method} {request.url.path}"), seconds=0.0)


def _endpoint(do: Do) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        started = time.perf_counter()
        try:
            # There is one copy of everything: what `ordering` and `consistency` ask for is so anyway.
            if "timeout" in request.query_params:
                raise NotSupported("`timeout`")  # noqa: TRY301 - all refusals are answered below
            result = await do(request.app.state.service, request)
        except Refusal as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, NotSupported):
                log.exception("index_service_failed", path=request.url.path)
            return refusal(error, seconds=time.perf_counter() - started)
        except Exception:
            log.exception("index_service_failed", path=request.url.path)
            return refusal(Refusal("Service internal error. The log says more."), seconds=time.perf_counter() - started)
        told = result.model_dump() if isinstance(result, BaseModel) else result
        return answer({"result": told, "status": "ok", "time": time.perf_counter() - started}, HTTPStatus.OK)

    return endpoint


async def _read(request: Request, model: type[M]) -> M:
    """Return the body. Input is not echoed in errors: payloads are somebody's.

    :raises Refusal: too large, no JSON, or no request of that kind.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise Malformed("Content type error: the body must be application/json.")  # as no form of a browser is
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            raise TooLarge(f"Payload error: JSON payload is larger than allowed ({MOST_BODY_BYTES} bytes).")
    try:
        read: Any = orjson.loads(body)  # and no NaN in it, which pydantic would take
        return model.model_validate(read)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"Format error in JSON body: {error}") from None
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in wrong["loc"])
        raise Malformed(f"Format error in JSON body: {where}: {wrong['msg']}") from None
