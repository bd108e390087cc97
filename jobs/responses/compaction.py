"""A conversation made short: what its user said, word for word, and the model's own summary of the rest.

Both travel in one item that clients pass on without reading. OpenAI encrypts it; here it is only packed, since it holds
nothing but what the client has said and been told.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from schemas.base import RequestBody
from schemas.chat import AssistantMessage, Message, TextPart, UserMessage
from schemas.errors import InvalidRequest
from schemas.ids import new_hex_id
from schemas.response_items import Compaction
from schemas.strict_json import decode_json
from schemas.validation import validated

SUMMARISE: Final = UserMessage(
    role="user",
    content="Summarise this conversation for yourself, so that you can go on with it without seeing "
    "it: what is wanted, what was found or decided, what is still to be done. Keep names, numbers "
    "and the results of functions as they are. Write the summary and nothing else.",
)
"""What a model is asked at the end of the conversation that it shall make short."""


class _Packed(RequestBody):
    said: list[str]
    """The user's messages, oldest first."""
    summary: str


def pack(messages: Sequence[Message], summary: str) -> Compaction:
    """Return a conversation made short.

    Args:
        messages: All of it.
        summary: The model's.
    """
    said = [_text(message) for message in messages if isinstance(message, UserMessage)]
    content = _Packed(said=said, summary=summary).model_dump_json().encode()
    return Compaction(
        id=new_hex_id("cmp_"), encrypted_content=base64.urlsafe_b64encode(content).decode()
    )


def unpack(content: str) -> list[Message]:
    """Return what a model is shown of a conversation made short: the user's part, then its own.

    Args:
        content: A `Compaction`'s `encrypted_content`, from anyone.

    Raises:
        InvalidRequest: It is not one of ours.
    """
    try:
        decoded = decode_json(base64.b64decode(content, altchars=b"-_", validate=True))
        packed = validated(_Packed, decoded)
    except (binascii.Error, ValueError, InvalidRequest) as exc:
        raise InvalidRequest(
            "The encrypted content of a compaction item could not be read. Send it as this server "
            "gave it.",
            param="input",
            code="invalid_encrypted_content",
        ) from exc
    summary = AssistantMessage(role="assistant", content=packed.summary)
    if not packed.said:
        return [summary]
    return [UserMessage(role="user", content="\n\n".join(packed.said)), summary]


def _text(message: UserMessage) -> str:
    match message.content:
        case str(text):
            return text
        case parts:
            return "\n".join(part.text for part in parts if isinstance(part, TextPart))
