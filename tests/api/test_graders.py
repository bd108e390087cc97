"""Graders over the API, asked by OpenAI's SDK in its strict mode and by hand."""

from collections.abc import Iterator

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from api.app import create_app
from tests.api_server import Server, opener, serving

RUN = "/v1/fine_tuning/alpha/graders/run"
VALIDATE = "/v1/fine_tuning/alpha/graders/validate"
CHECK = {
    "type": "string_check", "name": "check", "operation": "eq",
    "input": "{{sample.output_text}}", "reference": "{{item.answer}}",
}  # fmt: skip
ALIKE = {
    "type": "text_similarity", "name": "alike", "evaluation_metric": "fuzzy_match",
    "input": "{{sample.output_text}}", "reference": "{{ item.answer }}",
}  # fmt: skip
PROGRAM = {"type": "python", "source": "def grade(sample, item):\n    return 0.25\n"}
NO_ERRORS = {
    "formula_parse_error": False,
    "sample_parse_error": False,
    "truncated_observation_error": False,
    "unresponsive_reward_error": False,
    "invalid_variable_error": False,
    "other_error": False,
    "python_grader_server_error": False,
    "python_grader_server_error_type": None,
    "python_grader_runtime_error": False,
    "python_grader_runtime_error_details": None,
    "model_grader_server_error": False,
    "model_grader_refusal_error": False,
    "model_grader_parse_error": False,
    "model_grader_server_error_details": None,
}
USED = {"prompt_tokens": 7, "total_tokens": 11, "completion_tokens": 4, "cached_tokens": 0}


def asking(text: str, **more: object) -> dict:
    message = {"role": "user", "content": [{"type": "input_text", "text": text}]}
    return {"type": "score_model", "name": "judge", "model": "nano", "input": [message]} | more


def labelling(text: str) -> dict:
    return asking(text, type="label_model", labels=["good", "bad"], passing_labels=["good"])


def multi(formula: str, graders: object) -> dict:
    return {"type": "multi", "name": "all", "graders": graders, "calculate_output": formula}


def alone(**change: object) -> dict:
    """Return the errors of an answer in which only these stand out."""
    return NO_ERRORS | change


@pytest.fixture(scope="module")
def strict(server: Server) -> Iterator[OpenAI]:
    """The SDK, raising on every answer that is not exactly of OpenAI's shape."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture(scope="module")
def daring(server: Server) -> Iterator[httpx.Client]:
    """The same server, with python graders on."""
    settings = server.settings.model_copy(
        update={"python_graders": True, "python_grader_seconds": 20.0}
    )
    application = create_app(settings, open_services=opener(server.engine))
    headers = {"authorization": f"Bearer {server.key}"}
    with (
        serving(application, settings) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        yield client


def run(http: httpx.Client, grader: dict, sample: str = "x", item: object = None) -> dict:
    asked = {"grader": grader, "model_sample": sample, "item": item}
    answer = http.post(RUN, json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_string_check(strict: OpenAI) -> None:
    """A check of the sample against the item is 1 or 0, in OpenAI's exact shape."""
    run = strict.fine_tuning.alpha.graders.run
    answer = run(grader=CHECK, item={"answer": "42"}, model_sample="42")
    assert answer.reward == 1.0
    assert (answer.metadata.name, answer.metadata.type) == ("check", "string_check")
    assert answer.metadata.errors.model_dump(by_alias=True) == NO_ERRORS
    assert answer.metadata.execution_time >= 0
    assert answer.metadata.token_usage is None
    assert run(grader=CHECK, item={"answer": "43"}, model_sample="42").reward == 0.0


def test_text_similarity(strict: OpenAI) -> None:
    """A similarity lies between 0 and 1."""
    answer = strict.fine_tuning.alpha.graders.run(
        grader=ALIKE, item={"answer": "fuzzy wuzzy was a bear"}, model_sample="fuzzy wuzzy had hair"
    )
    assert answer.reward == pytest.approx(0.7619, abs=1e-3)


def test_score_model(strict: OpenAI, server: Server) -> None:
    """A model that we serve is asked for a number by JSON schema, with the grader's sampling parameters."""
    grader = asking(
        'say {"result": 0.7, "steps": []}{{item.nothing}}',
        sampling_params={"max_completions_tokens": 50, "temperature": 0.5, "seed": 3},
    )
    answer = strict.fine_tuning.alpha.graders.run(
        grader=grader, item={"nothing": ""}, model_sample="x"
    )
    assert answer.reward == 0.7
    assert answer.metadata.sampled_model_name == "nano"
    assert answer.metadata.token_usage == 11
    assert answer.api_model_grader_token_usage_per_model == {"nano": USED}
    asked = server.engine.requests[-1]
    assert (asked["max_completion_tokens"], asked["temperature"], asked["seed"]) == (50, 0.5, 3)
    schema = asked["response_format"]["json_schema"]["schema"]
    assert schema["required"] == ["result", "steps"]


@pytest.mark.parametrize(
    ("said", "reward"),
    [("5", 1.0), ("-2", -1.0), ("0.5", 0.5), ('"0.5"', 0.5), ("1", 1.0)],
)
def test_score_beyond_the_range(http: httpx.Client, said: str, reward: float) -> None:
    """A score outside the range counts as its nearest end; a number in quotes is a number."""
    answer = run(http, asking(f'say {{"result": {said}, "steps": []}}', range=[-1, 1]))
    assert (answer["reward"], answer["metadata"]["errors"]) == (reward, NO_ERRORS)


@pytest.mark.parametrize(
    "said", ["hello", 'say {"result": "high"}', "say {}", 'say {"result": NaN}']
)
def test_score_that_is_none(http: httpx.Client, said: str) -> None:
    """What is no number is a parse error, and the reward is 0; the tokens were used all the same."""
    answer = run(http, asking(said))
    assert answer["reward"] == 0.0
    assert answer["metadata"]["errors"] == alone(model_grader_parse_error=True)
    assert answer["metadata"]["token_usage"] == 11


def test_model_that_refuses_the_request(http: httpx.Client) -> None:
    """What the engine says against the request is told as the grader's error, in words."""
    errors = run(http, asking("refuse"))["metadata"]["errors"]
    assert errors == alone(
        model_grader_server_error=True,
        model_grader_server_error_details="stop cannot contain an empty string.",
    )


def test_unknown_model(strict: OpenAI) -> None:
    """A grader whose model nobody serves is OpenAI's 404, on trial and on check."""
    grader = asking("x", model="gpt-9")
    words = "The model `gpt-9` does not exist or you do not have access to it."
    with pytest.raises(NotFoundError, match=words):
        strict.fine_tuning.alpha.graders.run(grader=grader, model_sample="x")
    with pytest.raises(NotFoundError, match=words):
        strict.fine_tuning.alpha.graders.validate(grader=grader)


def test_multi(http: httpx.Client) -> None:
    """A formula weighs what its graders say; what each said, and what models took, is shown."""
    graders = {
        "exact": CHECK,
        "judge": asking('say {"result": 0.5, "steps": []}'),
        "label": labelling('say {"label": "good"}'),
    }
    answer = run(http, multi("0.5 * exact + min(judge, label)", graders), "42", {"answer": "42"})
    assert answer["reward"] == 1.0
    assert answer["sub_rewards"] == {"exact": 1.0, "judge": 0.5, "label": 1.0}
    assert answer["metadata"]["token_usage"] == 22
    assert answer["model_grader_token_usage_per_model"]["nano"]["total_tokens"] == 22


@pytest.mark.parametrize(
    ("said", "reward", "is_error"),
    [
        ('say {"label": "good"}', 1.0, False),
        ('say {"label": "bad"}', 0.0, False),
        ('say {"label": "ugly"}', 0.0, True),
        ("hello", 0.0, True),
    ],
)
def test_label_model(http: httpx.Client, said: str, reward: float, is_error: bool) -> None:
    """A passing label is 1, another 0, and what is no label an error."""
    answer = run(http, multi("label", {"label": labelling(said)}))
    assert answer["reward"] == reward
    assert answer["metadata"]["errors"]["model_grader_parse_error"] is is_error


@pytest.mark.parametrize("as_sent", [[CHECK, ALIKE], CHECK, {"one": CHECK}])
def test_multi_is_shown_as_it_came(http: httpx.Client, as_sent: object) -> None:
    """A list, a single grader and a map of graders are all OpenAI's, and each is echoed as it is."""
    sent = multi("1", as_sent)
    assert http.post(VALIDATE, json={"grader": sent}).json() == {"grader": sent}


def test_multi_of_one_is_strict(strict: OpenAI) -> None:
    """The shape that the SDK has a type for passes its strict mode."""
    grader = strict.fine_tuning.alpha.graders.validate(grader=multi("check", CHECK)).grader
    assert grader.graders.name == "check"


@pytest.mark.parametrize("grader", [CHECK, ALIKE, asking("x", range=[0, 5])])
def test_validated(strict: OpenAI, grader: dict) -> None:
    """A good grader comes back as it went."""
    validated = strict.fine_tuning.alpha.graders.validate(grader=grader).grader
    assert validated.model_dump(exclude_none=True) == grader


def test_defaults_are_filled_in(http: httpx.Client) -> None:
    """A missing name and range are shown as they will be used, and `neq` by its name in the SDK."""
    judge = {name: value for name, value in asking("x").items() if name != "name"}
    shown = http.post(VALIDATE, json={"grader": judge}).json()["grader"]
    assert shown == judge | {"name": "score_model", "range": [0.0, 1.0]}
    shown = http.post(VALIDATE, json={"grader": CHECK | {"operation": "neq"}}).json()["grader"]
    assert shown == CHECK | {"operation": "ne"}


@pytest.mark.parametrize(
    ("grader", "item", "error"),
    [
        (CHECK, {}, "invalid_variable_error"),
        (CHECK, None, "invalid_variable_error"),
        (CHECK | {"input": "{{sample.output_tools[0].function.name}}"}, {"answer": ""},
         "invalid_variable_error"),
        (CHECK | {"input": "{{sample.output_json.a}}"}, {"answer": ""}, "sample_parse_error"),
        (multi("check +", {"check": CHECK}), {"answer": ""}, "formula_parse_error"),
        (multi("other", {"check": CHECK}), {"answer": ""}, "invalid_variable_error"),
        (multi("1 / check", {"check": CHECK}), {"answer": ""}, "other_error"),
    ],
)  # fmt: skip
def test_errors_of_a_run(http: httpx.Client, grader: dict, item: object, error: str) -> None:
    """What goes wrong with a sample is a flag in a good answer, and the reward is 0."""
    answer = run(http, grader, "not json", item)
    assert answer["reward"] == 0.0
    assert answer["metadata"]["errors"] == alone(**{error: True})


def test_sample_that_is_json(http: httpx.Client) -> None:
    """A sample that is JSON can be looked into."""
    grader = CHECK | {"input": "{{ sample.output_json.answers[1] }}", "reference": "b"}
    assert run(http, grader, '{"answers": ["a", "b"]}')["reward"] == 1.0


@pytest.mark.parametrize(
    ("grader", "code", "param"),
    [
        (None, "missing_required_parameter", "grader"),
        ({}, "missing_required_parameter", "grader.type"),
        ({"type": "magic"}, "invalid_value", "grader.type"),
        (labelling("x"), "invalid_value", "grader.type"),
        (CHECK | {"operation": "gt"}, "invalid_value", "grader.operation"),
        (CHECK | {"input": 5}, "invalid_type", "grader.input"),
        (CHECK | {"colour": 1}, "unknown_parameter", "grader.colour"),
        (CHECK | {"input": "{{ foo }}"}, "invalid_value", "grader.input"),
        (CHECK | {"reference": "{{"}, "invalid_value", "grader.reference"),
        (ALIKE | {"evaluation_metric": "cosine"}, "unsupported_value", "grader.evaluation_metric"),
        (asking("x", range=[1, 0]), "invalid_value", "grader.range"),
        (asking("x", range=[1]), "invalid_value", "grader.range"),
        (asking("x", input=[]), "empty_array", "grader.input"),
        (asking("{{x}}"), "invalid_value", "grader.input[0].content"),
        (asking("x", sampling_params={"temperature": 3}), "decimal_above_max_value",
         "grader.sampling_params.temperature"),
        (asking("x", sampling_params={"max_completions_tokens": 0}), "integer_below_min_value",
         "grader.sampling_params.max_completions_tokens"),
        (asking("x", input=[{"role": "user", "content": [
            {"type": "input_image", "image_url": "https://example.com/a.png"}]}]),
         "invalid_value", "grader.input[0].content[0].type"),
        (PROGRAM, "unsupported_value", "grader.type"),
        (multi("a", {"a": PROGRAM}), "unsupported_value", "grader.graders.a.type"),
        (multi("a", [PROGRAM]), "unsupported_value", "grader.graders[0].type"),
        (multi("a", {"a": multi("1", CHECK)}), "invalid_value", "grader.graders.a.type"),
        (multi("a", {}), "invalid_value", "grader.graders"),
        (multi("a", []), "empty_array", "grader.graders"),
        (multi("1", [CHECK] * 17), "array_above_max_length", "grader.graders"),
        (multi("1", [CHECK] * 2), "invalid_value", "grader.graders"),
        (multi("a", {"a": CHECK | {"input": None}}), "invalid_type", "grader.graders.a.input"),
        (multi("l", {"l": labelling("x") | {"passing_labels": ["other"]}}), "invalid_value",
         "grader.graders.l.passing_labels"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [RUN, VALIDATE])
def test_refused(http: httpx.Client, path: str, grader: dict, code: str, param: str) -> None:
    """A grader that can be run for no sample is refused, by code and field."""
    body = {} if grader is None else {"grader": grader}
    answer = http.post(path, json=body | ({"model_sample": "x"} if path == RUN else {}))
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["code"] == code


@pytest.mark.parametrize("formula", ["check +", "check + other", "a.b", ""])
def test_formula_is_refused_by_validate(http: httpx.Client, formula: str) -> None:
    """A formula that cannot be read, or names no grader, is found before any sample."""
    answer = http.post(VALIDATE, json={"grader": multi(formula, {"check": CHECK})})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "grader.calculate_output"


def test_what_to_tell_the_operator(client: OpenAI) -> None:
    """Where python graders are off, the refusal names the setting."""
    with pytest.raises(BadRequestError, match="RETUNE_PYTHON_GRADERS=on"):
        client.fine_tuning.alpha.graders.run(grader=PROGRAM, model_sample="x")


def test_python(daring: httpx.Client) -> None:
    """Where python graders are on, the program's number is the reward."""
    answer = run(daring, PROGRAM)
    assert answer["reward"] == 0.25
    assert answer["metadata"]["name"] == "python"
    assert answer["metadata"]["errors"] == NO_ERRORS
    assert run(daring, multi("2 * a", {"a": PROGRAM}))["reward"] == 0.5
    assert daring.post(VALIDATE, json={"grader": PROGRAM}).json()["grader"]["name"] == "python"


def test_python_that_fails(daring: httpx.Client, server: Server) -> None:
    """What the program did wrong is told; the server's records stay out of its reach."""
    database = server.settings.data_dir / "retune.db"
    assert database.exists()
    source = f"def grade(sample, item):\n    return open({str(database)!r}).read()\n"
    answer = run(daring, PROGRAM | {"source": source})
    assert answer["reward"] == 0.0
    errors = answer["metadata"]["errors"]
    assert errors["python_grader_runtime_error"] is True
    assert "Permission denied" in errors["python_grader_runtime_error_details"]


def test_too_much_to_render(http: httpx.Client) -> None:
    """A template that unfolds into more than is taken is refused."""
    grader = CHECK | {"input": "{{item.long}}" * 200}
    asked = {"grader": grader, "model_sample": "", "item": {"long": "x" * 10_000, "answer": ""}}
    error = http.post(RUN, json=asked).json()["error"]
    assert (error["code"], error["param"]) == ("string_above_max_length", "grader")
    asked |= {"grader": ALIKE, "model_sample": "x" * 100_001}
    assert http.post(RUN, json=asked).json()["error"]["code"] == "string_above_max_length"


def test_item_must_be_an_object(http: httpx.Client) -> None:
    """An item is a line of a data set: an object, or nothing."""
    answer = http.post(RUN, json={"grader": CHECK, "model_sample": "", "item": [1]})
    assert answer.json()["error"]["param"] == "item"
    answer = http.post(RUN, json={"grader": CHECK})
    assert answer.json()["error"]["code"] == "missing_required_parameter"


def test_largest_labels(http: httpx.Client) -> None:
    """As many and as long labels as are taken, in any script, fit into what the engine is asked."""
    labels = [f"{'🙂' * 96}{number:04}" for number in range(50)]
    grader = labelling("hello") | {"labels": labels, "passing_labels": labels}
    errors = run(http, multi("label", {"label": grader}))["metadata"]["errors"]
    assert errors == alone(model_grader_parse_error=True)
