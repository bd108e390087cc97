"""The API's description and its pages, as they are served."""

import httpx
import pytest

from api.dashboard.pages import HOME
from api.reference import pages
from tests.api_server import Server


@pytest.mark.parametrize("path", [pages.OVERVIEW, *pages.SLUGS])
def test_pages_are_for_everybody_and_load_nothing_from_elsewhere(server: Server, path: str) -> None:
    """No key, no script, no style but their own."""
    page = httpx.get(f"{server.url}{path}")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'; style-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert pages.STYLESHEET in page.text


def test_the_stylesheet(server: Server) -> None:
    """Comes as what browsers take for one."""
    sheet = httpx.get(f"{server.url}{pages.STYLESHEET}")
    assert sheet.headers["content-type"] == "text/css; charset=utf-8"


def test_the_document(server: Server) -> None:
    """Comes as JSON, and holds no more than the routes under `/v1`."""
    document = httpx.get(f"{server.url}/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    assert all(path.startswith("/v1/") for path in document["paths"])


def test_people_at_the_root_are_led_to_the_dashboard(server: Server) -> None:
    """And programs are told where the reference is."""
    asked = httpx.get(f"{server.url}/", headers={"accept": "text/html,*/*;q=0.8"})
    assert (asked.status_code, asked.headers["location"]) == (307, HOME)
    assert pages.OVERVIEW in httpx.get(f"{server.url}/").json()["message"]


def test_what_reads_the_document_finds_the_calls(server: Server) -> None:
    """Each GET without parameters that is described is served to a key that has the scope."""
    document = httpx.get(f"{server.url}/openapi.json").json()
    bare = [
        path for path, methods in document["paths"].items() if "get" in methods and "{" not in path
    ]
    for path in bare:
        wanted, *_ = document["paths"][path]["get"]["security"]
        if "usage" not in path:
            key = server.admin_key if "management" in wanted["key"][0] else server.key
            answer = httpx.get(f"{server.url}{path}", headers={"authorization": f"Bearer {key}"})
            assert answer.status_code == 200, path
