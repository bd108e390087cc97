"""What was used, as tests look it up."""

import time


async def usage_of_jobs(services):
    """Return today's sums of training, by model and job."""
    now = int(time.time())
    return await services.store.usage.sums(
        kind="fine_tuning",
        start=now // 86_400 * 86_400 - 86_400,
        end=now + 86_400,
        width=10 * 86_400,  # one bucket, also at midnight
        group_by=["model", "job_id"],
        only={},
    )
