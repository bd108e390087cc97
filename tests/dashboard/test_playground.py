"""One prompt to several models: streamed as the API streams, whole where a browser runs no scripts."""

import asyncio
import json
import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.dashboard.playground_form import Column, PlaygroundForm, as_python
from jobs.keys import create_key
from jobs.store.store import open_store
from tests.api_server import Server
from tests.fake_engine import WORDS
from tests.polling import eventually

PAGE = "/ui/playground"
HELLO = "".join(WORDS)


@pytest.fixture
def token(reader: httpx.Client) -> str:
    found = re.search(r'name="csrf-token" content="(\w+)"', reader.get(PAGE).text)
    assert found is not None
    return found[1]


@pytest.fixture
def submit(reader: httpx.Client, token: str):
    """Press a button of the form."""

    def press(do: str, *models: str, **fields: str) -> str:
        named = {f"model_{number}": model for number, model in enumerate(models, start=1)}
        data = {"csrf_token": token, "do": do, **named, **fields}
        answer = reader.post(PAGE, data=data)
        assert answer.status_code == 200, answer.text
        return answer.text

    return press


def question(model="nano", prompt="hi", **more) -> dict:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def headings(page: str) -> list[str]:
    """Who answered, by the columns that are shown."""
    return [unescape(name) for name in re.findall(r'<h2 class="who">(.*?)</h2>', page)]


def said(page: str) -> list[str]:
    found = re.findall(r'<div class="text said">(.*?)</div>', page, re.DOTALL)
    return [unescape(re.sub("</?mark>", "", text)) for text in found]


def chosen(page: str) -> list[str]:
    """Whom the columns that are shown ask."""
    columns = re.findall(r'<fieldset class="column"[^>]*>.*?</fieldset>', page, re.DOTALL)
    shown = [column for column in columns if "hidden disabled" not in column.partition(">")[0]]
    return [unescape(re.findall(r"<option selected>(.*?)</option>", column)[0]) for column in shown]


def upload_job(server: Server, *examples: dict) -> str:
    """A job of a validation file with these examples, each ten times over."""
    content = "".join(json.dumps(example) + "\n" for example in examples)
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=headers, timeout=30) as client:
        file = client.post(
            "/files", data={"purpose": "fine-tune"}, files={"file": ("a.jsonl", content)}
        )
        asked = {"model": "nano", "training_file": file.json()["id"]}
        return client.post("/fine_tuning/jobs", json=asked).json()["id"]


def example(question_: str, answer: str, *before: dict, **more) -> dict:
    asked = [*before, {"role": "user", "content": question_}]
    return {"messages": [*asked, {"role": "assistant", "content": answer}], **more}


def test_it_begins_with_the_newest_model_beside_its_base(server: Server, reader: httpx.Client):
    """Whoever comes without a link finds the newest tuned model next to what it was tuned from."""
    tuned = server.add_tuned_model(suffix="newest")
    assert chosen(reader.get(PAGE).text) == ["nano", tuned]


def test_a_link_chooses_columns_and_settings(reader: httpx.Client):
    """A link names models, an alias by its base, and their settings; what it names need not be there."""
    query = "?model=gpt-4o-mini&model=ft:gone&temperature_2=0.5&model=nano&model=nano&model=fifth"
    page = reader.get(PAGE + query).text
    assert chosen(page) == ["nano", "ft:gone", "nano", "nano"]
    assert re.search(r'name="temperature_2"[^>]*value="0.5"', page)


def test_a_column_streams_as_the_api_does(server: Server, reader: httpx.Client, token: str):
    """The route of the columns sends what `/v1/chat/completions` sends, event by event."""
    asked = question(stream=True, stream_options={"include_usage": True})
    ours = reader.post(f"{PAGE}/answers", json=asked, headers={"x-csrf-token": token})
    headers = {"authorization": f"Bearer {server.key}"}
    api = httpx.post(f"{server.url}/v1/chat/completions", json=asked, headers=headers)

    def told(answer: httpx.Response) -> str:
        return re.sub(r'"(id|created)":("[^"]*"|\d+)', "", answer.text)

    assert ours.status_code == 200
    assert told(ours) == told(api)
    assert ours.headers["openai-model"] == "nano"


def test_a_column_that_nobody_reads_stops_the_engine(
    server: Server, reader: httpx.Client, token: str
):
    """Stop, which hangs up, ends the generation."""
    before = server.engine.stopped_early
    asked = question(prompt="hold", stream=True)
    headers = {"x-csrf-token": token}
    with reader.stream("POST", f"{PAGE}/answers", json=asked, headers=headers) as answer:
        next(answer.iter_lines())
    eventually(lambda: server.engine.stopped_early == before + 1)


def test_a_column_takes_no_question_without_the_token(reader: httpx.Client):
    """What would use up somebody's limits is asked by a page of ours alone, and the refusal is JSON."""
    answer = reader.post(f"{PAGE}/answers", json=question())
    assert answer.status_code == 403
    assert "Reload" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        (question(model="ft:gone"), 404, "model_not_found"),
        (question(temperature=3), 400, "decimal_above_max_value"),
        (question(use_beam_search=True), 400, "unknown_parameter"),
    ],
)
def test_a_column_fails_in_the_words_of_the_api(reader, token, asked, status, code):
    """Errors are the API's, as JSON, so that a column can say what to do."""
    answer = reader.post(f"{PAGE}/answers", json=asked, headers={"x-csrf-token": token})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_engine_that_does_not_start_is_said_with_what_to_do(server: Server, reader, submit):
    """A column whose engine is down says why and for how long to wait, and spoils no other column."""
    server.fail_engine("lost", "no room on the device")
    page = submit("ask", "lost", "nano", prompt="hi")
    assert headings(page)[1] == "nano"
    assert said(page)[:2] == ["", HELLO]
    assert "Its engine is starting, is loading the model, or is down." in page
    assert "Try again in" in page


def test_without_scripts_all_columns_answer_at_once(server: Server, submit):
    """The plain form brings whole answers, each under the name that came with it."""
    tuned = server.add_tuned_model(suffix="plain")
    page = submit("ask", "nano", tuned, prompt="learned it by heart", temperature_1="0")
    assert headings(page)[:2] == ["nano", tuned]
    assert said(page)[:2] == [HELLO, "it by heart"]
    assert server.engine.requests[-1]["messages"] == [
        {"role": "user", "content": "learned it by heart"}
    ]


def test_a_conversation_goes_on_in_each_column(server: Server, submit):
    """With the box ticked, a column's next question follows its own last answer."""
    first = submit("ask", "nano", prompt="say one", keep="1")
    last = unescape(re.findall(r'name="last_1" value="(.*?)"', first)[0])
    page = submit("ask", "nano", prompt="say two", keep="1", last_1=last)
    assert [message["content"] for message in server.engine.requests[-1]["messages"]] == [
        "say one",
        "one",
        "say two",
    ]
    assert said(page)[0] == "two"
    assert "<b>Assistant</b> one" in page
    failed = submit("ask", "ft:gone", prompt="say two", keep="1")
    assert "say two</textarea>" in failed
    more = submit("add", "nano", keep="1", last_1=last)
    assert "<b>Assistant</b> one" in more


def test_an_example_is_loaded_with_its_reference(server: Server, submit):
    """An example fills the prompt; its earlier messages and tools go with it, its answer is the reference."""
    tool = {"type": "function", "function": {"name": "balance", "parameters": {"type": "object"}}}
    system = {"role": "system", "content": "Be brief."}
    earlier = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    job = upload_job(
        server,
        example("Where is my card?", "card_arrival"),
        example("say And my <b>PIN</b>?", "pin_change", system, *earlier, tools=[tool]),
    )
    page = submit("load", "nano", job=job, example="2")
    assert "pin_change</div>" in page
    fields = {
        name: unescape(text)
        for name, text in re.findall(
            r'<textarea id="(\w+)"[^>]*>\n(.*?)</textarea>', page, re.DOTALL
        )
    }
    assert fields["system"] == "Be brief."
    assert fields["prompt"] == "say And my <b>PIN</b>?"
    context = unescape(re.findall(r'name="context" value="(.*?)"', page)[0])
    assert json.loads(context) == earlier
    submit("ask", "nano", **{name: fields[name] for name in ("system", "prompt", "tools")})
    assert server.engine.requests[-1]["tools"][0]["function"]["name"] == "balance"


def test_the_next_example_is_a_click_away(server: Server, submit):
    """The example after the one that is loaded, whatever the fields to choose one hold."""
    job = upload_job(server, example("first", "1"), example("second", "2"))
    loaded = {"loaded_job": job, "loaded_example": "1"}
    page = submit("next", "nano", **loaded, job="other", example="9")
    assert "second</textarea>" in page
    page = submit("ask", "nano", **loaded, prompt="first", job="other", example="2")
    assert "Reference answer of example 1" in page


def test_the_job_of_the_tuned_model_is_offered(server: Server, reader: httpx.Client):
    """Beside a tuned model one need not know which job it is of, nor beside a base see any."""
    tuned = server.add_tuned_model(suffix="offered")
    assert re.search(r'id="job" name="job" value="ftjob-', reader.get(f"{PAGE}?model={tuned}").text)
    assert 'id="job" name="job" value=""' in reader.get(f"{PAGE}?model=nano").text


def test_a_column_counts_against_the_limits(server: Server, reader: httpx.Client, token: str):
    """What a column asks is limited as the project's keys are, and the refusal says how long to wait."""
    project = f"{server.url}/v1/organization/projects/proj_default/rate_limits/rl-meta%2FNano-2"
    admin = {"authorization": f"Bearer {server.admin_key}"}
    limit = {"max_requests_per_1_minute": 1}
    assert httpx.post(project, json=limit, headers=admin).status_code == 200
    headers = {"x-csrf-token": token}
    asked = question(model="meta/Nano-2")

    def ask() -> httpx.Response:
        return reader.post(f"{PAGE}/answers", json=asked, headers=headers)

    eventually(lambda: ask().status_code == 429)
    refused = ask()
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) > 0
    httpx.post(project, json={"max_requests_per_1_minute": 2**31 - 1}, headers=admin)


@pytest.mark.parametrize(
    ("number", "words"),
    [("3", "fewer than 3 examples"), ("0", "example"), ("x", "example"), ("1", "weight of 0")],
)
def test_an_example_that_is_none_is_told(server: Server, submit, number, words):
    """A number that leads nowhere is told on the page, and the prompt stays."""
    job = upload_job(
        server,
        {
            "messages": [
                {"role": "user", "content": "Hi"},
                {"role": "assistant", "content": "Hello", "weight": 0},
            ]
        },
        example("Hi", "Hello"),
    )
    page = submit("load", "nano", job=job, example=number, prompt="kept")
    assert words in re.findall(r'<p class="error" role="alert">(.*?)</p>', page)[0]
    assert "kept</textarea>" in page


def test_the_link_and_the_code_hold_what_they_say(submit, server: Server):
    """The link has models and settings and no word of the prompt; the code has the whole question and no key."""
    page = submit("code", "nano", "nano", prompt="say secret", seed_2="7", stop_2="a\r\n\\n")
    query = parse_qs(urlsplit(unescape(re.findall(r'id="link" href="(.*?)"', page)[0])).query)
    assert query == {"model": ["nano", "nano"], "seed_2": ["7"], "stop_2": ["a\r\n\\n"]}
    code = unescape(submit("code", "nano", prompt="it's", max_tokens_1="5", format_1="json_object"))
    assert f"curl {server.url}/v1/chat/completions" in code
    assert "max_tokens=5" in code
    assert server.key not in code


def test_the_python_code_is_the_question():
    """The snippet is a program whose arguments are the request's fields."""
    form = PlaygroundForm(
        columns=[Column(model="m", temperature="0.5", stop="a\n\\n")], prompt="“it's”\n{x}"
    )
    body = form.body(form.columns[0])
    asked: list[dict] = []

    class Client:
        def __init__(self, base_url):
            self.chat = self.completions = self
            self.base_url = base_url

        def create(self, **arguments):
            asked.append(arguments)
            raise StopIteration

    code = as_python(body, base_url="http://here/v1").replace("from openai import OpenAI", "")
    with pytest.raises(StopIteration):
        exec(code, {"OpenAI": Client})  # noqa: S102 - what the page shows is what is tested
    assert asked == [body]
    assert body["stop"] == ["a", "\n"]


def test_columns_come_and_go_without_scripts(submit):
    """Buttons add a column, up to four, and remove one, but not the last."""
    assert chosen(submit("add", "nano", "meta/Nano-2")) == ["nano", "meta/Nano-2", "meta/Nano-2"]
    assert len(chosen(submit("add", "nano", "nano", "nano", "nano"))) == 4
    assert chosen(submit("remove_0", "nano", "meta/Nano-2")) == ["meta/Nano-2"]
    assert chosen(submit("remove_0", "nano")) == ["nano"]


def test_a_key_that_may_not_ask_is_told(server: Server, visitor: httpx.Client):
    """A read-only key sees no playground, and its session cannot ask behind the page either."""
    key = asyncio.run(read_only_key(server))
    visitor.post("/ui/sign-in", data={"key": key})
    page = visitor.get(PAGE)
    assert page.status_code == 401
    assert "Missing scopes: model.request" in page.text
    token = re.findall(r'name="csrf-token" content="(\w+)"', page.text)[0]
    answer = visitor.post(f"{PAGE}/answers", json=question(), headers={"x-csrf-token": token})
    assert answer.status_code == 401
    assert "model.request" in answer.json()["error"]["message"]


async def read_only_key(server: Server) -> str:
    async with open_store(server.settings.effective_database_url) as store:
        key, _ = await create_key(
            store, name="reader", organization_id="local", scopes=["api.all.read"]
        )
    return key
