"""Extensions of the hyperparameters that a job cannot have are refused, and where they were asked for is named."""

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.hyperparameter_requests import asked_hyperparameters, check_hyperparameters
from schemas.bases import BaseModelInfo
from schemas.errors import InvalidRequest
from schemas.fine_tuning import EarlyStopping
from schemas.fine_tuning_requests import HyperparametersRequest, JobCreate
from schemas.validation import validated

NESTED = "method.supervised.hyperparameters"
BASE = BaseModelInfo(
    name="nano",
    directory=NANO_DIRECTORY,
    context_length=512,
    hidden_size=192,
    model_type="llama",
    n_parameters=1,
    digest="d",
    created=1,
)


def request(wishes, place=NESTED, **fields):
    supervised = {"type": "supervised", "supervised": {"hyperparameters": wishes}}
    put = {"method": supervised} if place == NESTED else {"hyperparameters": wishes}
    return validated(JobCreate, {"model": "m", "training_file": "f"} | put | fields)


async def refusal(asked, *, goes_on=False, base=BASE):
    with pytest.raises(InvalidRequest) as caught:
        await check_hyperparameters(
            asked_hyperparameters(asked), asked, base, max_rank=64, goes_on=goes_on
        )
    return caught.value


async def allow(asked, *, goes_on=False, base=BASE):
    wishes = asked_hyperparameters(asked)
    await check_hyperparameters(wishes, asked, base, max_rank=64, goes_on=goes_on)
    return wishes


@pytest.mark.parametrize(
    ("wishes", "code", "param"),
    [
        ({"lora_rank": 0}, "integer_below_min_value", "lora_rank"),
        ({"lora_rank": 2.5}, "invalid_type", "lora_rank"),
        ({"lora_rank": True}, "invalid_type", "lora_rank"),
        ({"lora_alpha": 0}, "integer_below_min_value", "lora_alpha"),
        ({"lora_dropout": 1}, "decimal_above_max_value", "lora_dropout"),
        ({"lora_dropout": float("nan")}, "decimal_above_max_value", "lora_dropout"),
        ({"lora_target_modules": "everything"}, "invalid_value", "lora_target_modules"),
        ({"lora_target_modules": []}, "empty_array", "lora_target_modules"),
        ({"lora_target_modules": [1]}, "invalid_type", "lora_target_modules[0]"),
        ({"use_rslora": 1}, "invalid_type", "use_rslora"),
        ({"loraplus_lr_ratio": 0.5}, "decimal_below_min_value", "loraplus_lr_ratio"),
        ({"lr_scheduler_type": "square"}, "invalid_value", "lr_scheduler_type"),
        ({"warmup_ratio": 1.1}, "decimal_above_max_value", "warmup_ratio"),
        ({"weight_decay": -0.1}, "decimal_below_min_value", "weight_decay"),
        ({"max_grad_norm": float("inf")}, "decimal_above_max_value", "max_grad_norm"),
        ({"label_smoothing_factor": 1}, "decimal_above_max_value", "label_smoothing_factor"),
        ({"validation_split": 0}, "decimal_below_min_value", "validation_split"),
        ({"validation_split": 0.6}, "decimal_above_max_value", "validation_split"),
        ({"early_stopping": True}, "invalid_type", "early_stopping"),
        ({"early_stopping": {"patience": 0}}, "integer_below_min_value", "early_stopping.patience"),
        ({"early_stopping": {"metric": "x"}}, "invalid_value", "early_stopping.metric"),
        ({"early_stopping": {"delta": 1}}, "unknown_parameter", "early_stopping.delta"),
        ({"lora_r": 8}, "unknown_parameter", "lora_r"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", [NESTED, "hyperparameters"])
def test_bounds(wishes, code, param, place):
    """Each has a type and bounds, in OpenAI's words, at both places."""
    with pytest.raises(InvalidRequest) as caught:
        request(wishes, place)
    assert (caught.value.code, caught.value.param) == (code, f"{place}.{param}")


@pytest.mark.parametrize("place", [NESTED, "hyperparameters"])
async def test_the_rank_is_the_operators_to_limit(place):
    """Engines serve no adapter of a higher one."""
    assert (await allow(request({"lora_rank": 64}, place))).lora_rank == 64
    refused = await refusal(request({"lora_rank": 65}, place))
    assert refused.code == "integer_above_max_value"
    assert refused.param == f"{place}.lora_rank"
    assert "<= 64" in refused.message


async def test_layers_are_the_bases():
    """A name that selects none is refused, with those that there are."""
    await allow(request({"lora_target_modules": ["q_proj", "self_attn.v_proj"]}))
    await allow(request({"lora_target_modules": "mlp"}))
    refused = await refusal(request({"lora_target_modules": ["q_proj", "query"]}))
    assert refused.param == f"{NESTED}.lora_target_modules"
    assert "'query'" in refused.message
    assert "'k_proj', 'o_proj', 'q_proj'" in refused.message


async def test_a_base_that_cannot_be_read_is_the_trainers_to_tell_of(tmp_path):
    """Creation does not fail for it."""
    base = BASE.model_copy(update={"directory": tmp_path})
    await allow(request({"lora_target_modules": ["query"]}), base=base)


async def test_early_stopping_needs_something_to_measure_on():
    """A validation file, or a share of the training file."""
    wish = {"early_stopping": {"patience": 2}}
    refused = await refusal(request(wish))
    assert (refused.code, refused.param) == (
        "invalid_parameter_combination", f"{NESTED}.early_stopping"
    )  # fmt: skip
    assert f"'{NESTED}.validation_split'" in refused.message
    asked = await allow(request(wish, validation_file="v"))
    assert asked.early_stopping == EarlyStopping(patience=2, min_gain=0.0)
    await allow(request(wish | {"validation_split": 0.1}))


async def test_one_set_to_validate_with_is_enough():
    """A split beside a file is refused: nobody would know which one is meant."""
    refused = await refusal(request({"validation_split": 0.1}, validation_file="v"))
    assert refused.param == f"{NESTED}.validation_split"


@pytest.mark.parametrize(
    "wish",
    [{"lora_rank": 16}, {"lora_alpha": 8}, {"lora_target_modules": "mlp"}, {"use_rslora": True}],
)
async def test_an_adapter_that_is_trained_further_keeps_its_shape(wish):
    """Another is refused, not ignored; how it learns may change."""
    refused = await refusal(request(wish), goes_on=True)
    assert (refused.code, refused.param) == (
        "unsupported_parameter",
        f"{NESTED}.{next(iter(wish))}",
    )
    await allow(request({"lora_dropout": 0.1, "loraplus_lr_ratio": 4.0}), goes_on=True)


@pytest.mark.parametrize("no_wish", [None, "auto"])
def test_no_wish_is_no_wish(no_wish):
    """Null and "auto" are as good as absent, for every extension."""
    fields = list(HyperparametersRequest.model_fields)
    asked = asked_hyperparameters(request(dict.fromkeys(fields, no_wish)))
    assert asked.model_dump() == dict.fromkeys(
        ("n_epochs", "batch_size", "learning_rate_multiplier"), "auto"
    )


def test_zero_and_false_are_wishes():
    """They may differ from a default that is to come, and from another place's wish."""
    asked = asked_hyperparameters(request({"lora_dropout": 0, "use_rslora": False}))
    assert (asked.lora_dropout, asked.use_rslora) == (0.0, False)
    two = {"hyperparameters": {"warmup_ratio": 0.1}}
    with pytest.raises(InvalidRequest, match="Send one of them"):
        asked_hyperparameters(request({"warmup_ratio": 0}, **two))
