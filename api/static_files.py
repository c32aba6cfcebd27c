"""The chat page: plain files, the same for everybody, so that they need no key."""

from pathlib import Path, PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

router = APIRouter()

FOLDER = Path(__file__).parent / "static"
FILES = StaticFiles(directory=FOLDER, check_dir=False)
# Spelled out, because the system's own table differs from machine to machine and `nosniff` makes a wrong type fatal.
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


@router.get("/")
async def page(request: Request) -> Response:
    """Return the chat page; without a session it shows how to sign in."""
    return await _file(request, "index.html")


@router.get("/static/{path:path}")
async def static(request: Request, path: str) -> Response:
    """Return a file of the chat page."""
    return await _file(request, path)


async def _file(request: Request, path: str) -> Response:
    response = await FILES.get_response(path, request.scope)
    media_type = MEDIA_TYPES.get(PurePosixPath(path).suffix)
    if media_type is not None and "content-type" in response.headers:
        response.headers["content-type"] = media_type
    response.headers["Cache-Control"] = "no-cache"  # the ETag is asked for every time, so that an upgrade shows at once
    return response
