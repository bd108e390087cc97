"""What a key may do: OpenAI's names for permissions, and which of them a key's restrictions grant."""

from collections.abc import Sequence
from typing import Final, Literal, get_args

ProjectScope = Literal[
    "model.request",
    "api.model.read",
    "api.model.write",
    "api.chat.completions.read",
    "api.chat.completions.write",
    "api.responses.read",
    "api.responses.write",
    "api.files.read",
    "api.files.write",
    "api.fine_tuning.read",
    "api.fine_tuning.write",
    "api.batch.read",
    "api.batch.write",
    "api.webhooks.read",
    "api.webhooks.write",
]
"""One permission within a project; `model.request` is asking a model."""

AdminScope = Literal["api.management.read", "api.management.write", "api.usage.read"]
"""One permission over the whole organization; only admin keys have them, and they have all."""

Scope = ProjectScope | AdminScope

Restriction = ProjectScope | Literal["api.all.read"]
"""What a key may be restricted to: single permissions, or `api.all.read` for a read-only key."""

READ_ONLY: Final = "api.all.read"
PROJECT_SCOPES: Final[frozenset[Scope]] = frozenset(get_args(ProjectScope))
ADMIN_SCOPES: Final[frozenset[Scope]] = frozenset(get_args(AdminScope))


def granted(restrictions: Sequence[Restriction]) -> frozenset[Scope]:
    """Return what a project's key may do; as at OpenAI, a key without restrictions may do everything."""
    if not restrictions:
        return PROJECT_SCOPES
    scopes: set[Scope] = set()
    for restriction in restrictions:
        if restriction == READ_ONLY:
            scopes |= {scope for scope in PROJECT_SCOPES if scope.endswith(".read")}
        else:
            scopes.add(restriction)
    return frozenset(scopes)
