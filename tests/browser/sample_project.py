"""A project with one of each thing that pages show, its texts chosen to do harm where one is not escaped."""

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from openai import OpenAI

from schemas.report import Case, LeftOut, Report
from tests.browser.hostile_texts import HARMFUL, Hostile
from tests.sample_reports import add_report, labelled, report, said

if TYPE_CHECKING:  # not before `pytest_configure` has chosen the SQLite
    from tests.api_server import Server


@dataclass(frozen=True)
class SampleProject:
    """The ids of what there is."""

    file: str
    job: str
    """Waits, and has hostile texts wherever a user can write one."""
    cancelled: str
    trained: str
    """Succeeded, after 200 steps."""
    running: str
    """At its 200th step."""
    ending: str
    """Runs too."""
    reported: str
    """Has a report, with hostile texts in it."""
    tuned_model: str
    passing_model: str
    """Goes in a test."""
    key: str
    """Restricted, with a hostile name."""
    hostile: Hostile
    """What has texts that do harm in every field."""

    def paths(self) -> list[str]:
        """Return every page that is worth a look."""
        return [
            "/ui/jobs",
            f"/ui/jobs/{self.job}",
            f"/ui/jobs/{self.cancelled}",
            f"/ui/jobs/{self.job}/cancel",
            f"/ui/jobs/{self.trained}",
            f"/ui/jobs/{self.running}?show=steps",
            "/ui/compare",
            f"/ui/compare?jobs={self.trained},{self.running},{self.job}",
            "/ui/jobs/new",
            f"/ui/jobs/new?like={self.job}",
            f"/ui/jobs/{self.reported}/report",
            f"/ui/jobs/{self.reported}/report?outcome=tie",
            f"/ui/jobs/{self.job}/report",
            f"/ui/jobs/{self.hostile.job}",
            f"/ui/jobs/{self.hostile.reported}/report",
            f"/ui/jobs/{self.hostile.job}/examples",
            f"/ui/compare?jobs={self.hostile.job}",
            f"/ui/compare?jobs={self.hostile.job},{self.hostile.tuned_job}",
            f"/ui/jobs/new?like={self.hostile.job}",
            "/ui/files",
            f"/ui/files/{self.hostile.file}",
            f"/ui/files/{self.file}",
            f"/ui/playground?model=nano&model={self.tuned_model}&job={self.job}&example=1&seed_1=7",
            "/ui/models",
            f"/ui/models/delete?model={self.tuned_model}",
            "/ui/models?search=nothing",
            "/ui/usage",
            "/ui/keys",
            "/ui/system",
            "/ui/nowhere",
        ]

    def all_paths(self) -> dict[bool, list[str]]:
        """Return them by whether they are an admin's."""
        return {False: self.paths(), True: self.admin_paths()}

    def admin_paths(self) -> list[str]:
        """Return every page that an admin key opens."""
        return [
            "/ui/keys",
            "/ui/keys?project=admin",
            "/ui/usage",
            "/ui/usage?days=30&project=proj_default",
            "/ui/system",
            f"/ui/keys/{self.key}/revoke?project=proj_default",
            f"/ui/keys/{self.key}/rotate?project=proj_default",
            "/ui/jobs",
        ]


def _report() -> Report:
    """Wins, and a tie for each harmful text; said in the answers, the reference and the prompt."""
    harmful = [
        Case(reference=said(text), base=said(text[::-1]), tuned=said(f"{text} {text}"))
        for text in HARMFUL
    ]
    cases = [*labelled(12), *harmful, Case(reference=said("x"), base=said("x"), tuned=said("y"))]
    prompts = dict(enumerate(HARMFUL, start=13))
    left_out = [LeftOut(reason="refused", n=1, detail=HARMFUL[0])]
    return report(cases, prompts, n_candidates=3, left_out=left_out)


def fill(server: "Server") -> SampleProject:
    """Make one of each."""
    # Not before `pytest_configure` has chosen the SQLite.
    from tests.browser.hostile_project import store_everywhere  # noqa: PLC0415

    client = OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)
    chat = [{"role": "user", "content": HARMFUL[0]}, {"role": "assistant", "content": HARMFUL[1]}]
    lines = (json.dumps({"messages": chat}) + "\n") * 20
    files = [
        client.files.create(file=(f"{text}.jsonl", lines.encode()), purpose="fine-tune")
        for text in HARMFUL
        if text.isprintable()  # others are no names of files
    ]
    metadata = {f"key {number} {text[:40]}": text for number, text in enumerate(HARMFUL[:16])}
    jobs = [
        client.fine_tuning.jobs.create(
            model="nano", training_file=file.id, suffix=text[:60], metadata=metadata
        )
        for file, text in zip(files, HARMFUL, strict=False)
        if any(character.isalnum() for character in text)
    ]
    client.fine_tuning.jobs.cancel(jobs[0].id)
    trained, running, ending = asyncio.run(_train(server))
    return SampleProject(
        file=files[0].id,
        job=jobs[1].id,
        cancelled=jobs[0].id,
        trained=trained,
        running=running,
        ending=ending,
        reported=add_report(server, _report(), file_id=files[0].id),
        tuned_model=server.add_tuned_model(suffix="bank"),
        passing_model=server.add_tuned_model(suffix="passing"),
        key=_add_key(server),
        hostile=store_everywhere(server),
    )


def _add_key(server: "Server") -> str:
    made = httpx.post(
        f"{server.url}/v1/organization/projects/proj_default/api_keys",
        headers={"authorization": f"Bearer {server.admin_key}"},
        json={"name": HARMFUL[1], "scopes": ["api.files.read"], "expires_in_seconds": 3600},
    )
    key_id: str = made.raise_for_status().json()["id"]
    return key_id


async def _train(server: "Server") -> list[str]:
    # Not before `pytest_configure` has chosen the SQLite.
    from jobs.store.store import open_store  # noqa: PLC0415
    from tests.many_jobs import add_jobs  # noqa: PLC0415

    async with open_store(server.settings.effective_database_url) as store:
        return await add_jobs(
            store,
            count=3,
            steps=200,
            project_id="proj_default",
            suffix="curves",
            statuses=["succeeded", "running", "running"],
        )
