"""`/ui/playground`: one prompt to up to four models, side by side."""

import asyncio
import json
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from litestar import get, post
from litestar.di import NamedDependency, Provide
from litestar.types import ASGIApp
from pydantic import Field

from api.bodies import CHAT_BYTES, ApiRequest, read_asked
from api.dashboard.guard import form_of
from api.dashboard.pages import Page, is_fragment, render
from api.dashboard.playground_form import (
    COLUMNS,
    COMPARED,
    FORMATS,
    Column,
    Json,
    PlaygroundForm,
    as_curl,
    as_json,
    as_message,
    as_python,
    read_form,
    read_link,
)
from api.dashboard.word_diff import Piece, differing, said_in, written
from api.errors import exception_handlers
from api.hang_up import until_hang_up
from api.routes.chat import answer_chat
from jobs import example_questions, inference, models
from jobs.example_questions import ExampleQuestion
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema
from schemas.chat import ChatRequest
from schemas.completions import ChatCompletion
from schemas.errors import (
    ApiError,
    InvalidRequest,
    ModelServerUnavailable,
    NotFound,
    RateLimited,
)
from schemas.validation import validated

PATH: Final = "/ui/playground"
_EXPLAINED: Final = (
    "context_length_exceeded",
    "model_not_found",
    "no_prompt",
    "rate_limit_exceeded",
    "server_is_overloaded",
    "signed_out",
    "unreachable",
)
"""Codes of errors of which the page says what to do."""
_OFFERED: Final = 200
"""Tuned models in the list to choose from, the newest; a link may name any other."""


class Told(Schema):
    """What became of one column's question."""

    column: int
    """From 0."""
    asked: str
    """Whom."""
    answer: ChatCompletion | None = None
    seconds: float = 0.0
    message: str = ""
    """Of the error, where there is no answer."""
    code: str | None = None
    retry_after: float | None = None


class Choices(Schema):
    """Whom a column may ask."""

    tuned: list[str]
    bases: list[str]


class _ExampleNumber(Schema):
    example: int = Field(ge=1)


class Snippet(Schema):
    """One column's question as code, or why it is none."""

    model: str
    curl: str = ""
    python: str = ""
    error: str = ""


@get(PATH)
async def show(
    request: ApiRequest, services: NamedDependency[Services], caller: NamedDependency[Caller]
) -> Page:
    """Show the form: as a link asks for it, else the newest tuned model beside its base."""
    form = read_link(request.query_params) or await _first(services, caller)
    return await _page(request, services, caller, _resolved(services, form), fills=True)


@post(PATH, status_code=200)
async def act(
    request: ApiRequest, services: NamedDependency[Services], caller: NamedDependency[Caller]
) -> Page:
    """Do what the button says; what asks, for browsers without scripts, waits for whole answers."""
    fields = form_of(request)
    form = _resolved(services, read_form(fields))
    if fields.get("do") == "code":
        return _code(request, form)
    if fields.get("do") == "ask":
        return await _answered(request, services, caller, form)
    form = _changed(form, fields.get("do", ""))
    return await _page(request, services, caller, form, fills=fields.get("do") in {"load", "next"})


@post(
    f"{PATH}/answers",
    status_code=200,
    max_bytes=CHAT_BYTES,
    dependencies={"asked": Provide(read_asked)},
    exception_handlers=exception_handlers,
)
async def answer(
    request: ApiRequest,
    asked: NamedDependency[ChatRequest],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> ASGIApp:
    """Answer one column as `/v1/chat/completions` answers: the same checks, limits, counts and errors."""
    return await answer_chat(request, services, caller, asked)


async def _page(
    request: ApiRequest,
    services: Services,
    caller: Caller,
    form: PlaygroundForm,
    *,
    fills: bool = False,
    told: Sequence[Told] = (),
) -> Page:
    """Return the page; `fills`: with the example that the form names as its prompt."""
    question, load_error = await _example(services, caller, form)
    return render(
        request,
        "playground.html",
        form=_with_example(form, question) if fills and question else form,
        choices=await _choices(services, caller),
        told={each.column: each for each in told},
        pieces=_pieces(form, told, question),
        turns=_turns(form, answered={each.column for each in told}),
        question=question,
        suggested=await _suggested(services, caller, form),
        reference=written(question.reference) if question else "",
        load_error=load_error,
        n_columns=COLUMNS,
        formats=FORMATS,
        compared=COMPARED,
        explained=_EXPLAINED,
        project_id=caller.project_id,
    )


async def _answered(
    request: ApiRequest, services: Services, caller: Caller, form: PlaygroundForm
) -> Page:
    told: list[Told] = []

    async def ask_all() -> None:
        async with asyncio.TaskGroup() as group:
            asking = [
                group.create_task(_ask(services, caller, form, number))
                for number in range(len(form.columns))
            ]
        told.extend(task.result() for task in asking)

    await until_hang_up(request.receive, ask_all())
    columns = [
        _gone_on(form, column, told[number]) if told else column
        for number, column in enumerate(form.columns)
    ]
    # What was answered stands in the columns; a conversation waits for the next prompt.
    goes_on = form.keep and any(each.answer for each in told)
    after = {"columns": columns, "prompt": "" if goes_on else form.prompt}
    return await _page(request, services, caller, form.model_copy(update=after), told=told)


async def _ask(services: Services, caller: Caller, form: PlaygroundForm, number: int) -> Told:
    column = form.columns[number]
    told = Told(column=number, asked=column.model)
    started = time.perf_counter()
    try:
        question = await inference.prepare(services, caller, form.request(column))
        answer = await inference.complete(services, question)
    except (RateLimited, ModelServerUnavailable) as exc:
        return told.model_copy(
            update={"message": exc.message, "code": exc.code, "retry_after": exc.retry_after}
        )
    except ApiError as exc:
        return told.model_copy(update={"message": exc.message, "code": exc.code})
    return told.model_copy(update={"answer": answer, "seconds": time.perf_counter() - started})


def _gone_on(form: PlaygroundForm, column: Column, told: Told) -> Column:
    """Return a column that remembers what it was just asked and answered."""
    turns = form.earlier(column)
    asked = [{"role": "user", "content": form.prompt}] if form.prompt.strip() else []
    last = [*asked, as_message(told.answer)] if told.answer else []
    return column.model_copy(update={"turns": json.dumps(turns), "last": json.dumps(last)})


def _turns(form: PlaygroundForm, *, answered: set[int]) -> dict[int, list[tuple[str, str]]]:
    """Return who said what in each column's conversation; the latest answer has its own place where it is new."""
    turns = {}
    for number, column in enumerate(form.columns if form.keep else []):
        latest = column.messages("last")
        shown = [*column.messages("turns"), *(latest[:-1] if number in answered else latest)]
        turns[number] = [
            (str(each.get("role")), each.get("content") or as_json(each.get("tool_calls")))
            for each in shown
        ]
    return turns


def _changed(form: PlaygroundForm, act: str) -> PlaygroundForm:
    """Return the form as a button for browsers without scripts leaves it."""
    columns = form.columns
    if act == "add" and len(columns) < COLUMNS:
        columns = [*columns, Column(model=columns[-1].model)]
    if act.startswith("remove_") and len(columns) > 1:
        gone = act.removeprefix("remove_")
        columns = [each for number, each in enumerate(columns) if str(number) != gone]
    if act == "clear":
        columns = [each.model_copy(update={"turns": "", "last": ""}) for each in columns]
        cleared = dict.fromkeys(("prompt", "system", "context", "tools", "job", "example"), "")
        return form.model_copy(update={"columns": columns, **cleared})
    return form.model_copy(update={"columns": columns})


async def _example(
    services: Services, caller: Caller, form: PlaygroundForm
) -> tuple[ExampleQuestion | None, str]:
    """Return the example that the form names, or why there is none."""
    if not form.job or not form.example:
        return None, ""
    try:
        caller.ensure_may("api.fine_tuning.read")
        caller.ensure_may("api.files.read")
        number = validated(_ExampleNumber, {"example": form.example}).example
        return await example_questions.load(services, caller, form.job, number), ""
    except ApiError as exc:
        return None, exc.message


def _with_example(form: PlaygroundForm, question: ExampleQuestion) -> PlaygroundForm:
    """Return the form with the example's conversation: what fits its fields there, the rest before the prompt."""
    messages = list(question.asked["messages"])
    system = prompt = ""
    if messages and _is_plain(messages[0], "system"):
        system = messages.pop(0)["content"]
    if messages and _is_plain(messages[-1], "user"):
        prompt = messages.pop()["content"]
    functions = [
        {"type": "function", "function": each} for each in question.asked.get("functions", [])
    ]
    tools = [*question.asked.get("tools", []), *functions]
    columns = [each.model_copy(update={"turns": "", "last": ""}) for each in form.columns]
    return form.model_copy(
        update={
            "columns": columns,
            "system": system,
            "prompt": prompt,
            "keep": False,
            "context": as_json(messages) if messages else "",
            "tools": as_json(tools) if tools else "",
        }
    )


def _is_plain(message: Json, role: str) -> bool:
    return (
        message.keys() == {"role", "content"}
        and message["role"] == role
        and isinstance(message["content"], str)
    )


def _pieces(
    form: PlaygroundForm, told: Sequence[Told], question: ExampleQuestion | None
) -> dict[int, list[Piece]]:
    """Return each answer, told apart where it differs from what it is compared with."""
    texts = {each.column: said_in(each.answer) for each in told if each.answer}
    pieces: dict[int, list[Piece]] = {}
    for number, text in texts.items():
        match form.compare:
            case "reference" if question is not None:
                other: str | None = written(question.reference)
            case "first":
                # The first is told apart from the second, all others from the first.
                other = texts.get(1 if number == 0 else 0)
            case _:
                other = None
        pieces[number] = differing(text, other)
    return pieces


async def _choices(services: Services, caller: Caller) -> Choices:
    """Return whom the caller may ask: aliases are left out, their bases are there."""
    tuned, bases = [], []
    for model in (await models.list_models(services, caller)).data:
        base = services.catalog.find(model.id)
        if base is None:
            tuned.append(model.id)
        elif base.name == model.id and base.task == "generate":
            bases.append(model.id)
    return Choices(tuned=tuned[:_OFFERED], bases=bases)


async def _suggested(services: Services, caller: Caller, form: PlaygroundForm) -> str:
    """Return the job of the first tuned model among the columns, where it is the caller's; else nothing."""
    for column in form.columns:
        record = await services.askable.find(column.model, project_id=caller.project_id)
        if record is not None and record.project_id == caller.project_id:
            return record.job_id
    return ""


async def _first(services: Services, caller: Caller) -> PlaygroundForm:
    """Return what to begin with: the newest tuned model beside its base, else a base alone."""
    choices = await _choices(services, caller)
    names = choices.bases[:1]
    if choices.tuned:
        with suppress(NotFound):  # its base may not be offered any more
            target = await models.target(services, caller, choices.tuned[0])
            names = [target.base.name, target.public_name]
    return PlaygroundForm(columns=[Column(model=name) for name in names or [""]])


def _resolved(services: Services, form: PlaygroundForm) -> PlaygroundForm:
    """Return the form with the bases in the place of their aliases: an answer names its base."""

    def resolved(column: Column) -> Column:
        base = services.catalog.find(column.model)
        return column if base is None else column.model_copy(update={"model": base.name})

    return form.model_copy(update={"columns": [resolved(each) for each in form.columns]})


def _code(request: ApiRequest, form: PlaygroundForm) -> Page:
    base_url = f"{request.base_url}v1"
    return render(
        request,
        "playground_code.html",
        fragment=is_fragment(request),
        link=form.link(PATH),
        snippets=[_snippet(form, each, base_url) for each in form.columns],
    )


def _snippet(form: PlaygroundForm, column: Column, base_url: str) -> Snippet:
    try:
        form.request(column)
    except InvalidRequest as exc:
        return Snippet(model=column.model, error=exc.message)
    body = form.body(column)
    return Snippet(
        model=column.model,
        curl=as_curl(body, base_url=base_url),
        python=as_python(body, base_url=base_url),
    )
