"""Signing in with a browser: one-time link, then a cookie that scripts cannot read, and a CSRF token for changes."""

from datetime import timedelta
from html import escape
from http import HTTPStatus
from urllib.parse import parse_qs, quote, urlsplit

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, RedirectResponse, Response

from api.bodies import json_response, no_content, require_content_type
from api.dependencies import CSRF_COOKIE, SESSION_COOKIE, Authenticated, Reader, ServicesOf
from api.services import Services
from api.static_files import FOLDER
from core.db import keys
from core.errors import Forbidden, Unauthenticated

router = APIRouter()

LINK_LIFETIME = timedelta(minutes=15)


@router.post("/v1/session-links")
def create_link(caller: Reader, services: ServicesOf) -> Response:
    """Return a one-time address that signs a browser in with the caller's own key."""
    if caller.principals is not None:
        raise Forbidden("A session belongs to the key's own user; it cannot be opened as somebody else.")
    with services.database.transaction() as session:
        token = keys.create_link(session, caller.key, LINK_LIFETIME)
    return json_response({"url": f"/sign-in?token={quote(token)}", "expires_in": int(LINK_LIFETIME.total_seconds())})


@router.get("/sign-in")
def sign_in_page(token: str = "") -> Response:
    """Return a page whose button spends the link: fetching the address ahead of the user spends nothing."""
    page = (FOLDER / "sign-in.html").read_text(encoding="utf-8")
    return HTMLResponse(page.replace("{token}", escape(token, quote=True)))


@router.post("/sign-in")
async def sign_in(request: Request, services: ServicesOf) -> Response:
    """Spend the link, set the cookies, and go to the chat page."""
    require_content_type(request, "application/x-www-form-urlencoded")
    require_same_origin(request)
    fields = parse_qs((await request.body()).decode("utf-8", errors="replace"), max_num_fields=10)
    opened = await run_in_threadpool(_exchange, services, fields.get("token", [""])[0])
    if opened is None:
        raise Unauthenticated("The sign-in link is unknown, used or expired; ask for a new one.")
    response = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
    for name, value in zip((SESSION_COOKIE, CSRF_COOKIE), opened, strict=True):
        response.set_cookie(
            name, value, httponly=True, samesite="strict", path="/", secure=request.url.scheme == "https"
        )
    return response


def _exchange(services: Services, token: str) -> tuple[str, str] | None:
    with services.database.transaction() as session:
        return keys.exchange_link(session, token)


def require_same_origin(request: Request) -> None:
    """Raise `Forbidden` when another site's page sent this form: it would sign the browser in as somebody else."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin")
    foreign = origin is not None and urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
    if foreign or site not in ("same-origin", "none"):
        raise Forbidden("Open the sign-in link itself.")


@router.get("/v1/session")
def who_am_i(caller: Authenticated, request: Request) -> Response:
    """Return the caller's user, role and scopes, and, to a browser, its CSRF token."""
    return json_response(
        {
            "tenant": caller.key.tenant,
            "user": caller.key.user,
            "role": caller.key.role,
            "scopes": sorted(caller.key.scopes),
            "as": caller.principals,
            "csrf": request.cookies.get(CSRF_COOKIE) if SESSION_COOKIE in request.cookies else None,
        }
    )


@router.delete("/v1/session")
def sign_out(caller: Authenticated, services: ServicesOf, request: Request) -> Response:  # noqa: ARG001 - a session is needed
    """End the browser's session; its cookie opens nothing any more."""
    token = request.cookies.get(SESSION_COOKIE)
    if token is not None:
        with services.database.transaction() as session:
            keys.end_session(session, token)
    response = no_content()
    response.delete_cookie(SESSION_COOKIE, path="/")
    response.delete_cookie(CSRF_COOKIE, path="/")
    return response
