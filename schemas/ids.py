"""The grammar of our identifiers, as OpenAI's clients expect to see them."""

import re
import secrets
import string
from typing import Final, Literal, Self

from schemas.base import Schema

_ALPHABET: Final = string.ascii_letters + string.digits
_CHARACTERS: Final = (_ALPHABET * 5).encode()[:256]
"""A character for each byte. Eight of the 62 come five times and not four: 5.95 bits each, all the same."""
Prefix = Literal[
    "file-", "upload_", "part_",
    "ftjob-", "ftevent-", "ftckpt_", "cp_", "adapter-", "worker-",
    "chatcmpl-", "cmpl-", "call_",
    "key_", "proj_", "svc_acct_", "user-",
]  # fmt: skip
HexPrefix = Literal[
    "req_", "batch_", "batch_req_", "resp_", "msg_", "fc_", "rs_", "cmp_", "evt_", "wh_", "whe_"
]


def new_id(prefix: Prefix) -> str:
    """Return a fresh id such as `ftjob-4Zk…`: the prefix and 24 random letters or digits."""
    return prefix + _random(24)


def new_hex_id(prefix: HexPrefix) -> str:
    """Return a fresh id such as `req_6f1c…`: the prefix and 32 lower-case hexadecimal digits."""
    return prefix + secrets.token_hex(16)


def new_model_id() -> str:
    """Return the 8 letters or digits that make a tuned model's name its own."""
    return _random(8)


def _random(length: int) -> str:
    # One call of the system's source for all characters: an id is made for each chat request.
    return secrets.token_bytes(length).translate(_CHARACTERS).decode()


class TunedModelName(Schema):
    """The name of a fine-tuned model or checkpoint.

    `ft:<base>:<organization>:<suffix>:<id>` or the same with `:ckpt-step-<N>`.
    The base keeps its own slashes (`Qwen/Qwen3-0.6B`); the suffix may be empty.
    """

    base: str
    organization: str
    suffix: str
    id: str
    step: int | None = None

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Return the parts of `name`, or None where it does not name a fine-tuned model."""
        match name.split(":"):
            case ["ft", base, organization, suffix, model_id]:
                return cls(base=base, organization=organization, suffix=suffix, id=model_id)
            case ["ft", base, organization, suffix, model_id, step] if found := re.fullmatch(
                r"ckpt-step-(0|[1-9][0-9]{0,8})", step
            ):
                return cls(
                    base=base,
                    organization=organization,
                    suffix=suffix,
                    id=model_id,
                    step=int(found[1]),
                )
            case _:
                return None

    def __str__(self) -> str:
        name = f"ft:{self.base}:{self.organization}:{self.suffix}:{self.id}"
        return name if self.step is None else f"{name}:ckpt-step-{self.step}"
