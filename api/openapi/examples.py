"""Examples of answers, made from their schemas."""

from collections.abc import Mapping
from typing import Any, Final

from api.openapi.json_schemas import REF

PATH_VALUES: Final[Mapping[str, str]] = {
    "account_id": "svcacct_abc123",
    "batch_id": "batch_abc123",
    "completion_id": "chatcmpl-abc123",
    "endpoint_id": "whe_abc123",
    "file_id": "file-abc123",
    "job_id": "ftjob-abc123",
    "key_id": "key_abc123",
    "model": "ft:smollm2-135m:local:support:abc123",
    "name": "ft:smollm2-135m:local:support:abc123",
    "permission_id": "cp_abc123",
    "project_id": "proj_abc123",
    "rate_limit_id": "rl-smollm2-135m",
    "response_id": "resp_abc123",
    "upload_id": "upload_abc123",
}
"""Of a path's parameters."""
_IDS: Final[Mapping[str, str]] = {
    "batch": "batch_abc123",
    "chat.completion": "chatcmpl-abc123",
    "chat.completion.deleted": "chatcmpl-abc123",
    "checkpoint.permission": "cp_abc123",
    "file": "file-abc123",
    "fine_tuning.job": "ftjob-abc123",
    "fine_tuning.job.checkpoint": "ftckpt_abc123",
    "fine_tuning.job.event": "ftevent-abc123",
    "model": "ft:smollm2-135m:local:support:abc123",
    "organization.project": "proj_abc123",
    "project.rate_limit": "rl-smollm2-135m",
    "response": "resp_abc123",
    "response.compaction": "resp_abc123",
    "compaction": "cmp_abc123",
    "message": "msg_abc123",
    "organization.project.service_account.api_key": "key_abc123",
    "user": "chatcmpl-abc123-0",
    "text_completion": "cmpl-abc123",
    "upload": "upload_abc123",
    "upload.part": "part_abc123",
    "webhook_endpoint": "whe_abc123",
    "webhook_endpoint.deleted": "whe_abc123",
    "organization.project.api_key": "key_abc123",
    "organization.project.api_key.deleted": "key_abc123",
    "organization.project.service_account": "svcacct_abc123",
    "organization.project.service_account.deleted": "svcacct_abc123",
    "organization.admin_api_key": "key_abc123",
    "organization.admin_api_key.deleted": "key_abc123",
}
"""By an object's `object`, else its `type` or `role`."""
_VALUES: Final[Mapping[str, object]] = {
    "bytes": 120000,
    "completion_tokens": 3,
    "content": "Hello!",
    "created": 1760000000,
    "created_at": 1760000000,
    "expires_at": 1760086400,
    "filename": "train.jsonl",
    "fine_tuned_model": "ft:smollm2-135m:local:support:abc123",
    "fine_tuned_model_checkpoint": "ft:smollm2-135m:local:support:abc123:ckpt-step-20",
    "fine_tuning_job_id": "ftjob-abc123",
    "finished_at": 1760000600,
    "index": 0,
    "input_tokens": 12,
    "input": "{{sample.output_text}}",
    "input_file_id": "file-abc123",
    "max_requests_per_1_minute": 500,
    "max_tokens_per_1_minute": 100000,
    "message": "Step 20/60: training loss=1.34",
    "metadata": {},
    "metrics": {"step": 20.0, "train_loss": 1.34},
    "model": "smollm2-135m",
    "name": "Support",
    "organization_id": "local",
    "output_tokens": 3,
    "owned_by": "local",
    "project_id": "proj_abc123",
    "prompt_tokens": 12,
    "redacted_value": "sk-…abcd",
    "result_files": ["file-def456"],
    "seed": 42,
    "encrypted_content": "gAAAAAB…",
    "integrations": [],
    "logprobs": [],
    "reference": "{{item.answer}}",
    "role": "user",
    "sampled_model_name": "smollm2-135m",
    "signing_secret": "whsec_…",
    "signing_secret_hint": "whsec_…abcd",
    "webhook_endpoint_id": "whe_abc123",
    "start_time": 1760000000,
    "end_time": 1760086400,
    "text": "Hello!",
    "total_tokens": 15,
    "trained_tokens": 48000,
    "training_file": "file-abc123",
    "upload_id": "upload_abc123",
    "updated_at": 1760000000,
    "url": "https://example.com/hooks",
    "user_provided_suffix": "support",
    "value": "sk-proj-…",
}
"""By a field's name, where its type allows."""
_LIKELY: Final = ("succeeded", "completed", "processed", "fine-tune", "stop")
"""Of enumerations, what a reader expects to see."""
_MAX_DEPTH: Final = 12


def example_of(schema: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    """Return a value of a schema, plausible where a field's name says what it holds.

    Args:
        schema: Of an answer.
        named: The document's schemas, to which it refers.
    """
    return _Examples(named).of(schema, name="", depth=0)


class _Examples:
    def __init__(self, named: Mapping[str, Mapping[str, Any]]) -> None:
        self._named = named

    def of(self, schema: Mapping[str, Any], *, name: str, depth: int) -> Any:  # noqa: ANN401 - JSON
        """Return a value of `schema`, which stands in a field called `name`."""
        match schema:
            case {"$ref": str(ref)}:
                return self.of(self._named[ref.removeprefix(REF)], name=name, depth=depth)
            case {"const": _} | {"enum": _}:
                values = schema.get("enum") or [schema["const"]]
                return next((value for value in _LIKELY if value in values), values[0])
            case {"anyOf": [*choices]} | {"oneOf": [*choices]}:
                return self._of_choices(schema, choices, name=name, depth=depth)
            case {"type": "object"}:
                return self._of_object(schema, name=name, depth=depth)
            case {"type": "array"}:
                return self._of_array(schema, name=name, depth=depth)
            case _:
                return _of_scalar(schema, name)

    def _of_choices(
        self, schema: Mapping[str, Any], choices: list[Any], *, name: str, depth: int
    ) -> Any:  # noqa: ANN401 - JSON
        is_nullable = {"type": "null"} in choices
        if is_nullable and "default" in schema and schema["default"] is None:
            known = _VALUES.get(name)
            if known is None or not any(_is_of(choice, known) for choice in choices):
                return None
        return self.of(choices[0], name=name, depth=depth)

    def _of_object(self, schema: Mapping[str, Any], *, name: str, depth: int) -> Any:  # noqa: ANN401 - JSON
        properties: Mapping[str, Mapping[str, Any]] = schema.get("properties", {})
        if not properties or depth > _MAX_DEPTH:
            known = _VALUES.get(name, {})
            return known if isinstance(known, dict) else {}
        required = schema.get("required", [])
        made = {
            field: self.of(inner, name=field, depth=depth + 1)
            for field, inner in properties.items()
            if field in required
        }
        if "id" in made:
            kind = made.get("object", made.get("type", made.get("role")))
            made["id"] = _IDS.get(str(kind), made["id"])
        if "first_id" in made and made.get("data"):
            made["first_id"] = made["last_id"] = made["data"][0].get("id")
        return made

    def _of_array(self, schema: Mapping[str, Any], *, name: str, depth: int) -> Any:  # noqa: ANN401 - JSON
        known = _VALUES.get(name)
        if isinstance(known, list):
            return known
        if schema.get("items", {}) == {"type": "null"} or depth > _MAX_DEPTH:
            return []
        if schema.get("default") == [] or schema.get("maxItems") == 0:
            return []
        return [self.of(schema["items"], name=name, depth=depth + 1)]


def _of_scalar(schema: Mapping[str, Any], name: str) -> object:
    if name in _VALUES and _is_of(schema, _VALUES[name]):
        return _VALUES[name]
    if schema.get("default") is not None:
        return schema["default"]
    by_type: Mapping[str, object] = {
        "string": "…",
        "integer": schema.get("minimum", 1),
        "number": 0.5,
        "boolean": False,
        "null": None,
    }
    return by_type.get(schema.get("type", ""), {})


def _is_of(schema: Mapping[str, Any], value: object) -> bool:
    types: Mapping[str, type] = {
        "string": str,
        "integer": int,
        "number": float,
        "array": list,
        "object": dict,
    }
    return isinstance(value, types.get(schema.get("type", ""), ()))
