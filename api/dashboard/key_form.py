"""What the form of a new key holds: as it was filled in, and as the API's request."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from pydantic import JsonValue

from schemas.base import Schema
from schemas.errors import InvalidRequest
from schemas.organizations import AdminKeyCreate, ProjectKeyCreate
from schemas.scopes import READ_ONLY, ProjectScope
from schemas.validation import validated

Preset = Literal["all", "read", "restricted"]
PRESETS: Final[tuple[Preset, ...]] = get_args(Preset)
SCOPES: Final[tuple[ProjectScope, ...]] = get_args(ProjectScope)
_SCOPE_FIELD: Final = "may:"
"""Before the name of a scope: each has a field of its own, ticked or not there."""
_DAY: Final = 24 * 3600


class KeyForm(Schema):
    """A key to be made."""

    name: str = ""
    preset: str = "all"
    scopes: frozenset[str] = frozenset()
    """Those ticked; they count where `preset` is `restricted`."""
    days: str = ""
    """Until it ends, as typed; empty: it never does."""

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> "KeyForm":
        """Return what was sent."""
        return cls(
            name=fields.get("name", "").strip(),
            preset=fields.get("preset", "all"),
            scopes=frozenset(
                name.removeprefix(_SCOPE_FIELD) for name in fields if name.startswith(_SCOPE_FIELD)
            ),
            days=fields.get("days", "").strip(),
        )

    def request(self) -> ProjectKeyCreate:
        """Return the request of a project's key.

        Raises:
            InvalidRequest: Something cannot be asked for; its `param` is the field.
        """
        return validated(ProjectKeyCreate, {**self._common(), "scopes": self._restrictions()})

    def admin_request(self) -> AdminKeyCreate:
        """Return the request of an admin key.

        Raises:
            InvalidRequest: Something cannot be asked for; its `param` is the field.
        """
        return validated(AdminKeyCreate, self._common())

    def _common(self) -> dict[str, JsonValue]:
        return {"name": self.name, "expires_in_seconds": self._lifetime()}

    def _restrictions(self) -> list[JsonValue]:
        match self.preset:
            case "all":
                return []
            case "read":
                return [READ_ONLY]
            case "restricted" if self.scopes:
                return [*sorted(self.scopes)]
            case "restricted":
                # To the API no restriction is no limit: the opposite of what an empty choice says.
                raise InvalidRequest(
                    "Choose at least one permission.",
                    param="scopes",
                    code="missing_required_parameter",
                )
            case _:
                raise InvalidRequest(
                    f"'{self.preset}' is none of {', '.join(PRESETS)}.",
                    param="preset",
                    code="invalid_value",
                )

    def _lifetime(self) -> int | None:
        if not self.days:
            return None
        if not (self.days.isascii() and self.days.isdecimal() and len(self.days) < 6):
            raise InvalidRequest(
                f"'{self.days}' is no whole number of days.",
                param="expires_in_seconds",
                code="invalid_value",
            )
        return int(self.days) * _DAY
