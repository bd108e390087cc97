"""Text for a model that renders no conversation: a text, several texts, the token ids of one, or of several."""

from typing import Annotated, TypeAlias, TypeVar

from pydantic import Discriminator, Field, Tag

PromptText: TypeAlias = Annotated[str, Field(min_length=1)]
PromptTokens: TypeAlias = Annotated[
    list[Annotated[int, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=1_000_000)
]

_T = TypeVar("_T")
_Several: TypeAlias = Annotated[list[_T], Field(min_length=1)]


def _kind(value: object) -> str:
    """Tell by its first item what an array means, so that errors speak of that and of nothing else."""
    match value:
        case [int(), *_]:
            return "tokens"
        case [[*_], *_]:
            return "several tokens"
        case [*_]:
            return "several texts"
        case _:
            return "text"


Prompt: TypeAlias = Annotated[
    Annotated[PromptText, Tag("text")]
    | Annotated[_Several[PromptText], Tag("several texts")]
    | Annotated[PromptTokens, Tag("tokens")]
    | Annotated[_Several[PromptTokens], Tag("several tokens")],
    Discriminator(_kind),
]


def count_prompts(prompt: Prompt) -> int:
    """Return how many there are."""
    is_one = isinstance(prompt, str) or isinstance(prompt[0], int)
    return 1 if is_one else len(prompt)


def estimate_tokens(prompt: Prompt) -> int:
    """Guess how many tokens there are: of texts, one for four characters."""
    texts = [prompt] if isinstance(prompt, str) else [one for one in prompt if isinstance(one, str)]
    return count_tokens(prompt) + sum(map(len, texts)) // 4


def count_tokens(prompt: Prompt) -> int:
    """Return how many tokens came as such; of texts, none."""
    if isinstance(prompt, str):
        return 0
    return sum(len(one) if isinstance(one, list) else isinstance(one, int) for one in prompt)
