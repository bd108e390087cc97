"""`/openapi.json` and `/reference`: what the API is, for programs and people; neither needs a key."""

import asyncio
from typing import Final

from litestar import Response, get
from litestar.response import Redirect

from api.bodies import ApiRequest
from api.dashboard.pages import HOME
from api.reference import pages
from api.reference.pages import Reference
from schemas.base import Schema

_HTML: Final = "text/html"
_PAGE_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


class Welcome(Schema):
    """What programs get at the root, as at OpenAI."""

    message: str


@get("/")
async def root(request: ApiRequest) -> Redirect | Welcome:
    """Lead people to the dashboard, and tell programs where the reference is."""
    if "text/html" in request.headers.get("accept", ""):
        return Redirect(HOME, status_code=307)
    return Welcome(message=f"Welcome to retune! The API's reference is at {pages.OVERVIEW}")


@get("/openapi.json")
async def openapi_document(request: ApiRequest) -> Response[bytes]:
    """Return the API's description."""
    content = await asyncio.to_thread(_reference(request).document_json)
    return Response(content, media_type="application/json")


@get([pages.OVERVIEW, *pages.SLUGS])
async def reference_page(request: ApiRequest) -> Response[bytes]:
    """Return the overview, or the page of a family."""
    slug = pages.SLUGS.get(request.scope["path"], "")
    content = await asyncio.to_thread(_reference(request).page, slug)
    return Response(content, headers=_PAGE_HEADERS, media_type=_HTML)


@get(pages.STYLESHEET, sync_to_thread=True)
def stylesheet() -> Response[str]:
    """Return the pages' CSS."""
    return Response(
        pages.stylesheet(), headers={"cache-control": "no-cache"}, media_type="text/css"
    )


def _reference(request: ApiRequest) -> Reference:
    reference: Reference = request.app.state.reference
    return reference
