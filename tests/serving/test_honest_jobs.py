"""The proof as an instrument: 200 trained jobs, honest and with planted faults, in a real vLLM."""

import pytest

from serving.proof import fault_of
from tests.bench.honest_jobs import HONEST, Measured, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.engine,
    pytest.mark.training,
    pytest.mark.timeout(4 * 3600),
]

JOBS = 200
CLEAR = 1.0
"""Nats: what training changed in these jobs is far beyond rounding."""
LEAST_REFUSED = {
    "zeros": 1.0,
    "another job's": 0.95,
    "x0.5": 0.95,
    "x2": 0.95,
    "x0.8": 0.8,
    "x1.25": 0.8,
}
"""The share that must be refused. An adapter may be so sure that half of it says the same."""


@pytest.fixture(scope="module")
async def jobs() -> list[Measured]:
    """Jobs that differ in task, size, rank, rate and seed; every fourth is served with faults as well."""
    return await run(n_jobs=JOBS, seed=2, plant_every=4)


async def test_no_honest_job_raises_an_alarm(jobs):
    """Of 200 honest jobs none is refused, and none comes near: seven tenths of each tolerance are enough."""
    reports = [job.report(HONEST) for job in jobs]
    assert len(reports) == JOBS
    assert [fault_of(report) for report in reports] == [None] * JOBS
    assert max(report.difference / report.tolerance for report in reports) < 0.7
    assert all(
        abs(report.strength - 1) < 0.7 * report.strength_tolerance
        for report in reports
        if report.strength is not None
    )


@pytest.mark.parametrize("fault", LEAST_REFUSED)
async def test_faults_are_refused(jobs, fault):
    """Of adapters whose effect is clear, those served with a fault are refused."""
    reports = [job.report(fault) for job in jobs if fault in job.served]
    clear = [report for report in reports if report.trainer_effect > CLEAR]
    refused = [report for report in clear if fault_of(report) is not None]
    assert clear
    assert len(refused) >= LEAST_REFUSED[fault] * len(clear)
