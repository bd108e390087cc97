"""Reports made of cases, as the worker makes them."""

import httpx

from jobs.reports.measures import compare
from jobs.reports.reading import comparisons, latency_of, notes_on, pairs_shown
from jobs.reports.sample import Question
from schemas.chat import ChatRequest
from schemas.report import Call, Case, Compared, JobReport, Report, Said

REQUEST = ChatRequest.model_validate(
    {"model": "nano", "messages": [{"role": "user", "content": "x"}]}
)


def said(text="", *calls, is_cut=False):
    return Said(text=text, calls=[Call(name=n, arguments=a) for n, a in calls], is_cut=is_cut)


def compared(n, **update):
    fields = {
        "source": "validation_file", "file_id": "file-1", "n_available": n, "n_chosen": n,
        "n_compared": n, "n_in_training": 0, "left_out": [],
    }  # fmt: skip
    return Compared(**fields | update)


def report(cases, prompts=None, **update):
    """A report of these cases, made as the worker makes it."""
    numbered = dict(enumerate(cases, start=1))
    questions = {
        number: Question(REQUEST, (prompts or {}).get(number, "My card is gone"), case.reference)
        for number, case in numbered.items()
    }
    examples, measured = compared(len(cases), **update), compare(cases, seed=1)
    scores = measured.scores
    return Report(
        job_id="ftjob-1",
        created_at=1,
        base_model="retune-nano",
        tuned_model="ft:retune-nano:local:bank:abcd1234",
        examples=examples,
        scores=scores,
        notes=notes_on(examples, numbered, scores),
        pairs=pairs_shown(numbered, questions),
        comparisons=comparisons(numbered, questions, measured.each),
        latency=latency_of(numbered),
    )


def labelled(n=16):
    codes = ("card_lost", "card_stolen")
    return [
        Case(reference=said(codes[k % 2]), base=said("I can help."), tuned=said(codes[k % 2]))
        for k in range(n)
    ]


def add_report(server, made: Report, *, file_id: str, **update) -> str:
    """Leave a job with this report as a worker would have, its examples in the file `file_id`; return its id."""
    examples = made.examples.model_copy(update={"file_id": file_id})
    content = made.model_copy(update={"examples": examples}).model_dump_json()
    kept = httpx.post(
        f"{server.url}/v1/files",
        headers={"authorization": f"Bearer {server.key}"},
        data={"purpose": "fine-tune"},
        files={"file": ("report.json", content)},
    ).json()
    shown = JobReport(status="done", file_id=kept["id"], headline=made.scores.headline)
    fields = {
        "model": made.base_model,
        "fine_tuned_model": made.tuned_model,
        "training_file": file_id,
        "report": shown,
    }
    return server.add_job(status="succeeded", **fields | update)
