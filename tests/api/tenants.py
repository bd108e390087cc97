"""Every route of the application, and one of each thing that a tenant can have, made through them."""

import re
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

import httpx

from api.security import PUBLIC_PATHS
from tests.api.routes import served_routes
from tests.api_server import Server

MARKER = "only-tenant-a-may-read-this"
HELLO = [{"role": "user", "content": MARKER}]
LINE = (
    b'{"messages": [{"role": "user", "content": "%s"}, {"role": "assistant", "content": "b"}]}\n'
    % MARKER.encode()
)
REQUEST = (
    b'{"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", '
    b'"body": {"model": "nano", "messages": [{"role": "user", "content": "hello"}]}}\n'
)


class Route(NamedTuple):
    """One method of one path, as clients ask for it."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def parameters(self) -> list[str]:
        """The names in its path's braces."""
        return re.findall(r"\{(\w+)\}", self.path)

    @property
    def is_admins(self) -> bool:
        """Whether it is about the organization."""
        return self.path.startswith("/v1/organization")

    def url(self, ids: dict[str, str]) -> str:
        """The path with `ids` for its parameters."""
        return self.path.format_map({name: quote(value, safe=":") for name, value in ids.items()})


def all_routes() -> list[Route]:
    """Every route that needs a key; of those that are there under several prefixes, the first."""
    found: dict[tuple[str, str], Route] = {}
    for served in served_routes():
        bare = re.sub(r"^(/openai)?(/v1)?(?=/)", "", served.path_format)
        path = f"/v1{bare}" if "deployments" not in bare else served.path_format
        for method in sorted(served.methods - {"OPTIONS"}):
            found[method, bare] = Route(method, path)
    public = {f"/v1{path.decode()}" for path in PUBLIC_PATHS}
    return [route for route in found.values() if route.path not in public]


BODIES: dict[str, dict] = {
    "POST /v1/chat/completions/{completion_id}": {"metadata": {"a": "b"}},
    "POST /v1/fine_tuning/checkpoints/{model}/permissions": {"project_ids": ["proj_default"]},
    "POST /v1/uploads/{upload_id}/complete": {"part_ids": ["part_x"]},
    "POST /v1/webhook_endpoints/{endpoint_id}": {"name": "b"},
    "POST /v1/webhook_endpoints/{endpoint_id}/rotate_secret": {},
    "POST /v1/webhook_endpoints/{endpoint_id}/test": {"event_type": "batch.completed"},
    "POST /openai/deployments/{path}": {"messages": HELLO},
}
"""What a good request to a route carries, where it carries anything."""


@dataclass
class Tenant:
    """A project and a client with its key."""

    project_id: str
    http: httpx.Client

    def ask(self, route: Route, ids: dict[str, str]) -> httpx.Response:
        """Send a good request to `route`, about `ids`."""
        url = route.url(ids)
        if route.path.endswith("/parts"):
            return self.http.request(route.method, url, files={"data": b"x"})
        return self.http.request(route.method, url, json=BODIES.get(str(route)))

    def make(self, path: str, **sent: object) -> dict:
        """Create something."""
        answer = self.http.post(path, **sent)
        assert answer.status_code == 200, (path, answer.text)
        return answer.json()

    def upload(self, content: bytes, purpose: str) -> str:
        """Upload a file, and return its id."""
        sent = {"file": (f"{MARKER}.jsonl", content)}
        return self.make("/v1/files", files=sent, data={"purpose": purpose})["id"]


def belongings(server: Server, tenant: Tenant, guest: str) -> dict[str, str]:
    """Make one of each thing, and return the ids by the names of paths' parameters.

    Args:
        server: Which publishes models as a worker does.
        tenant: Of the default project.
        guest: A project that is let ask the model.
    """
    metadata = {"secret": MARKER}
    file_id = tenant.upload(LINE * 12, "fine-tune")
    job = {"model": "nano", "training_file": file_id, "metadata": metadata}
    batch = {
        "input_file_id": tenant.upload(REQUEST, "batch"),
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "metadata": metadata,
    }
    upload = {"filename": MARKER, "purpose": "batch", "bytes": 1, "mime_type": "text/plain"}
    chat = {"model": "nano", "messages": HELLO, "store": True, "metadata": metadata}
    response = {"model": "nano", "input": MARKER, "metadata": metadata}
    endpoint = {"name": MARKER, "url": "https://127.0.0.1/", "event_types": ["batch.completed"]}
    model = server.add_tuned_model(base="meta/Nano-2")
    granted = tenant.make(
        f"/v1/fine_tuning/checkpoints/{quote(model, safe=':')}/permissions",
        json={"project_ids": [guest]},
    )
    return {
        "file_id": file_id,
        "job_id": tenant.make("/v1/fine_tuning/jobs", json=job)["id"],
        "batch_id": tenant.make("/v1/batches", json=batch)["id"],
        "upload_id": tenant.make("/v1/uploads", json=upload)["id"],
        "completion_id": tenant.make("/v1/chat/completions", json=chat)["id"],
        "response_id": tenant.make("/v1/responses", json=response)["id"],
        "endpoint_id": tenant.make("/v1/webhook_endpoints", json=endpoint)["id"],
        "name": model,
        "model": model,
        "permission_id": granted["data"][0]["id"],
        "path": f"{model}/chat/completions",
    }
