"""A job that diverges after it was good: it fails, and what was good can be asked."""

import dataclasses

import pytest

from jobs.bases.catalog import NANO_DIRECTORY, Catalog
from jobs.training_run import _Models
from schemas.bases import BaseModelInfo
from schemas.training import BestSaved, TrainingFailed
from tests.jobs.claims_made import CALLER, claimed, messages

NANO = BaseModelInfo(
    name="retune-nano",
    directory=NANO_DIRECTORY,
    context_length=1024,
    hidden_size=192,
    model_type="llama",
    n_parameters=2_757_312,
    digest="d",
    created=1,
)
FAILED = TrainingFailed(code="diverged", message="The loss is no number.")


@pytest.fixture(scope="module")
def adapter_dir(tmp_path_factory):
    """What a trainer leaves of a step."""
    from tests.serving.adapters_made import random_adapter  # noqa: PLC0415 - torch takes a second

    return random_adapter(NANO_DIRECTORY, tmp_path_factory.mktemp("adapter"), scale=0.1)


@pytest.mark.training
async def test_the_best_model_before_a_divergence_is_a_checkpoint(services, adapter_dir):
    """Under a name of its own, told by an event and in the job's error; the same once more changes nothing."""
    services = dataclasses.replace(services, catalog=Catalog([NANO]))
    claim = await claimed(services)
    models = _Models(claim, n_epochs=9)
    await models.keep(BestSaved(step=4, adapter_dir=adapter_dir, valid_loss=1.25))
    for _ in range(2):
        failure = await models.failed(FAILED)
    assert failure.code == "diverged"
    assert "of step 4 with a validation loss of 1.2500, is kept" in str(failure)
    page = await services.store.jobs.checkpoints(claim.job_id, limit=9, after=None)
    (checkpoint,) = page.data
    assert checkpoint.step_number == 4
    name = checkpoint.fine_tuned_model_checkpoint
    assert await services.store.models.find(name, project_id=CALLER.project_id)
    assert [name in told for told in await messages(services, claim.job_id)].count(True) == 1


async def test_other_failures_keep_nothing(services, tmp_path):
    """Nor does one that was never good, nor one whose adapter cannot be served."""
    services = dataclasses.replace(services, catalog=Catalog([NANO]))
    claim = await claimed(services)
    models = _Models(claim, n_epochs=9)
    assert str(await models.failed(FAILED)) == FAILED.message
    await models.keep(BestSaved(step=4, adapter_dir=tmp_path, valid_loss=1.25))
    for event in (FAILED, TrainingFailed(code="out_of_memory", message="No room.")):
        failure = await models.failed(event)
        assert (str(failure), failure.code) == (event.message, event.code)
    page = await services.store.jobs.checkpoints(claim.job_id, limit=9, after=None)
    assert page.data == []
