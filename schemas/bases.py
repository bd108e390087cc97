"""Base models: what an operator offers to tune and to ask."""

from datetime import date
from pathlib import Path
from typing import Literal

from schemas.base import Schema

Task = Literal["generate", "embed"]
"""What a base does with text: go on with it, or turn it into a vector."""


class BaseModelInfo(Schema):
    """A base that is prepared: a directory that the trainer and the engine both read."""

    name: str
    """Its public name, such as `smollm2-135m`."""
    directory: Path
    context_length: int
    """Tokens, the smaller of what the model can and what the operator allows."""
    hidden_size: int
    model_type: str
    """transformers' word, such as `llama` or `qwen3`."""
    n_parameters: int
    digest: str
    """SHA-256 over the names, sizes and contents of what the weights and tokenizer are read from."""
    created: int
    """Unix seconds: when it was prepared."""
    task: Task = "generate"
    """Only what generates can be tuned and chats."""
    shutdown_date: date | None = None
    """When the operator means to take it away; shown, not acted upon."""
    engine_url: str | None = None
    """Where a running engine of the operator's serves it; None where we start our own."""
