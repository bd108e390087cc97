"""The Dockerfile and compose.yaml: linted and read; building them takes a daemon that tests do not have."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from schemas.settings import Settings

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
OURS = ("api", "worker", "engine")
NEEDED = ("RETUNE_API_KEY", "POSTGRES_PASSWORD", "BASE_NAME", "BASE_DIR")


def stage(name: str) -> str:
    return next(part for part in DOCKERFILE.split("\nFROM ") if f" AS {name}\n" in part)


def copied() -> set[str]:
    return {
        name.rstrip("/")
        for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    }


def test_the_dockerfile_passes_its_linter():
    """Hadolint has nothing to say."""
    linted = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (linted.stdout, linted.returncode) == ("", 0)


@pytest.mark.parametrize("name", OURS)
def test_no_image_runs_as_root(name):
    """Each image ends as the user 10001."""
    assert re.findall(r"^USER (.+)$", stage(name), re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("name", ["api", "engine"])
def test_servers_say_whether_they_are_well(name):
    """An image with a port has a health check, by Python: the image has no curl."""
    check = re.search(
        r'^HEALTHCHECK .*?\n\s+CMD \["(\w+)", "-c", "(.+)"\]$', stage(name), re.MULTILINE
    )
    assert check[1] == "python"
    compile(check[2], "HEALTHCHECK", "exec")


def test_the_api_image_holds_no_torch():
    """Only the worker's image installs what trains."""
    assert "[train]" not in stage("api")
    assert "[train]" in stage("worker")


def test_images_get_what_they_copy():
    """What the Dockerfile copies exists, and .dockerignore lets it through."""
    admitted = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied() == admitted
    assert all((ROOT / name).exists() for name in admitted)


def test_compose_starts_every_part():
    """Redis, Postgres, API, worker and engine."""
    assert SERVICES.keys() == {"redis", "postgres", *OURS}


@pytest.mark.parametrize("name", OURS)
def test_compose_builds_stages_that_exist(name):
    """Our services are built from the Dockerfile's stage of the same name."""
    assert SERVICES[name]["build"] == {"context": ".", "target": name}
    assert stage(name)


@pytest.mark.parametrize("name", ["redis", "postgres"])
def test_foreign_images_are_pinned(name):
    """An image of others is named with its version."""
    assert re.fullmatch(r"[a-z/]+:\d[\w.-]*", SERVICES[name]["image"])


@pytest.mark.parametrize("name", ["api", "worker"])
def test_compose_uses_settings_that_exist(name):
    """Each RETUNE_ variable is one that the program reads."""
    given = {key.removeprefix("RETUNE_").lower() for key in SERVICES[name]["environment"]}
    assert given <= Settings.model_fields.keys()


def test_only_the_api_can_be_reached():
    """No other service publishes a port, and the API's is on loopback alone."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}


def test_the_engine_is_behind_walls():
    """The engine's only network has no way out, and it knows no key and no database."""
    assert SERVICES["engine"]["networks"] == ["engines"]
    assert COMPOSE["networks"]["engines"] == {"internal": True}
    assert SERVICES["engine"]["environment"] == {}


def test_the_engine_sees_adapters_where_the_worker_wrote_them():
    """Both mount the data at one path, the engine read-only."""
    assert "data:/data" in SERVICES["worker"]["volumes"]
    assert "data:/data:ro" in SERVICES["engine"]["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(name):
    """Read-only, without capabilities, and no way to gain any."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("variable", NEEDED)
def test_nothing_secret_has_a_default(variable):
    """What the operator must choose stops compose with a message when it is missing."""
    assert f"${{{variable}:?set {variable} in .env}}" in (ROOT / "compose.yaml").read_text()
