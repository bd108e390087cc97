"""The tables, for SQLite and Postgres alike.

`seq` is the order of creation and the cursor of every list: ids are random, clocks stand still within a second.
Times are Unix seconds. What is only shown, never searched, is JSON text.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# SQLite counts rowids only in a column of type INTEGER.
_Seq = BigInteger().with_variant(Integer, "sqlite")

projects = Table(
    "projects",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("organization_id", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("archived_at", BigInteger),
)

service_accounts = Table(
    "service_accounts",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("role", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("service_accounts_by_project", "project_id", "seq"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("organization_id", String(64), nullable=False),
    Column("project_id", String(64), nullable=False),  # empty: an admin key
    Column("service_account_id", String(64)),
    Column("hint", String(32), nullable=False),  # its masked form, for people
    Column("name", String(256), nullable=False),
    Column("scopes", Text, nullable=False),  # JSON list of schemas.scopes.Restriction
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
    Index("api_keys_by_project", "project_id", "seq"),
)

api_key_secrets = Table(
    "api_key_secrets",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the key, hex
    Column("key_id", String(64), nullable=False),
    Column("expires_at", BigInteger),  # when a rotation ends it
    Index("api_key_secrets_by_key", "key_id"),
)

dashboard_sessions = Table(
    "dashboard_sessions",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the cookie, hex
    Column("key_digest", String(64), nullable=False),  # of the API key that signed in
    Column("created_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Index("dashboard_sessions_by_age", "seen_at"),
)

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("model", String(512), primary_key=True),
    Column("limits", Text, nullable=False),  # schemas.limits.Limits
)

project_quotas = Table(
    "project_quotas",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("quotas", Text, nullable=False),  # schemas.limits.Quotas
)

checkpoint_permissions = Table(
    "checkpoint_permissions",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("model", String(512), nullable=False),
    Column("project_id", String(64), nullable=False),  # who may ask it
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("model", "project_id"),
    Index("checkpoint_permissions_by_model", "model", "seq"),
)

files = Table(
    "files",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Index("files_by_project", "project_id", "seq"),
    Index("files_by_purpose", "project_id", "purpose", "seq"),
    Index("files_by_expiry", "expires_at"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("mime_type", String(256), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("file_id", String(64), nullable=False),  # of the file that its parts will make
    Column("file_lifetime", BigInteger),  # seconds
    Index("uploads_by_status", "status", "expires_at"),
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("project_id", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),  # the client's
    Column("request_sha256", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("holder", String(64), nullable=False),  # the request that works on it
    Column("held_until", Float, nullable=False),
    Column("status", Integer),  # of the answer; null: none yet
    Column("body", Text),
    Index("idempotency_by_age", "created_at"),
)

job_requests = Table(
    "job_requests",
    metadata,
    Column("key_id", String(64), primary_key=True),  # of the API key that asked
    Column("request_sha256", String(64), primary_key=True),
    Column("job_id", String(64), nullable=False),
    Column("retry_count", Integer, nullable=False),
    Column("asked_at", Float, nullable=False),
    Index("job_requests_by_age", "asked_at"),
)

upload_parts = Table(
    "upload_parts",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("upload_id", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Index("upload_parts_by_upload", "upload_id", "seq"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("base", Text, nullable=False),  # the base model's name, whatever `model` asked for
    Column("job", Text, nullable=False),  # schemas.fine_tuning.Job
    Column("plan", Text, nullable=False),  # jobs.store.records.Plan
    Column("attempt", Integer, nullable=False, default=0),  # the fence: every claim adds one
    Column("owner", String(128)),  # the worker that holds it
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("next_run_at", Float, nullable=False, default=0.0),
    Column("infra_failures", Integer, nullable=False, default=0),
    Column("is_pausing", Boolean, nullable=False, default=False),  # asked to, and not yet paused
    Index("jobs_by_project", "project_id", "seq"),
    Index("jobs_by_project_status", "project_id", "status", "seq"),
    Column("report_status", String(16)),  # of the job's report; null: it has none yet
    Index("jobs_by_status", "status", "seq"),
    Index("jobs_by_report", "report_status", "seq"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("job_id", String(64), nullable=False),
    Column("dedupe_key", String(128), nullable=False),  # what happens once is told once
    Column("created_at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),  # schemas.fine_tuning.Event
    UniqueConstraint("job_id", "dedupe_key"),
    Index("job_events_by_job", "job_id", "seq"),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("job_id", String(64), nullable=False),
    Column("step", Integer, nullable=False),
    Column("checkpoint", Text, nullable=False),  # schemas.fine_tuning.Checkpoint
    UniqueConstraint("job_id", "step"),
    Index("checkpoints_by_job", "job_id", "seq"),
)

models = Table(
    "models",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("name", String(512), nullable=False, unique=True),  # never given to other weights
    Column("project_id", String(64), nullable=False),
    Column("organization_id", String(64), nullable=False),
    Column("base", Text, nullable=False),
    Column("adapter_id", String(64), nullable=False),  # its directory in the blob store
    Column("job_id", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Index("models_by_project", "project_id", "seq"),
    Index("models_by_base", "base", "seq"),
)

engines = Table(
    "engines",
    metadata,
    Column("base", String(512), primary_key=True),
    Column("wanted_at", Float, nullable=False, default=0.0),  # when somebody last asked for it
    Column("state", String(16), nullable=False),  # stopped, starting, ready, failed
    Column("message", Text, nullable=False, default=""),
    Column("changed_at", Float, nullable=False, default=0.0),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("host", String(256), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("trainer", Text),  # jobs.store.records.TrainerMemory
)

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("name", String(256), nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", Text, nullable=False),  # a JSON array
    Column("secret", String(64), nullable=False),  # readable: deliveries are signed with it
    Column("old_secret", String(64)),  # signs as well, until its time is over
    Column("old_secret_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("last_delivery", Text),  # schemas.webhooks.LastDelivery
    Index("webhook_endpoints_by_project", "project_id", "seq"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),  # the header `webhook-id`
    Column("endpoint_id", String(64), nullable=False),
    Column("event_type", String(64), nullable=False),
    Column("body", Text, nullable=False),  # schemas.webhooks.WebhookEvent, as it is sent
    Column("created_at", BigInteger, nullable=False),
    Column("status", String(16), nullable=False),  # pending, delivered, given_up
    Column("attempts", Integer, nullable=False),  # the fence: every claim adds one
    Column("next_at", Float, nullable=False),  # of one being sent: when its lease ends
    Index("webhook_deliveries_due", "status", "next_at"),
    Index("webhook_deliveries_by_endpoint", "endpoint_id"),
)

batches = Table(
    "batches",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("status", String(32), nullable=False),
    Column("batch", Text, nullable=False),  # schemas.batches.Batch
    Column("plan", Text, nullable=False),  # jobs.store.batches.BatchPlan
    Column("attempt", Integer, nullable=False, default=0),  # the fence: every claim adds one
    Column("owner", String(128)),  # the worker that holds it
    Column("lease_until", Float, nullable=False, default=0.0),
    Column("next_run_at", Float, nullable=False, default=0.0),
    Column("infra_failures", Integer, nullable=False, default=0),
    Index("batches_by_project", "project_id", "seq"),
    Index("batches_by_status", "status", "seq"),
)

chat_completions = Table(
    "chat_completions",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("model", String(512), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("metadata", Text, nullable=False),  # a JSON object, by which lists are filtered
    Column("completion", Text, nullable=False),  # schemas.stored_completions.StoredCompletion
    Column("messages", Text, nullable=False),  # a JSON array of its StoredMessage
    Index("chat_completions_by_project", "project_id", "seq"),
    Index("chat_completions_by_model", "project_id", "model", "seq"),
    Index("chat_completions_by_time", "created_at"),
)

responses = Table(
    "responses",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("project_id", String(64), nullable=False),
    Column("previous_id", String(64)),  # the response that it goes on from
    Column("created_at", BigInteger, nullable=False),
    Column("response", Text, nullable=False),  # schemas.responses.Response, without its output
    Index("responses_by_time", "created_at"),
)

response_items = Table(
    "response_items",
    metadata,
    Column("seq", _Seq, primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False),  # a client may send an item again: not unique
    Column("project_id", String(64), nullable=False),
    Column("response_id", String(64), nullable=False),
    Column("is_output", Boolean, nullable=False),
    Column("item", Text, nullable=False),  # schemas.response_items.Item
    Index("response_items_by_response", "response_id", "seq"),
    Index("response_items_by_id", "project_id", "id"),
)

usage = Table(
    "usage",
    metadata,
    Column(
        "minute", BigInteger, primary_key=True, autoincrement=False
    ),  # Unix seconds of its beginning
    Column("kind", String(16), primary_key=True),
    Column("project_id", String(64), primary_key=True),
    Column("api_key_id", String(64), primary_key=True),
    Column("model", String(512), primary_key=True),
    Column("batch", Boolean, primary_key=True),
    Column("job_id", String(64), primary_key=True),  # empty: no job's
    Column("requests", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("device_seconds", Float, nullable=False),
)
