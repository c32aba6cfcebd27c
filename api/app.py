"""Put together: routes, middleware, error handlers. What the routes work with comes from outside, built already."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI

from api import (
    access,
    admin,
    audits,
    chat,
    contents,
    conversations,
    deadletters,
    documents,
    errors,
    health,
    keys,
    queues,
    search,
    session,
    static_files,
)
from api.key_use import KeyUse
from api.metrics import RequestMetrics
from api.middleware import RequestContext, RequestGuard
from api.services import Services

ROUTES = (
    health,
    session,
    static_files,
    documents,
    deadletters,
    contents,
    access,
    search,
    chat,
    conversations,
    admin,
    audits,
    keys,
    queues,
)
# Routes whose body is a file: the upload limit holds for them, the request limit for all others.
UPLOAD_ROUTES = ("/v1/documents", "/v1/admin/directory")
ANSWER_THREADS = 32  # Searches and commits of answers mostly wait; the default grows with the cores alone.


def create_app(services: Services) -> FastAPI:
    """Return the application. At its end it ends the answers that are being generated; nothing else is its to close."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(ANSWER_THREADS, thread_name_prefix="answers")
        asyncio.get_running_loop().set_default_executor(threads)  # the loop shuts it down
        yield
        await services.answering.aclose()  # their tasks belong to this event loop
        await asyncio.to_thread(app.state.key_use.close)

    # No generated documentation pages: they would load scripts from elsewhere, which promise 7 and the CSP forbid.
    app = FastAPI(
        title="Footnote", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.services = services
    app.state.key_use = KeyUse(services.database)
    app.state.metrics = RequestMetrics()
    for module in ROUTES:
        app.router.routes.extend(module.router.routes)  # flat, so that `app.routes` is the whole list of what there is
    errors.install(app)
    settings = services.settings
    app.add_middleware(
        RequestGuard,
        allowed_hosts=settings.allowed_hosts,
        max_request_bytes=settings.max_request_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        uploads=UPLOAD_ROUTES,
    )
    app.add_middleware(RequestContext, metrics=app.state.metrics)  # added last, so outermost
    return app
