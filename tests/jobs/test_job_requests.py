"""What two places that may hold the same wish come to."""

import pytest
from openai.types.fine_tuning import FineTuningJobWandbIntegrationObject

from jobs.hyperparameter_requests import asked_hyperparameters
from jobs.job_requests import integrations_of
from schemas.errors import InvalidRequest
from schemas.fine_tuning_requests import JobCreate

JOB = {"model": "m", "training_file": "f"}
AUTO = {"n_epochs": "auto", "batch_size": "auto", "learning_rate_multiplier": "auto"}


def asked(**fields):
    return asked_hyperparameters(JobCreate.model_validate(JOB | fields)).model_dump()


def supervised(hyperparameters):
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hyperparameters": {}},
        {"hyperparameters": None},
        {"hyperparameters": {"n_epochs": None}},
        {"hyperparameters": AUTO, "method": supervised(AUTO)},
        {"method": None},
        {"method": {"type": "supervised"}},
        {"method": {"type": "supervised", "supervised": None}},
        {"method": {"type": "supervised", "supervised": {}}},
        {"method": supervised(None)},
        {"method": supervised({})},
    ],
)
def test_no_wish_is_auto(fields):
    """Empty, null, absent and "auto" are the same."""
    assert asked(**fields) == AUTO


@pytest.mark.parametrize(
    ("top", "nested"),
    [
        ({"n_epochs": 3, "batch_size": 2}, None),
        (None, {"n_epochs": 3, "batch_size": 2}),
        ({"n_epochs": 3}, {"batch_size": 2}),
        ({"n_epochs": 3, "batch_size": 2}, {"n_epochs": "auto"}),
        ({"n_epochs": 3, "batch_size": 2}, {"n_epochs": 3}),
    ],
)
def test_a_wish_counts_wherever_it_is(top, nested):
    """Neither place silences the other."""
    method = supervised(nested)
    assert asked(hyperparameters=top, method=method) == AUTO | {"n_epochs": 3, "batch_size": 2}


def test_two_wishes_that_differ_are_refused():
    """Whichever was meant, guessing would train something else."""
    with pytest.raises(InvalidRequest, match="Send one of them") as caught:
        asked(hyperparameters={"n_epochs": 2}, method=supervised({"n_epochs": 3}))
    assert caught.value.param == "hyperparameters.n_epochs"


def test_an_integration_is_shown_as_the_sdk_types_it():
    """Every field is there, tags as a list even where none was sent, and the job's id names the run."""
    wandb = {"type": "wandb", "wandb": {"project": "p"}}
    request = JobCreate.model_validate(JOB | {"integrations": [wandb]})
    (shown,) = integrations_of(request, job_id="ftjob-1")
    as_typed = FineTuningJobWandbIntegrationObject.model_validate(shown.model_dump(), strict=True)
    assert as_typed.to_dict() == {
        "type": "wandb",
        "wandb": {"project": "p", "name": None, "entity": None, "tags": [], "run_id": "ftjob-1"},
    }
