"""What the playground's form holds: as it was typed, as chat requests, as a link without the prompt, and as code."""

import json
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import Any, Final, Literal, get_args
from urllib.parse import urlencode

from litestar.datastructures import MultiDict
from pydantic import Field, TypeAdapter, ValidationError

from schemas.base import Schema
from schemas.chat import ChatRequest
from schemas.completions import ChatCompletion
from schemas.errors import InvalidRequest
from schemas.validation import validated

COLUMNS: Final = 4
"""At most: a browser keeps six connections to a server, and each column streams on one."""
_LONGEST_NAME: Final = 512

Format = Literal["text", "json_object"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
Compared = Literal["first", "reference", "nothing"]
COMPARED: Final[tuple[Compared, ...]] = get_args(Compared)
"""What an answer's words are told apart from."""
Json = dict[str, Any]

_MESSAGES: Final = TypeAdapter(list[Json])
_NUMBERS: Final[Mapping[str, type[int] | type[float]]] = {
    "temperature": float,
    "top_p": float,
    "max_tokens": int,
    "seed": int,
}


class Column(Schema):
    """Whom one column asks, and how; numbers as they were typed, empty: the server's default."""

    model: str
    temperature: str = ""
    top_p: str = ""
    max_tokens: str = ""
    seed: str = ""
    stop: str = ""
    r"""One sequence a line; `\n` stands for a line break."""
    format: str = "text"
    turns: str = ""
    """JSON: the messages of the conversation before `last`."""
    last: str = ""
    """JSON: the latest question and its answer."""

    def chosen(self) -> dict[str, str]:
        """Return the settings that somebody typed."""
        chosen = self.model_dump(exclude={"model", "turns", "last"}, exclude_defaults=True)
        return {name: value for name, value in chosen.items() if value}

    def messages(self, field: Literal["turns", "last"]) -> list[Json]:
        """Return what `turns` or `last` holds.

        Raises:
            InvalidRequest: It is not what this page once wrote.
        """
        return _messages(getattr(self, field), field)


class PlaygroundForm(Schema):
    """All that the page asks for."""

    columns: list[Column] = Field(min_length=1, max_length=COLUMNS)
    system: str = ""
    prompt: str = ""
    keep: bool = False
    """Whether the next prompt goes on from each column's last answer."""
    context: str = ""
    """JSON: messages of an example that stand before the prompt."""
    tools: str = ""
    """JSON: functions that the model may call."""
    job: str = ""
    """Whose example was loaded."""
    example: str = ""
    """Its number."""
    compare: str = "first"

    def earlier(self, column: Column) -> list[Json]:
        """Return the turns that a column's next question goes on from; none where it begins anew.

        Raises:
            InvalidRequest: They are not what this page once wrote.
        """
        if not self.keep:
            return []
        return [*column.messages("turns"), *column.messages("last")]

    def body(self, column: Column) -> Json:
        """Return a column's question as the JSON of a chat request.

        Raises:
            InvalidRequest: There is no prompt, or a hidden field is not what this page once wrote.
        """
        system = [{"role": "system", "content": self.system}] if self.system.strip() else []
        before = [*_messages(self.context, "context"), *self.earlier(column)]
        prompt = [{"role": "user", "content": self.prompt}] if self.prompt.strip() else []
        if not prompt and (not before or before[-1].get("role") == "assistant"):
            raise InvalidRequest("Write a prompt first.", param="prompt", code="no_prompt")
        tools = {"tools": _messages(self.tools, "tools")} if self.tools.strip() else {}
        return {
            "model": column.model,
            "messages": [*system, *before, *prompt],
            **tools,
            **settings_of(column),
        }

    def request(self, column: Column) -> ChatRequest:
        """Return a column's question, checked.

        Raises:
            InvalidRequest: Something in it is not as it must be, in the API's words.
        """
        return validated(ChatRequest, self.body(column))

    def link(self, path: str) -> str:
        """Return a URL that opens the page with these settings: no prompt, no answer, no tools."""
        pairs = [("model", column.model) for column in self.columns]
        for number, column in enumerate(self.columns, start=1):
            pairs += [(f"{name}_{number}", value) for name, value in column.chosen().items()]
        if self.job and self.example:
            pairs += [("job", self.job), ("example", self.example)]
        return f"{path}?{urlencode(pairs)}"


def read_form(fields: Mapping[str, str]) -> PlaygroundForm:
    """Return what a browser sent, whatever that is; columns without a model are left out."""
    numbers = [n for n in range(1, COLUMNS + 1) if fields.get(f"model_{n}", "").strip()]
    columns = [_column(fields, n, fields[f"model_{n}"]) for n in numbers]
    return _form(columns, fields, _example(fields))


def read_link(query: MultiDict[str]) -> PlaygroundForm | None:
    """Return what a link asks for; None where it names no model."""
    names = [name for name in query.getall("model", []) if name.strip()][:COLUMNS]
    fields = query.dict()
    single: dict[str, str] = {name: values[-1] for name, values in fields.items()}
    asked: dict[str, str] = {name: single[name] for name in ("job", "example") if name in single}
    columns = [_column(single, n, name) for n, name in enumerate(names, start=1)]
    return _form(columns, {}, asked) if columns else None


def settings_of(column: Column) -> Json:
    """Return what a column asks for beside its messages, as a chat request has it.

    A number that is none stays as it was typed, so that the API says what is wrong with it.
    """
    found: Json = {}
    for name, kind in _NUMBERS.items():
        if typed := getattr(column, name).strip():
            found[name] = _number(typed, kind)
    if stops := [line for line in column.stop.splitlines() if line]:
        found["stop"] = [stop.replace("\\n", "\n") for stop in stops]
    if column.format == "json_object":
        found["response_format"] = {"type": "json_object"}
    return found


def as_message(answer: ChatCompletion) -> Json:
    """Return an answer as the message that a later request has it as."""
    said = answer.choices[0].message
    message: Json = {"role": "assistant", "content": said.content}
    if said.tool_calls:
        message["tool_calls"] = [call.model_dump() for call in said.tool_calls]
    elif said.content is None:
        message["content"] = ""
    return message


def as_json(value: object) -> str:
    """Return JSON for a field that people may read."""
    return json.dumps(value, ensure_ascii=False)


def as_curl(body: Json, *, base_url: str) -> str:
    """Return a command that asks the same; the key comes from the environment."""
    content = json.dumps(body, ensure_ascii=False, indent=2)
    return (
        f"curl {base_url}/chat/completions \\\n"
        '  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        '  -H "Content-Type: application/json" \\\n'
        f"  -d {quote(content)}"
    )


def as_python(body: Json, *, base_url: str) -> str:
    """Return a program that asks the same with OpenAI's SDK."""
    # What a request holds is strings, numbers, lists and objects: Python writes them as they are read.
    arguments = "".join(f"    {name}={value!r},\n" for name, value in body.items())
    return (
        "from openai import OpenAI\n\n"
        f"client = OpenAI(base_url={base_url!r})  # the key: OPENAI_API_KEY\n"
        f"completion = client.chat.completions.create(\n{arguments})\n"
        "print(completion.choices[0].message.content)\n"
    )


def _form(
    columns: Sequence[Column], fields: Mapping[str, str], example: Mapping[str, str]
) -> PlaygroundForm:
    return PlaygroundForm(
        columns=list(columns) or [Column(model="")],
        system=_lines(fields.get("system", "")),
        prompt=_lines(fields.get("prompt", "")),
        keep=bool(fields.get("keep")),
        context=fields.get("context", ""),
        tools=fields.get("tools", ""),
        **example,
        compare=fields.get("compare", "first"),
    )


def _example(fields: Mapping[str, str]) -> dict[str, str]:
    """Return which example the page is to show: the chosen one, the one after the loaded one, or that."""
    names = ("job", "example") if fields.get("do") == "load" else ("loaded_job", "loaded_example")
    job, number = (fields.get(name, "").strip() for name in names)
    if fields.get("do") == "next" and number.isdecimal():
        number = str(int(number) + 1)
    return {"job": job, "example": number}


def _column(fields: Mapping[str, str], number: int, model: str) -> Column:
    names = [name for name in Column.model_fields if name != "model"]
    given = {name: fields[f"{name}_{number}"] for name in names if f"{name}_{number}" in fields}
    return Column(model=model.strip()[:_LONGEST_NAME], **given)


def _lines(text: str) -> str:
    # A form sends each line break as two characters; scripts send, and files hold, one.
    return text.replace("\r\n", "\n")


def _messages(text: str, param: str) -> list[Json]:
    if not text.strip():
        return []
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError as exc:
        raise InvalidRequest(
            f"'{param}' must be a JSON array of objects.", param=param, code="invalid_json"
        ) from exc


def _number(typed: str, kind: type[int] | type[float]) -> float | str:
    try:
        return kind(typed)
    except ValueError:
        return typed
