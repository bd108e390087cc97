"""What pages load: little, once, and exactly what was vendored."""

import gzip
import hashlib

import httpx
import pytest

from api.dashboard.assets import PREFIX, asset_url, assets

BUDGET = 60_000
"""Bytes of scripts and styles, gzip. Ours go as they are written: rjsmin and rcssmin would save 2.6 KB of them."""
VENDORED = {
    "htmx.min.js": "a0abb04f2f45a1f89d1d4844023245537e5e6014c87b144553e0607b4cc32130",
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
}
"""SHA-256 of what the packages htmx.org 4.0.1 and uplot 1.6.32 hold."""


def test_all_scripts_and_styles_fit_the_budget():
    """A reader's browser loads less than 60 KB for the whole dashboard."""
    assert sum(len(asset.gzipped) for asset in assets().values()) < BUDGET


@pytest.mark.parametrize("name", VENDORED)
def test_what_is_vendored_is_what_was_published(name):
    """Nobody changed a byte of others' scripts."""
    served = assets()[asset_url(name).removeprefix(f"{PREFIX}/")]
    assert hashlib.sha256(served.content).hexdigest() == VENDORED[name]


def test_browsers_keep_a_file_for_ever(visitor: httpx.Client):
    """A file's name changes with its content, so it is asked for once; it needs no session."""
    answer = visitor.get(asset_url("app.css"))
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/css")
    assert answer.headers["content-encoding"] == "gzip"
    plain = visitor.get(asset_url("app.css"), headers={"accept-encoding": "identity"})
    assert plain.content == answer.content == gzip.decompress(gzip.compress(plain.content))


@pytest.mark.parametrize("name", ["app.css", "nothing.000000000000.js", "..%2fapp.py", "%2e%2e"])
def test_nothing_else_is_served(visitor: httpx.Client, name):
    """Only the files themselves, under their full names."""
    assert visitor.get(f"{PREFIX}/{name}").status_code == 404
