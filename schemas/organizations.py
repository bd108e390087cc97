"""Projects and keys, as `/v1/organization` shows them."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from schemas.base import RequestBody, Schema
from schemas.scopes import Restriction

Name = Annotated[str, Field(min_length=1, max_length=256)]
Lifetime = Annotated[int, Field(ge=1, le=315_360_000)]
"""Seconds, up to ten years."""


class Project(Schema):
    """A tenant: what is in it no other project sees."""

    id: str
    object: Literal["organization.project"] = "organization.project"
    name: str
    created_at: int
    """Unix seconds, as are all times here."""
    archived_at: int | None = None
    status: Literal["active", "archived"] = "active"


class _ProjectPlace(RequestBody):
    """Where OpenAI would keep a project's data: named only to be refused in words that say why."""

    external_key_id: str | None = None
    geography: str | None = None
    residency: str | None = None

    @field_validator("external_key_id", "geography", "residency")
    @classmethod
    def _refuse(cls, value: str | None) -> None:
        if value is not None:
            raise PydanticCustomError(
                "unsupported_parameter",
                "Unsupported parameter: '{param}' is not supported by this server: a project's data "
                "stays on the operator's own machines.",
            )


class ProjectCreate(_ProjectPlace):
    """The body of `POST /v1/organization/projects`."""

    name: Name


class ProjectUpdate(_ProjectPlace):
    """The body of `POST /v1/organization/projects/{id}`."""

    name: Name | None = None


class UserOwner(Schema):
    """`owner` of a key that no service account has; we keep no users."""

    type: Literal["user"] = "user"


class OwningServiceAccount(Schema):
    """`owner.service_account` of a key."""

    id: str
    created_at: int
    name: str
    role: str


class ServiceAccountOwner(Schema):
    """`owner` of a service account's key."""

    type: Literal["service_account"] = "service_account"
    service_account: OwningServiceAccount


class ProjectKey(Schema):
    """A project's API key, without the key."""

    id: str
    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    name: str
    redacted_value: str
    created_at: int
    last_used_at: int | None = None
    expires_at: int | None = None
    owner: UserOwner | ServiceAccountOwner
    owner_project_access: Literal["active"] = "active"
    scopes: list[Restriction]
    """An extension of ours; empty: no restriction."""


class NewProjectKey(ProjectKey):
    """A key that was just made or rotated: `value` is shown this once."""

    value: str


class ProjectKeyCreate(RequestBody):
    """The body of `POST /v1/organization/projects/{id}/api_keys`, which OpenAI has only in its dashboard."""

    name: Name
    scopes: list[Restriction] = Field(default_factory=list, max_length=100)
    expires_in_seconds: Lifetime | None = None


class ProjectKeyUpdate(RequestBody):
    """The body of `POST /v1/organization/projects/{id}/api_keys/{key_id}`; what is absent stays."""

    scopes: Annotated[list[Restriction], Field(max_length=100)] = Field(default_factory=list)
    expires_in_seconds: Lifetime = 1

    @property
    def changes_scopes(self) -> bool:
        """Whether the key's restrictions shall be replaced; an empty list takes them away."""
        return "scopes" in self.model_fields_set

    @property
    def changes_expiry(self) -> bool:
        """Whether the key's end shall be moved."""
        return "expires_in_seconds" in self.model_fields_set


class KeyRotate(RequestBody):
    """The body of `POST …/api_keys/{key_id}/rotate`, an extension of ours."""

    old_secret_expires_in_seconds: int = Field(default=0, ge=0, le=604_800)
    """How long the secret before still works, up to a week."""


class KeyDeleted(Schema):
    """The answer to the deletion of a project's key."""

    id: str
    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    deleted: Literal[True] = True


class ServiceAccount(Schema):
    """Somebody who is no person: a program that acts in a project."""

    id: str
    object: Literal["organization.project.service_account"] = "organization.project.service_account"
    name: str
    role: Literal["owner", "member", "none"]
    created_at: int


class ServiceAccountKey(Schema):
    """A service account's new key: `value` is shown this once."""

    id: str
    object: Literal["organization.project.service_account.api_key"] = (
        "organization.project.service_account.api_key"
    )
    name: str
    value: str
    created_at: int
    expires_at: int | None = None


class NewServiceAccount(ServiceAccount):
    """A service account that was just made, with its first key if one was wanted."""

    api_key: ServiceAccountKey | None


class ServiceAccountCreate(RequestBody):
    """The body of `POST /v1/organization/projects/{id}/service_accounts`."""

    name: Name
    create_service_account_only: bool | None = None
    expires_in_seconds: Lifetime | None = None


class ServiceAccountUpdate(RequestBody):
    """The body of `POST …/service_accounts/{id}`; what is absent stays."""

    name: Name | None = None
    role: Literal["member", "owner"] | None = None


class ServiceAccountKeyCreate(RequestBody):
    """The body of `POST …/service_accounts/{id}/api_keys`."""

    name: Name | None = None
    scopes: list[Restriction] = Field(default_factory=list, max_length=100)
    expires_in_seconds: Lifetime | None = None


class ServiceAccountDeleted(Schema):
    """The answer to the deletion of a service account; its keys went with it."""

    id: str
    object: Literal["organization.project.service_account.deleted"] = (
        "organization.project.service_account.deleted"
    )
    deleted: Literal[True] = True


class AdminOwner(Schema):
    """`owner` of an admin key; we keep no users."""

    type: Literal["user"] = "user"
    object: Literal["organization.user"] = "organization.user"
    role: Literal["owner"] = "owner"


class AdminKey(Schema):
    """A key that administers the organization and opens no project."""

    id: str
    object: Literal["organization.admin_api_key"] = "organization.admin_api_key"
    name: str
    redacted_value: str
    created_at: int
    last_used_at: int | None = None
    expires_at: int | None = None
    owner: AdminOwner = AdminOwner()


class NewAdminKey(AdminKey):
    """An admin key that was just made or rotated: `value` is shown this once."""

    value: str


class AdminKeyCreate(RequestBody):
    """The body of `POST /v1/organization/admin_api_keys`."""

    name: Name
    expires_in_seconds: Lifetime | None = None


class AdminKeyDeleted(Schema):
    """The answer to the deletion of an admin key."""

    id: str
    object: Literal["organization.admin_api_key.deleted"] = "organization.admin_api_key.deleted"
    deleted: Literal[True] = True
