"""Jobs by clicking: what the form makes, says against it, tells beforehand, and keeps."""

import ast
import html
import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from api.dashboard import job_form
from jobs.bases.catalog import NANO_DIRECTORY
from schemas.fine_tuning import Integration, WandbIntegration
from tests.api_server import Server
from tests.samples import record

NEW = "/ui/jobs/new"
GOOD = json.dumps(
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
)


@pytest.fixture(scope="module")
def server(redis_server_url: str) -> Iterator[Server]:
    """A server whose base is real, so that files can be looked at."""
    from tests.api_server import running_server  # noqa: PLC0415 - after the SQLite is chosen

    with running_server(redis_server_url, base_files=NANO_DIRECTORY) as server:
        yield server


@pytest.fixture
def api(server: Server) -> Iterator[httpx.Client]:
    bearer = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=f"{server.url}/v1", headers=bearer, timeout=30) as client:
        yield client


def upload(api: httpx.Client, *lines: str) -> str:
    sent = {"file": ("train.jsonl", "\n".join(lines).encode())}
    answer = api.post("/files", files=sent, data={"purpose": "fine-tune"})
    return answer.raise_for_status().json()["id"]


@pytest.fixture
def training_file(api: httpx.Client) -> str:
    return upload(api, *[GOOD] * 12)


def hidden(page: str) -> dict[str, str]:
    """What the form carries unseen."""
    fields = re.findall(r'<input type="hidden" name="(csrf_token|attempt)" value="([^"]*)"', page)
    return dict(fields)


@pytest.fixture
def empty(reader: httpx.Client, training_file) -> dict[str, str]:
    """A fresh form, filled in no further than it must be."""
    page = reader.get(NEW).text
    return {**hidden(page), "model": "nano", "training_file": training_file, "validation": "none"}


def made(answer: httpx.Response) -> str:
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


def error_at(page: str, field: str) -> str:
    """What a page says against a field, at the field."""
    described = re.search(rf'<\w+ id="{field}"[^>]*>|<[^>]*id="{field}"[^>]*>', page)
    assert described is not None
    assert 'aria-invalid="true"' in described[0]
    assert f"{field}-error" in described[0]
    said = re.search(rf'<p class="error" id="{field}-error">(.*?)</p>', page)
    assert said is not None
    return html.unescape(re.sub("<[^>]+>", "", said[1]))


def test_a_plain_form_makes_a_job(api, reader: httpx.Client, empty):
    """What was typed is what the job is asked for; what was left empty the server chooses."""
    typed = {
        "suffix": "Bank Bot",
        "seed": "7",
        "n_epochs": "4",
        "batch_size": "auto",
        "learning_rate_multiplier": "0.5",
        "lora_rank": "8",
        "lora_target_modules": "q_proj, v_proj",
        "use_rslora": "true",
        "lr_scheduler_type": "cosine",
        "validation": "split",
        "validation_split": "0.25",
        "early_stopping": "yes",
        "patience": "2",
        "metadata": "team=support\n\nwhy = a=b \n",
    }
    job = api.get(f"/fine_tuning/jobs/{made(reader.post(NEW, data=empty | typed))}").json()
    assert (job["user_provided_suffix"], job["seed"]) == ("Bank Bot", 7)
    assert job["metadata"] == {"team": "support", "why": "a=b"}
    assert job["hyperparameters"] == {
        "n_epochs": 4,
        "batch_size": "auto",
        "learning_rate_multiplier": 0.5,
        "lora_rank": 8,
        "lora_target_modules": ["q_proj", "v_proj"],
        "use_rslora": True,
        "lr_scheduler_type": "cosine",
        "validation_split": 0.25,
        "early_stopping": {"patience": 2, "min_gain": 0.0, "metric": "full_valid_loss"},
    }


def test_all_that_is_wrong_is_said_at_once(reader: httpx.Client, empty):
    """Each field says what is wrong with it, in the API's words, and keeps what was typed."""
    typed = {
        "training_file": "",
        "n_epochs": "51",
        "batch_size": "many",
        "learning_rate_multiplier": "0",
        "wandb_project": "p" * 129,
        "wandb_tags": "t" * 65,
        "seed": "-1",
        "metadata": "no pair",
        "early_stopping": "yes",
        "patience": "0",
    }
    answer = reader.post(NEW, data=empty | typed)
    assert answer.status_code == 400
    assert "Missing required parameter" in error_at(answer.text, "training_file")
    assert "<= 50" in error_at(answer.text, "n_epochs")
    assert "an integer" in error_at(answer.text, "batch_size")
    assert "> 0" in error_at(answer.text, "learning_rate_multiplier")
    assert ">= 0" in error_at(answer.text, "seed")
    assert "length 128" in error_at(answer.text, "wandb_project")
    assert "length 64" in error_at(answer.text, "wandb_tags")
    assert ">= 1" in error_at(answer.text, "patience")
    assert "name=value" in error_at(answer.text, "metadata")
    assert 'name="batch_size" value="many"' in answer.text
    assert ">no pair</textarea>" in answer.text
    assert hidden(answer.text) == hidden(reader.get(NEW).text) | {"attempt": empty["attempt"]}


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"lora_rank": "65"}, "lora_rank", "<= 64"),
        ({"training_file": "file-gone"}, "training_file", "invalid training_file: file-gone"),
        ({"model": "nobody"}, "model", "not available for fine-tuning"),
        ({"suffix": "微调"}, "suffix", "no letter or digit"),
        ({"early_stopping": "yes"}, "early_stopping", "nothing to measure on"),
        ({"lora_target_modules": "nose"}, "lora_target_modules", "linear layers"),
        ({"validation": "file"}, "validation_file", "empty string"),
        ({"validation": "split", "validation_split": ""}, "validation_split", "a decimal"),
        ({"wandb_project": "chats"}, "wandb_project", "pip install 'retune[wandb]'"),
        ({"wandb_name": "a"}, "wandb_project", "Missing required parameter"),
        ({"wandb_project": "p", "wandb_tags": "a\n" + "b" * 65}, "wandb_tags", "maximum length 64"),
        ({"wandb_project": "p", "wandb_entity": "e" * 129}, "wandb_entity", "maximum length 128"),
    ],
)
def test_what_the_server_refuses_is_said_at_its_field(
    reader: httpx.Client, empty, typed, field, said
):
    """What only the server can know is said at the field too, whether to be estimated or created."""
    for path in (NEW, f"{NEW}/estimate"):
        answer = reader.post(path, data=empty | typed)
        assert answer.status_code == 400
        assert said in error_at(answer.text, field)


def test_a_method_that_is_not_offered_is_refused(reader: httpx.Client, empty):
    """The form shows the other methods as not offered, and takes none that somebody forges."""
    assert reader.get(NEW).text.count('name="method"') == 3
    answer = reader.post(NEW, data=empty | {"method": "dpo"})
    assert answer.status_code == 400
    assert "dpo" in answer.text


def test_a_button_pressed_twice_makes_one_job(api, reader: httpx.Client, empty):
    """The same form makes one job, at once or one after the other; another form, or a change, one more."""
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda _: reader.post(NEW, data=empty), range(4)))
    first = {made(answer) for answer in answers}
    assert len(first) == 1
    assert made(reader.post(NEW, data=empty)) in first
    assert made(reader.post(NEW, data=empty | {"seed": "1"})) not in first
    assert made(reader.post(NEW, data=empty | hidden(reader.get(NEW).text))) not in first


def test_an_estimate_makes_no_job(api, reader: httpx.Client, empty):
    """The estimate tells examples, steps and the numbers that auto becomes, in a page with the form as it was."""
    before = api.get("/fine_tuning/jobs").json()
    page = reader.post(f"{NEW}/estimate", data=empty | {"n_epochs": "3", "suffix": "kept"}).text
    assert "This would train" in page
    assert re.search(r"<dt>Steps</dt><dd>36</dd>", page)
    assert re.search(r"to \d+ tokens</th>.*<rect width=\"100.0%\"", page)
    assert "Batches of 1, so that an epoch has enough steps." in page
    assert 'value="kept"' in page
    assert api.get("/fine_tuning/jobs").json() == before


def test_an_estimate_tells_bad_lines(api, reader: httpx.Client, empty):
    """What is wrong with the data is told by line, and that the job would fail."""
    bad = upload(api, *[GOOD] * 3, '{"messages": []}', "<script>", *[GOOD] * 9)
    page = reader.post(f"{NEW}/estimate", data=empty | {"training_file": bad}).text
    assert "This would fail" in page
    assert "Line 4:" in page
    assert "Line 5:" in page


def test_a_script_gets_the_estimate_alone(reader: httpx.Client, empty):
    """To htmx the estimate comes as a piece, and so does what is wrong, with links to the fields."""
    headers = {"hx-request": "true"}
    piece = reader.post(f"{NEW}/estimate", data=empty, headers=headers).text
    assert "This would train" in piece
    assert "<form" not in piece
    wrong = reader.post(f"{NEW}/estimate", data=empty | {"n_epochs": "0"}, headers=headers).text
    assert '<a href="#n_epochs">Epochs</a>' in wrong


def snippets(page: str) -> list[str]:
    return [html.unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]


def test_the_same_as_code(server: Server, reader: httpx.Client, empty):
    """Python and curl send what the form means, whatever was typed, and hold no key."""
    typed = {
        "suffix": 'it\'s "$(ls)" \\',
        "n_epochs": "2",
        "use_rslora": "false",
        "metadata": "k=é\u2028",
        "wandb_project": "chats",
        "wandb_tags": "first, \nsecond",
    }
    page = reader.post(f"{NEW}/code", data=empty | typed).text
    python, curl = snippets(page)
    body = {
        "model": "nano",
        "training_file": empty["training_file"],
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "use_rslora": False}},
        },
        "suffix": 'it\'s "$(ls)" \\',
        "integrations": [
            {"type": "wandb", "wandb": {"project": "chats", "tags": ["first,", "second"]}}
        ],
        "metadata": {"k": "é"},
    }
    create = ast.parse(python).body[2]
    assert isinstance(create, ast.Assign)
    assert isinstance(create.value, ast.Call)
    sent = {word.arg: ast.literal_eval(word.value) for word in create.value.keywords}
    assert sent == body
    words = shlex.split(curl.replace("\\\n", " "))
    assert words[1] == f"{server.url}/v1/fine_tuning/jobs"
    assert json.loads(words[words.index("-d") + 1]) == body
    assert server.key not in page


def test_one_more_like_a_job(server: Server, api, reader: httpx.Client, training_file):
    """A form can begin as a job was asked for, and makes the same again."""
    asked = {
        "model": "nano",
        "training_file": training_file,
        "suffix": "bank",
        "seed": 3,
        "metadata": {"a": "b"},
        "method": {
            "type": "supervised",
            "supervised": {
                "hyperparameters": {
                    "n_epochs": 2,
                    "learning_rate_multiplier": 0.00012345678,
                    "lora_target_modules": ["q_proj"],
                    "validation_split": 0.1,
                    "early_stopping": {"patience": 4, "min_gain": 0.125},
                }
            },
        },
    }
    job = api.post("/fine_tuning/jobs", json=asked).json()
    page = reader.get(NEW, params={"like": job["id"]}).text
    again = api.get(f"/fine_tuning/jobs/{made(reader.post(NEW, data=filled_in(page)))}").json()
    told_apart = {"id", "created_at", "integrations"}
    assert {k: v for k, v in again.items() if k not in told_apart} == {
        k: v for k, v in job.items() if k not in told_apart
    }


def test_one_more_reports_to_the_same_project():
    """What a job asked of Weights & Biases is in the form of one more like it, the run's id aside."""
    run = WandbIntegration(
        project="chats", name="n", entity="team", tags=["a, b", "c"], run_id="ftjob-1"
    )
    job = record(status="running").job
    job = job.model_copy(update={"integrations": [Integration(wandb=run)]})
    draft = job_form.read(job_form.values_of(job))
    assert draft.request is not None
    assert draft.request.integrations is not None
    (again,) = draft.request.integrations
    assert again.wandb.model_dump() == run.model_dump(exclude={"run_id"})


def filled_in(page: str) -> dict[str, str]:
    """What a browser sends when it presses Create on a page as it came."""
    form = page.partition('<form class="beside"')[2]
    fields = {}
    for tag in re.findall(r"<input [^>]*>", form):
        attributes = dict(re.findall(r'(\w+)="([^"]*)"', tag))
        is_choice = attributes.get("type") in {"radio", "checkbox"}
        if "name" in attributes and (not is_choice or " checked" in tag):
            fields[attributes["name"]] = html.unescape(attributes.get("value", ""))
    for name, options in re.findall(
        r'<select id="\w+" name="(\w+)"(.*?)</select>', form, re.DOTALL
    ):
        found = re.findall(r"<option([^>]*)>([^<]*)", options)
        attributes, text = next((each for each in found if " selected" in each[0]), found[0])
        value = re.search(r'value="([^"]*)"', attributes)
        fields[name] = html.unescape(value[1] if value else text)
    for name, text in re.findall(
        r'<textarea id="\w+" name="(\w+)"[^>]*>(.*?)</textarea>', form, re.DOTALL
    ):
        fields[name] = html.unescape(text)
    return fields


def test_a_form_begins_with_what_a_link_says(reader: httpx.Client, training_file):
    """A file's page leads to a form in which it is chosen; a link to a job that is not there to none."""
    page = reader.get(NEW, params={"training_file": training_file}).text
    assert filled_in(page)["training_file"] == training_file
    assert reader.get(NEW, params={"like": "ftjob-nobody"}).status_code == 404


def test_a_file_is_uploaded_on_the_way(api, reader: httpx.Client, empty):
    """Without scripts, the form itself takes a new file, and comes back with it chosen and all else kept."""
    empty.pop("training_file")
    csrf = empty.pop("csrf_token")
    typed = empty | {"n_epochs": "9", "suffix": "kept", "validation_upload": ""}
    parts = [("csrf_token", (None, csrf)), *((name, (None, text)) for name, text in typed.items())]
    sent = [*parts, ("training_upload", ("new.jsonl", GOOD.encode()))]
    page = reader.post(f"{NEW}/upload/training_file", files=sent).text
    fields = filled_in(page)
    assert (fields["n_epochs"], fields["suffix"], fields["attempt"]) == (
        "9",
        "kept",
        empty["attempt"],
    )
    assert api.get(f"/files/{fields['training_file']}").json()["filename"] == "new.jsonl"


def test_an_upload_on_the_way_is_checked(reader: httpx.Client, empty):
    """An empty file is refused at its field; no file goes to a field that takes none, and none without a token."""
    parts = [("csrf_token", (None, empty["csrf_token"])), ("training_upload", ("a.jsonl", b""))]
    answer = reader.post(f"{NEW}/upload/training_file", files=parts)
    assert "The file is empty" in error_at(answer.text, "training_file")
    assert reader.post(f"{NEW}/upload/model", files=parts).status_code == 404
    assert reader.post(f"{NEW}/upload/training_file", files=parts[1:]).status_code == 403


def test_a_file_that_was_left_behind_is_told(reader: httpx.Client, empty):
    """Who chose a file and pressed Create instead of Upload is told which button comes first."""
    typed = {"training_file": "", "training_upload": "train.jsonl"}
    answer = reader.post(NEW, data=empty | typed)
    assert "Press Upload beside the file first." in error_at(answer.text, "training_file")


def test_the_model_is_named_in_advance(server: Server, reader: httpx.Client):
    """The name is shown as the suffix will stand in it, and for a tuned model with its base."""
    tuned = server.add_tuned_model(suffix="old")
    for model, suffix, name in [
        ("nano", "Bank Bot", "ft:nano:local:bank-bot:…"),
        (tuned, "", "ft:nano:local::…"),
    ]:
        shown = reader.get(f"{NEW}/name", params={"model": model, "suffix": suffix}).text
        assert name in shown
    assert "no letter or digit" in reader.get(f"{NEW}/name", params={"suffix": "微"}).text
    assert tuned in reader.get(NEW).text


def restricted_key(server: Server, *scopes: str) -> str:
    admin = {"authorization": f"Bearer {server.admin_key}"}
    accounts = f"{server.url}/v1/organization/projects/proj_default/service_accounts"
    account = httpx.post(accounts, headers=admin, json={"name": "restricted"}).json()
    keys = f"{accounts}/{account['id']}/api_keys"
    return httpx.post(keys, headers=admin, json={"scopes": scopes}).json()["value"]


def test_a_key_that_sees_no_files_can_name_one(server, api, visitor: httpx.Client, training_file):
    """A key that may create jobs and see nothing gets a form without lists, which works."""
    tuned = server.add_tuned_model()
    visitor.post("/ui/sign-in", data={"key": restricted_key(server, "api.fine_tuning.write")})
    page = visitor.get(NEW).text
    assert training_file not in page
    assert tuned not in page
    assert 'type="file"' not in page
    typed = filled_in(page) | {"training_file": training_file}
    assert made(visitor.post(NEW, data=typed))


def test_a_key_that_may_not_create_is_told(server: Server, visitor: httpx.Client):
    """A key without the scope sees why, and makes nothing."""
    key = restricted_key(server, "api.fine_tuning.read", "api.files.read")
    visitor.post("/ui/sign-in", data={"key": key})
    page = visitor.get("/ui/files").text
    assert "data-upload" not in page
    for answer in (
        visitor.get(NEW),
        visitor.post(NEW, data=hidden(page)),
        visitor.post("/ui/files", files=[("csrf_token", (None, hidden(page)["csrf_token"]))]),
    ):
        assert answer.status_code == 401
        assert "Missing scopes: api." in answer.text
