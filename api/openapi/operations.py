"""What the routes' own signatures do not say of each call: its sentence, its SDK method, an example.

A route under `/v1` that is not in this table is not served (`api.openapi.document`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pydantic import JsonValue

_HELLO: Final[list[JsonValue]] = [{"role": "user", "content": "Say hello."}]
_LIMITS: Final = {"max_requests_per_1_minute": 500}


@dataclass(frozen=True, slots=True)
class Operation:
    """One call."""

    summary: str
    sdk: str | None = None
    """The method on `openai.OpenAI()`; None: the SDK has none, and `client.get` and its like are used."""
    body: Mapping[str, JsonValue] = field(default_factory=dict)
    """Of the example; as JSON, or as the fields of a form where there is a `file`."""
    query: Mapping[str, JsonValue] = field(default_factory=dict)
    """Of the example."""
    file: str | None = None
    """The form's field that is a file."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """What the SDK calls a path's parameters, where it differs from us."""
    is_extension: bool = False
    """OpenAI has no such call."""


@dataclass(frozen=True, slots=True)
class Family:
    """Calls that belong together."""

    slug: str
    name: str
    sentence: str
    operations: Mapping[str, Operation]
    """By method and path."""


_FINE_TUNING: Final = Family(
    "fine-tuning",
    "Fine-tuning",
    "Train a model on examples, watch it, and stop or continue it.",
    {
        "POST /v1/fine_tuning/jobs": Operation(
            "Start a job that trains a model on a file, or with `dry_run` only check and estimate it.",
            "fine_tuning.jobs.create",
            {"model": "smollm2-135m", "training_file": "file-abc123", "suffix": "support"},
        ),
        "GET /v1/fine_tuning/jobs": Operation(
            "List the project's jobs, newest first.", "fine_tuning.jobs.list"
        ),
        "GET /v1/fine_tuning/jobs/{job_id}": Operation(
            "Look up a job.", "fine_tuning.jobs.retrieve"
        ),
        "GET /v1/fine_tuning/jobs/{job_id}/metrics": Operation(
            "Return a job's losses, accuracies and speed as curves, thinned out for a chart.",
            is_extension=True,
        ),
        "GET /v1/fine_tuning/jobs/{job_id}/examples": Operation(
            "Show the first examples as the model sees them, with the tokens marked that it learns from.",
            is_extension=True,
        ),
        "POST /v1/fine_tuning/jobs/{job_id}/cancel": Operation(
            "Cancel a job; its device is free within seconds.", "fine_tuning.jobs.cancel"
        ),
        "POST /v1/fine_tuning/jobs/{job_id}/pause": Operation(
            "Pause a job: what was trained is saved, and the device is free.",
            "fine_tuning.jobs.pause",
        ),
        "POST /v1/fine_tuning/jobs/{job_id}/resume": Operation(
            "Continue a paused job from where it stood.", "fine_tuning.jobs.resume"
        ),
        "GET /v1/fine_tuning/jobs/{job_id}/events": Operation(
            "List what a job reported, newest first.", "fine_tuning.jobs.list_events"
        ),
        "GET /v1/fine_tuning/jobs/{job_id}/checkpoints": Operation(
            "List the models that a job saved on its way.", "fine_tuning.jobs.checkpoints.list"
        ),
        "GET /v1/fine_tuning/model_limits": Operation("Say how many jobs each base model takes."),
        "POST /v1/fine_tuning/checkpoints/{model}/permissions": Operation(
            "Let other projects ask a tuned model.",
            "fine_tuning.checkpoints.permissions.create",
            {"project_ids": ["proj_abc123"]},
            renamed={"model": "fine_tuned_model_checkpoint"},
        ),
        "GET /v1/fine_tuning/checkpoints/{model}/permissions": Operation(
            "List which projects may ask a tuned model.",
            "fine_tuning.checkpoints.permissions.list",
            renamed={"model": "fine_tuned_model_checkpoint"},
        ),
        "DELETE /v1/fine_tuning/checkpoints/{model}/permissions/{permission_id}": Operation(
            "Take a project's permission back.",
            "fine_tuning.checkpoints.permissions.delete",
            renamed={"model": "fine_tuned_model_checkpoint"},
        ),
    },
)
_GRADERS: Final = Family(
    "graders",
    "Graders",
    "Score a model's answers by rules, similarity, programs or another model.",
    {
        "POST /v1/fine_tuning/alpha/graders/run": Operation(
            "Grade one sample, and show how.",
            "fine_tuning.alpha.graders.run",
            {
                "grader": {
                    "type": "string_check",
                    "name": "exact",
                    "input": "{{sample.output_text}}",
                    "reference": "{{item.answer}}",
                    "operation": "eq",
                },
                "item": {"answer": "Paris"},
                "model_sample": "Paris",
            },
        ),
        "POST /v1/fine_tuning/alpha/graders/validate": Operation(
            "Check that a grader is well made.",
            "fine_tuning.alpha.graders.validate",
            {
                "grader": {
                    "type": "text_similarity",
                    "name": "alike",
                    "input": "{{sample.output_text}}",
                    "reference": "{{item.answer}}",
                    "evaluation_metric": "rouge_l",
                }
            },
        ),
    },
)
_FILES: Final = Family(
    "files",
    "Files",
    "Upload what models learn from and batches run, and read what they produce.",
    {
        "POST /v1/files": Operation(
            "Upload a file of up to 512 MB.",
            "files.create",
            {"purpose": "fine-tune"},
            file="file",
        ),
        "GET /v1/files": Operation("List the project's files.", "files.list"),
        "GET /v1/files/{file_id}": Operation("Look up a file.", "files.retrieve"),
        "GET /v1/files/{file_id}/content": Operation("Read a file's bytes.", "files.content"),
        "DELETE /v1/files/{file_id}": Operation("Delete a file.", "files.delete"),
    },
)
_UPLOADS: Final = Family(
    "uploads",
    "Uploads",
    "Send a file of up to 8 GB in parts, in parallel and in any order.",
    {
        "POST /v1/uploads": Operation(
            "Announce a file.",
            "uploads.create",
            {
                "filename": "train.jsonl",
                "purpose": "fine-tune",
                "bytes": 2147483648,
                "mime_type": "text/jsonl",
            },
        ),
        "POST /v1/uploads/{upload_id}/parts": Operation(
            "Send a part of up to 64 MB.", "uploads.parts.create", file="data"
        ),
        "POST /v1/uploads/{upload_id}/complete": Operation(
            "Make a file of the parts, in the order given.",
            "uploads.complete",
            {"part_ids": ["part_abc123", "part_def456"]},
        ),
        "POST /v1/uploads/{upload_id}/cancel": Operation("Give an upload up.", "uploads.cancel"),
    },
)
_MODELS: Final = Family(
    "models",
    "Models",
    "Base models, tuned models and their checkpoints.",
    {
        "GET /v1/models": Operation(
            "List the models that can be asked; `with_details` says what each is made of and whether it is loaded.",
            "models.list",
        ),
        "GET /v1/models/{name}": Operation(
            "Look up a model; slashes in its name are sent as they are or as `%2F`.",
            "models.retrieve",
            renamed={"name": "model"},
        ),
        "DELETE /v1/models/{name}": Operation(
            "Delete a tuned model.", "models.delete", renamed={"name": "model"}
        ),
    },
)
_CHAT: Final = Family(
    "chat",
    "Chat completions",
    "Ask a model, and look up answers kept with `store`.",
    {
        "POST /v1/chat/completions": Operation(
            "Ask a model, for a whole answer or a stream.",
            "chat.completions.create",
            {"model": "ft:smollm2-135m:local:support:abc123", "messages": _HELLO},
        ),
        "GET /v1/chat/completions": Operation("List kept answers.", "chat.completions.list"),
        "GET /v1/chat/completions/{completion_id}": Operation(
            "Look up a kept answer.", "chat.completions.retrieve"
        ),
        "POST /v1/chat/completions/{completion_id}": Operation(
            "Change a kept answer's metadata.",
            "chat.completions.update",
            {"metadata": {"topic": "greeting"}},
        ),
        "DELETE /v1/chat/completions/{completion_id}": Operation(
            "Delete a kept answer.", "chat.completions.delete"
        ),
        "GET /v1/chat/completions/{completion_id}/messages": Operation(
            "List the messages that a kept answer was asked with.", "chat.completions.messages.list"
        ),
    },
)
_COMPLETIONS: Final = Family(
    "completions",
    "Completions",
    "Text that goes on where a prompt ends, without a chat template.",
    {
        "POST /v1/completions": Operation(
            "Continue a text, whole or as a stream.",
            "completions.create",
            {"model": "smollm2-135m", "prompt": "Once upon a time", "max_tokens": 32},
        ),
    },
)
_RESPONSES: Final = Family(
    "responses",
    "Responses",
    "Ask a model in items, and go on from an earlier answer.",
    {
        "POST /v1/responses": Operation(
            "Ask a model, for a whole response or a stream of events.",
            "responses.create",
            {"model": "smollm2-135m", "input": "Say hello."},
        ),
        "POST /v1/responses/input_tokens": Operation(
            "Count the tokens of an input.",
            "responses.input_tokens.count",
            {"model": "smollm2-135m", "input": "Say hello."},
        ),
        "POST /v1/responses/compact": Operation(
            "Let a model make a conversation short.",
            "responses.compact",
            {"model": "smollm2-135m", "input": "Say hello."},
        ),
        "GET /v1/responses/{response_id}": Operation(
            "Look up a response, or replay it as a stream.", "responses.retrieve"
        ),
        "DELETE /v1/responses/{response_id}": Operation("Delete a response.", "responses.delete"),
        "POST /v1/responses/{response_id}/cancel": Operation(
            "Refused, with the reason: no response runs in the background here.",
            "responses.cancel",
        ),
        "GET /v1/responses/{response_id}/input_items": Operation(
            "List what a response was asked with.", "responses.input_items.list"
        ),
    },
)
_EMBEDDINGS: Final = Family(
    "embeddings",
    "Embeddings",
    "Texts as vectors, where the operator offers a model that makes them.",
    {
        "POST /v1/embeddings": Operation(
            "Turn text into vectors.",
            "embeddings.create",
            {"model": "bge-small", "input": "The quick brown fox", "encoding_format": "float"},
        ),
    },
)
_BATCHES: Final = Family(
    "batches",
    "Batches",
    "Up to 50,000 requests in a file, run when there is room.",
    {
        "POST /v1/batches": Operation(
            "Start a batch.",
            "batches.create",
            {
                "input_file_id": "file-abc123",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            },
        ),
        "GET /v1/batches": Operation("List the project's batches.", "batches.list"),
        "GET /v1/batches/{batch_id}": Operation("Look up a batch.", "batches.retrieve"),
        "POST /v1/batches/{batch_id}/cancel": Operation("Cancel a batch.", "batches.cancel"),
    },
)
_ENDPOINT_ID: Final = {"endpoint_id": "webhook_endpoint_id"}
_WEBHOOKS: Final = Family(
    "webhooks",
    "Webhooks",
    "Signed messages to your server when jobs and batches end.",
    {
        "POST /v1/webhook_endpoints": Operation(
            "Make an endpoint; the secret that signs is shown once.",
            "webhooks.create",
            {
                "name": "ours",
                "url": "https://example.com/hooks",
                "event_types": ["fine_tuning.job.succeeded"],
            },
        ),
        "GET /v1/webhook_endpoints": Operation("List the endpoints.", "webhooks.list"),
        "GET /v1/webhook_endpoints/{endpoint_id}": Operation(
            "Look up an endpoint.", "webhooks.retrieve", renamed=_ENDPOINT_ID
        ),
        "POST /v1/webhook_endpoints/{endpoint_id}": Operation(
            "Change an endpoint.", "webhooks.update", {"name": "theirs"}, renamed=_ENDPOINT_ID
        ),
        "DELETE /v1/webhook_endpoints/{endpoint_id}": Operation(
            "Delete an endpoint.", "webhooks.delete", renamed=_ENDPOINT_ID
        ),
        "POST /v1/webhook_endpoints/{endpoint_id}/rotate_secret": Operation(
            "Replace the secret that signs.",
            "webhooks.rotate_secret",
            {"keep_old_secret_active_for_24_hours": True},
            renamed=_ENDPOINT_ID,
        ),
        "POST /v1/webhook_endpoints/{endpoint_id}/test": Operation(
            "Send a made-up event now.",
            "webhooks.test",
            {"event_type": "fine_tuning.job.succeeded"},
            renamed=_ENDPOINT_ID,
        ),
        "GET /v1/webhook_event_types": Operation(
            "List what can be subscribed to.", "webhooks.event_types.list"
        ),
    },
)
_KEY_ID: Final = {"key_id": "api_key_id"}
_ACCOUNT_ID: Final = {"account_id": "service_account_id"}
_PROJECTS: Final = "admin.organization.projects"
_PROJECT: Final = "/v1/organization/projects/{project_id}"
_ORGANIZATION: Final = Family(
    "organization",
    "Organization",
    "Projects, keys and limits; with an admin key.",
    {
        "POST /v1/organization/projects": Operation(
            "Make a project.", f"{_PROJECTS}.create", {"name": "Support"}
        ),
        "GET /v1/organization/projects": Operation("List the projects.", f"{_PROJECTS}.list"),
        f"GET {_PROJECT}": Operation("Look up a project.", f"{_PROJECTS}.retrieve"),
        f"POST {_PROJECT}": Operation(
            "Rename a project.", f"{_PROJECTS}.update", {"name": "Support EU"}
        ),
        f"POST {_PROJECT}/archive": Operation(
            "Archive a project: its keys end at once.", f"{_PROJECTS}.archive"
        ),
        f"POST {_PROJECT}/api_keys": Operation(
            "Make a key, which is shown once.",
            body={"name": "ci", "scopes": ["api.files.read"]},
            is_extension=True,
        ),
        f"GET {_PROJECT}/api_keys": Operation(
            "List a project's keys.", f"{_PROJECTS}.api_keys.list"
        ),
        f"GET {_PROJECT}/api_keys/{{key_id}}": Operation(
            "Look up a key.", f"{_PROJECTS}.api_keys.retrieve", renamed=_KEY_ID
        ),
        f"POST {_PROJECT}/api_keys/{{key_id}}": Operation(
            "Change what a key may do, and until when.",
            f"{_PROJECTS}.api_keys.update",
            {"scopes": ["api.files.read"]},
            renamed=_KEY_ID,
        ),
        f"POST {_PROJECT}/api_keys/{{key_id}}/rotate": Operation(
            "Replace a key; the old one works for as long as you say.",
            body={"old_secret_expires_in_seconds": 3600},
            is_extension=True,
        ),
        f"DELETE {_PROJECT}/api_keys/{{key_id}}": Operation(
            "Revoke a key.", f"{_PROJECTS}.api_keys.delete", renamed=_KEY_ID
        ),
        f"POST {_PROJECT}/service_accounts": Operation(
            "Make a service account with a key.",
            f"{_PROJECTS}.service_accounts.create",
            {"name": "nightly"},
        ),
        f"GET {_PROJECT}/service_accounts": Operation(
            "List the service accounts.", f"{_PROJECTS}.service_accounts.list"
        ),
        f"GET {_PROJECT}/service_accounts/{{account_id}}": Operation(
            "Look up a service account.",
            f"{_PROJECTS}.service_accounts.retrieve",
            renamed=_ACCOUNT_ID,
        ),
        f"POST {_PROJECT}/service_accounts/{{account_id}}": Operation(
            "Change a service account.",
            f"{_PROJECTS}.service_accounts.update",
            {"name": "weekly"},
            renamed=_ACCOUNT_ID,
        ),
        f"DELETE {_PROJECT}/service_accounts/{{account_id}}": Operation(
            "Delete a service account and its keys.",
            f"{_PROJECTS}.service_accounts.delete",
            renamed=_ACCOUNT_ID,
        ),
        f"POST {_PROJECT}/service_accounts/{{account_id}}/api_keys": Operation(
            "Make another key for a service account.",
            f"{_PROJECTS}.service_accounts.api_keys.create",
            {"name": "second"},
            renamed=_ACCOUNT_ID,
        ),
        f"GET {_PROJECT}/rate_limits": Operation(
            "List a project's limits on each model.", f"{_PROJECTS}.rate_limits.list_rate_limits"
        ),
        f"POST {_PROJECT}/rate_limits/{{rate_limit_id}}": Operation(
            "Set a project's limits on a model.",
            f"{_PROJECTS}.rate_limits.update_rate_limit",
            _LIMITS,
        ),
        f"GET {_PROJECT}/quotas": Operation("Look up a project's quotas.", is_extension=True),
        f"POST {_PROJECT}/quotas": Operation(
            "Set a project's quotas.", body={"max_concurrent_jobs": 2}, is_extension=True
        ),
        "POST /v1/organization/admin_api_keys": Operation(
            "Make an admin key, which is shown once.",
            "admin.organization.admin_api_keys.create",
            {"name": "ops"},
        ),
        "GET /v1/organization/admin_api_keys": Operation(
            "List the admin keys.", "admin.organization.admin_api_keys.list"
        ),
        "GET /v1/organization/admin_api_keys/{key_id}": Operation(
            "Look up an admin key.", "admin.organization.admin_api_keys.retrieve"
        ),
        "POST /v1/organization/admin_api_keys/{key_id}/rotate": Operation(
            "Replace an admin key.", body={"old_secret_expires_in_seconds": 3600}, is_extension=True
        ),
        "DELETE /v1/organization/admin_api_keys/{key_id}": Operation(
            "Revoke an admin key.", "admin.organization.admin_api_keys.delete"
        ),
    },
)
_USAGE_QUERY: Final = {"start_time": 1760000000}
_USAGE: Final = Family(
    "usage",
    "Usage",
    "What was used, by project, key and model; with an admin key.",
    {
        "GET /v1/organization/usage/completions": Operation(
            "Requests and tokens of chat completions, completions and responses.",
            "admin.organization.usage.completions",
            query=_USAGE_QUERY,
        ),
        "GET /v1/organization/usage/embeddings": Operation(
            "Requests and tokens of embeddings.",
            "admin.organization.usage.embeddings",
            query=_USAGE_QUERY,
        ),
        "GET /v1/organization/usage/fine_tuning": Operation(
            "Jobs, trained tokens and seconds on a device.", query=_USAGE_QUERY, is_extension=True
        ),
    },
)

_SYSTEM: Final = Family(
    "system",
    "System",
    "How the server is.",
    {
        "GET /v1/system": Operation(
            "Engines, queue, workers, disk and versions; with an admin key also machines and the checks of `retune doctor`.",
            is_extension=True,
        ),
    },
)

FAMILIES: Final = (
    _FINE_TUNING,
    _GRADERS,
    _FILES,
    _UPLOADS,
    _MODELS,
    _CHAT,
    _RESPONSES,
    _COMPLETIONS,
    _EMBEDDINGS,
    _BATCHES,
    _WEBHOOKS,
    _ORGANIZATION,
    _USAGE,
    _SYSTEM,
)
"""In the order in which a reader meets them."""
OPERATIONS: Final[Mapping[str, tuple[Family, Operation]]] = {
    key: (family, operation) for family in FAMILIES for key, operation in family.operations.items()
}
"""All calls by method and path."""
