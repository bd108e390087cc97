"""A job's life, in any order of what users ask and workers do: no forbidden step, and no 5xx."""

import time
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test

from jobs.dataset_report import DatasetReport
from jobs.lifecycle import NEXT, advance, is_terminal
from jobs.store.jobs import Outcome
from jobs.store.store import Store, open_store
from jobs.validation import _queued
from jobs.worker import _again, _begin_training, _begin_validation, _failed, _given_back
from schemas.errors import JobFailure
from tests.api_server import Server

JOBS = "/v1/fine_tuning/jobs"
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
NO = JobFailure("no", code="diverged")
FOR_EVER = 1e9
"""Seconds: a worker loses its job only where a rule says so."""


def succeeded(record):
    job = advance(record.job, "succeeded", now=int(time.time()))
    return Outcome(record=record.model_copy(update={"job": job, "owner": None, "lease_until": 0.0}))


class JobLife(RuleBasedStateMachine):
    """What is known of each job: who holds it, and whether it shall pause. The rest is asked of the API."""

    jobs = Bundle("jobs")

    def __init__(self, http: httpx.Client, portal: BlockingPortal, store: Store, file: str) -> None:
        super().__init__()
        self.http, self.portal, self.records, self.file = http, portal, store.jobs, file
        self.held: dict[str, int] = {}
        self.pausing: set[str] = set()
        self.made: list[str] = []

    @rule(target=jobs)
    def create(self):
        """A new job is validated first."""
        job = self.ok(self.http.post(JOBS, json={"model": "nano", "training_file": self.file}))
        assert job["status"] == "validating_files"
        self.made.append(job["id"])
        return job["id"]

    @rule(job=jobs, action=st.sampled_from(["pause", "resume", "cancel"]))
    def ask(self, job, action):
        """A user's wish is granted or refused; what is refused changes nothing."""
        before = self.status(job)
        response = self.http.post(f"{JOBS}/{job}/{action}")
        after = self.status(job)
        may = {
            "pause": before in {"validating_files", "queued", "running"},
            "resume": before == "paused" or job in self.pausing,
            "cancel": not is_terminal(before),
        }[action]
        if not may:
            assert response.status_code == 400
            expected = f"Cannot {action} a fine-tuning job with status '{before}'."
            assert response.json()["error"]["message"] == expected
            assert after == before
            return
        assert self.ok(response)["status"] == after
        getattr(self, f"_after_{action}")(job, before, after)

    def _after_pause(self, job, before, after):
        is_worked_on = before == "validating_files" or job in self.held
        assert after == (before if is_worked_on else "paused")
        if is_worked_on:
            self.pausing.add(job)

    def _after_resume(self, job, before, after):
        assert after == ("queued" if before == "paused" else before)
        self.pausing.discard(job)

    def _after_cancel(self, job, _before, after):
        assert after == "cancelled"
        self.pausing.discard(job)
        self.held.pop(job, None)

    @rule(job=jobs, is_good=st.booleans())
    def validate(self, job, is_good):
        """A worker looks at the files of a job that waits for it, and of no other."""
        before = self.status(job)
        record = self.claim(job, _begin_validation, validating=True)
        assert (record is not None) == (before == "validating_files")
        if record is None:
            return
        good = partial(_queued, report=DatasetReport(n_examples=12), warnings=[])
        self.write(job, good if is_good else partial(_failed, failure=NO), record.attempt)
        paused_or_queued = "paused" if job in self.pausing else "queued"
        assert self.status(job) == (paused_or_queued if is_good else "failed")
        self.pausing.discard(job)

    @rule(job=jobs)
    def take(self, job):
        """A worker trains what waits and is nobody's, unless it shall pause."""
        before = self.status(job)
        record = self.claim(job, _begin_training, validating=False)
        is_free = job not in self.held and job not in self.pausing
        assert (record is not None) == (before in {"queued", "running"} and is_free)
        if record is not None:
            assert self.status(job) == "running"
            self.held[job] = record.attempt

    @rule(job=jobs, end=st.sampled_from(["left", "died", "failed", "succeeded", "silent"]))
    def end(self, job, end):
        """However a training ends, its job is over, free for others, or paused where that was asked."""
        attempt = self.held.pop(job, None)
        if attempt is None:
            return
        if end == "silent":  # the worker is gone, and its lease runs out
            self.portal.call(partial(self.records.expire_lease, job, attempt=attempt))
            self.pausing.discard(job)
            self.ok(self.http.post(f"{JOBS}/{job}/pause"))
            assert self.status(job) == "paused"
            return
        change = {
            "left": _given_back,
            "died": partial(_again, reason="It was killed."),
            "failed": partial(_failed, failure=NO),
            "succeeded": succeeded,
        }[end]
        self.write(job, change, attempt)
        after = self.status(job)
        if end in {"left", "died"}:
            allowed = {"paused"} if job in self.pausing else {"running", "failed"}
            assert after in allowed
        else:
            assert after == end
        self.pausing.discard(job)

    @rule()
    def list_all(self):
        """The list shows each job as it is."""
        shown = {
            job["id"]: job for job in self.ok(self.http.get(JOBS, params={"limit": 100}))["data"]
        }
        for job in self.made:
            assert shown[job] == self.ok(self.http.get(f"{JOBS}/{job}"))

    def status(self, job):
        found = self.ok(self.http.get(f"{JOBS}/{job}"))
        assert found["status"] in NEXT
        assert (found["finished_at"] is not None) == is_terminal(found["status"])
        return found["status"]

    def claim(self, job, change, *, validating):
        now = time.time() + 1e6  # after every pause for breath
        claim = partial(
            self.records.claim, job, change, owner="w", validating=validating, now=now, lease=FOR_EVER
        )  # fmt: skip
        return self.portal.call(claim)

    def write(self, job, change, attempt):
        self.portal.call(partial(self.records.change, job, change, attempt=attempt))

    @staticmethod
    def ok(response):
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def worker(server: Server) -> Iterator[tuple[BlockingPortal, Store]]:
    """A second process's view of the records, as a worker has it."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(
            open_store(server.settings.effective_database_url)
        ) as store,
    ):
        yield portal, store


@pytest.mark.usefixtures("client")
def test_no_order_of_events_breaks_a_job(http: httpx.Client, worker) -> None:
    """Every answer is 200, or 400 in words; every status follows from the one before."""
    files = {"file": ("a.jsonl", LINE * 12)}
    file = http.post("/v1/files", files=files, data={"purpose": "fine-tune"}).json()["id"]
    run_state_machine_as_test(
        lambda: JobLife(http, *worker, file),
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
