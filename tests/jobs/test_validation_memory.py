"""A job whose base is too large for any machine, through the validation that a worker runs."""

import dataclasses
import json

from jobs.bases.catalog import NANO_DIRECTORY, Catalog
from jobs.files import create_result
from jobs.validation import validate
from jobs.worker import see_through
from schemas.bases import BaseModelInfo
from tests import samples
from tests.jobs.claims_made import claim_again

LARGE = BaseModelInfo(
    name="retune-nano",
    directory=NANO_DIRECTORY,
    context_length=1024,
    hidden_size=192,
    model_type="llama",
    n_parameters=10**15,
    digest="d",
    created=1,
)
MESSAGES = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]


async def test_a_base_beyond_the_machine_ends_the_job(services):
    """Before anything is trained, with sizes and with what to do."""
    services = dataclasses.replace(services, catalog=Catalog([LARGE]))
    content = (json.dumps({"messages": MESSAGES}) + "\n").encode() * 10
    file = await create_result(services, project_id="proj_a", content=content, filename="a.jsonl")
    record = samples.record(status="validating_files", training_file=file.id)
    await services.store.jobs.add(record, [])
    claim = await claim_again(services, record.job.id, validating=True)

    await see_through(claim, validate)

    job = (await services.store.jobs.get(claim.job_id)).job
    assert (job.status, job.error.code) == ("failed", "out_of_memory")
    assert "Shorten the longest examples, or choose a smaller base." in job.error.message
