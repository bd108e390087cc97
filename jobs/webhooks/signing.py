"""Signatures of the Standard Webhooks scheme, as OpenAI's SDKs check them."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from secrets import token_bytes
from typing import Final

from standardwebhooks import Webhook

from schemas.webhooks import WHSEC

_SECRET_BYTES: Final = 32
_USER_AGENT: Final = "OpenAI/1.0 (compatible; retune)"
"""Begins as OpenAI's does, for receivers that look, and says who it is."""


def new_secret() -> str:
    """Return a signing secret: `whsec_` and 32 random bytes in base64."""
    return WHSEC + base64.b64encode(token_bytes(_SECRET_BYTES)).decode()


def signed_headers(
    webhook_id: str, body: str, *, secrets: Sequence[str], now: int
) -> dict[str, str]:
    """Return the headers of one attempt.

    Args:
        webhook_id: The same at each attempt.
        body: As it is sent.
        secrets: Each signs; a receiver is content when one signature is right.
        now: Unix seconds; receivers refuse what is five minutes off.
    """
    moment = datetime.fromtimestamp(now, tz=UTC)
    return {
        "content-type": "application/json",
        "user-agent": _USER_AGENT,
        "webhook-id": webhook_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(
            Webhook(secret).sign(msg_id=webhook_id, timestamp=moment, data=body)
            for secret in secrets
        ),
    }
