"""Base models: what an operator offers to tune and to ask."""

from pathlib import Path

from schemas.base import Schema


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
    engine_url: str | None = None
    """Where a running engine of the operator's serves it; None where we start our own."""
