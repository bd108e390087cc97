"""Texts that do harm where one is not escaped, each place that prints a text of somebody's, and where it is seen."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, NamedTuple
from urllib.parse import quote

HARMFUL: Final = (
    "<script data-xss>alert(1)</script>",
    '"><img data-xss src=x onerror=alert(1)>',
    "'><img data-xss src=//elsewhere.example/x onerror=alert(1)>",
    '" data-xss autofocus onfocus="alert(1)" x="',
    "' data-xss onmouseover='alert(1)' x='",
    "` data-xss onclick=alert(1) x=`",
    "'-alert(1)-'",
    "\\'-alert(1)//\\\"-alert(1)//",
    "javascript:alert(1)",
    "data:text/html,<script data-xss>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}{# 7 #}${7 * 7}#{7 * 7}<%= 7 * 7 %>",
    "{csrf_token}{name.__class__}%s%(name)s$&$1",
    "</title></textarea></script></style></noscript></option></select><svg data-xss onload=alert(1)>",
    "<svg data-xss><script>alert(1)</script><animate onbegin=alert(1)></svg>",
    "<math data-xss><mtext><a data-xss href=javascript:alert(1)>math</a></mtext></math>",
    "<iframe data-xss srcdoc='<script>alert(1)</script>'></iframe>",
    "<base data-xss href=//elsewhere.example/><meta data-xss http-equiv=refresh content=0;url=//elsewhere.example>",
    "<link data-xss rel=stylesheet href=//elsewhere.example/x><style data-xss>*{display:none}</style>",
    "<form data-xss action=//elsewhere.example><button data-xss formaction=//elsewhere.example>form</button></form>",
    '<b data-xss hx-get="/ui/xss" hx-trigger="load" hx-on:click="alert(1)" hx-on::load="alert(1)">htmx</b>',
    '<hx-partial data-xss hx-target="body">partial</hx-partial><template data-xss hx type="partial">t</template>',
    "&lt;img data-xss src=x onerror=alert(1)&gt;&#60;b data-xss&#62;&quot;&#x22;&amp;",
    "--><b data-xss>comment</b>]]><b data-xss>cdata</b>",
    '=HYPERLINK("//elsewhere.example","cell")',
    "\u2028alert(1)//\u2029\u0085",
    "\u202egnp.exe\u202c\u2066bidi\u2069",
    "\ufeff\u200b\x01\x1b[31m\ufffe",
    "W" * 300,
)
"""A stored-XSS corpus, with tricks of templates, of formats, of bidirectional text and of spreadsheets.

Every element that one of them would make carries `data-xss`.
"""
BRIEF: Final = "\"'><img data-xss src=x onerror=alert(1)>{{ 7 * 7 }}\u202e"
"""For what is short."""
PROJECT: Final = "proj_default"


def text_of(where: str) -> str:
    """Return the whole corpus as one text that says where it was written."""
    return f"[{where}] {' '.join(HARMFUL)}"


def brief_of(where: str) -> str:
    """Return some of it."""
    return f"[{where}] {BRIEF}"


class Visit(NamedTuple):
    """How a page is come to; `{names}` are of `Hostile`."""

    path: str
    form: Mapping[str, str] | None = None
    """Sent there; None: the page is only looked at."""
    is_admin: bool = False
    status: int = 200


class Sink(NamedTuple):
    """An expression of a template that prints what somebody wrote."""

    template: str
    expression: str
    text: str
    """What is written there for it, of `TEXTS`."""
    visit: str
    """Of `VISITS`: where it is seen."""


TEXTS: Final[Mapping[str, str]] = {
    # Of a job, a model, a file, a report: in the database, past every check of the API's.
    **{
        where: text_of(where)
        for where in (
            "suffix", "base", "metadata key", "metadata value", "error code", "error message", "error param",
            "event", "step event", "W&B project", "report reason", "file name", "checkpoint name", "engine message",
            "worker", "usage model", "role", "message", "tool calls", "line", "answer", "reference",
            "prompt", "base answer", "tuned answer", "label", "left out", "report base", "report tuned",
            # What somebody types, and gets back.
            "typed prompt", "typed system", "typed tools", "typed stop", "typed turns", "typed metadata",
            "typed suffix", "typed number",
        )
    },
    **{
        where: brief_of(where)
        for where in (
            "key name", "project name", "account name", "asked search", "asked base", "asked model",
            "asked job", "asked file",  "asked days", "asked project", "asked example",
            "example system", "example user", "example context", "example tools", "example answer",
        )
    },
    "tuned model": f"ft:nano:local:{brief_of('tuned model')}:abcd1234",
}  # fmt: skip
"""What is written, by where."""


def spellings(text: str) -> list[str]:
    """Return a text as it is, and as it stands in JSON, in Python and in a shell."""
    in_json = json.dumps(text, ensure_ascii=False)[1:-1]
    in_shell = in_json.replace("'", "'\"'\"'")
    return [text, in_json, repr(text)[1:-1], in_shell]


def asked(where: str) -> str:
    """Return a text as a query carries it."""
    return quote(TEXTS[where], safe="")


_ASK: Final = {"do": "ask", "model_1": "nano", "keep": "1", "compare": "nothing"}
_TURNS: Final = json.dumps([{"role": "user", "content": TEXTS["typed turns"]}])
_DRAFT: Final = {
    "model": TEXTS["asked model"],
    "training_file": TEXTS["asked file"],
    "suffix": TEXTS["typed suffix"],
    "seed": TEXTS["typed number"],
    "n_epochs": TEXTS["typed number"],
    "metadata": TEXTS["typed metadata"],
}
VISITS: Final[Mapping[str, Visit]] = {
    "jobs": Visit("/ui/jobs"),
    "found jobs": Visit(f"/ui/jobs?search={asked('asked search')}&base={asked('asked base')}"),
    "job": Visit("/ui/jobs/{job}"),
    "steps of a job": Visit("/ui/jobs/{job}?show=steps"),
    "tuned job": Visit("/ui/jobs/{tuned_job}"),
    "cancel": Visit("/ui/jobs/{job}/cancel"),
    "cancel a tuned job": Visit("/ui/jobs/{tuned_job}/cancel"),
    "no report": Visit("/ui/jobs/{job}/report"),
    "no report of a tuned job": Visit("/ui/jobs/{tuned_job}/report"),
    "report": Visit("/ui/jobs/{reported}/report"),
    "examples": Visit("/ui/jobs/{job}/examples"),
    "examples of a tuned job": Visit("/ui/jobs/{tuned_job}/examples"),
    "no job": Visit(f"/ui/jobs/{asked('asked job')}", status=404),
    "choose jobs": Visit("/ui/compare?jobs={job}"),
    "overlay": Visit("/ui/compare?jobs={job},{tuned_job}"),
    "files": Visit("/ui/files"),
    "file": Visit("/ui/files/{file}"),
    "no file": Visit(f"/ui/files/{asked('asked file')}", status=404),
    "new job": Visit("/ui/jobs/new?like={job}"),
    "new job, filled in": Visit("/ui/jobs/new", form=_DRAFT, status=400),
    "code of a job": Visit(
        "/ui/jobs/new/code",
        form={"model": TEXTS["asked model"], "training_file": TEXTS["asked file"]},
    ),
    "estimate": Visit(
        "/ui/jobs/new/estimate",
        form={"model": "nano", "training_file": "{training_file}", "validation": "file", "validation_file": "{file}"},
    ),
    "models": Visit("/ui/models"),
    "found models": Visit(f"/ui/models?search={asked('asked search')}"),
    "delete a model": Visit(f"/ui/models/delete?model={asked('tuned model')}"),
    "no model": Visit(f"/ui/models/delete?model={asked('asked model')}", status=404),
    "playground": Visit(f"/ui/playground?model=nano&model={asked('asked model')}&job={{job}}&example=1"),
    "no example": Visit(
        f"/ui/playground?model=nano&job={asked('asked job')}&example={asked('asked example')}"
        f"&stop_1={asked('typed stop')}"
    ),
    "asked": Visit(
        "/ui/playground",
        form=_ASK
        | {
            "prompt": f"say {TEXTS['answer']}",
            "system": TEXTS["typed system"],
            "turns_1": _TURNS,
            "model_2": TEXTS["asked model"],
        },
    ),
    "code of the playground": Visit(
        "/ui/playground",
        form=_ASK | {"do": "code", "prompt": TEXTS["typed prompt"]},
    ),
    "usage": Visit("/ui/usage", is_admin=True),
    "no days": Visit(f"/ui/usage?days={asked('asked days')}", is_admin=True, status=400),
    "keys": Visit(f"/ui/keys?project={PROJECT}", is_admin=True),
    "keys of a project": Visit("/ui/keys?project={project}", is_admin=True),
    "no project": Visit(f"/ui/keys?project={asked('asked project')}", is_admin=True, status=404),
    "revoke": Visit(f"/ui/keys/{{key}}/revoke?project={PROJECT}", is_admin=True),
    "rotate": Visit(f"/ui/keys/{{key}}/rotate?project={PROJECT}", is_admin=True),
    "a key": Visit(
        "/ui/keys", form={"project": PROJECT, "name": TEXTS["key name"], "preset": "all"}, is_admin=True
    ),
    "no key": Visit(
        "/ui/keys",
        form={"project": PROJECT, "name": TEXTS["typed prompt"], "days": TEXTS["asked days"]},
        is_admin=True,
        status=400,
    ),
    "system": Visit("/ui/system", is_admin=True),
    "nowhere": Visit(f"/ui/{asked('asked job')}", status=404),
    "unknown tab": Visit(f"/ui/jobs?tab={asked('asked search')}&after={asked('asked job')}", status=400),
}  # fmt: skip
"""Pages that print them."""


SINKS: Final = tuple(
    Sink(template, expression, text, visit)
    for template, expression, text, visit in (
        ("jobs.html", "job.user_provided_suffix", "suffix", "jobs"),
        ("jobs.html", "job.fine_tuned_model", "tuned model", "jobs"),
        ("jobs.html", "job.model", "base", "jobs"),
        ("jobs.html", "asked.search", "asked search", "found jobs"),
        ("jobs.html", "asked.base", "asked base", "found jobs"),
        ("job.html", "job.user_provided_suffix", "suffix", "job"),
        ("job.html", "job.fine_tuned_model", "tuned model", "tuned job"),
        ("job.html", "job.model", "base", "job"),
        ("job.html", "job.error.message", "error message", "job"),
        ("job.html", "job.error.code", "error code", "job"),
        ("job.html", "job.error.param", "error param", "job"),
        ("job.html", "job.report.reason", "report reason", "job"),
        ("job.html", "key", "metadata key", "job"),
        ("job.html", "value", "metadata value", "job"),
        ("job.html", "integration.wandb.project", "W&B project", "job"),
        ("job.html", "event.message", "event", "job"),
        ("job.html", "event.message", "step event", "steps of a job"),
        ("job.html", "checkpoint.fine_tuned_model_checkpoint", "checkpoint name", "job"),
        ("charts.html", "sources", "suffix", "job"),
        ("job_cancel_form.html", "job.user_provided_suffix", "suffix", "cancel"),
        ("job_cancel_form.html", "job.fine_tuned_model", "tuned model", "cancel a tuned job"),
        ("job_examples.html", "job.user_provided_suffix", "suffix", "examples"),
        ("job_examples.html", "job.fine_tuned_model", "tuned model", "examples of a tuned job"),
        ("job_examples.html", "stretch.text", "example user", "examples"),
        ("job_examples.html", "stretch.text", "example answer", "examples"),
        ("report_missing.html", "job.user_provided_suffix", "suffix", "no report"),
        ("report_missing.html", "job.report.reason", "report reason", "no report"),
        ("report_missing.html", "job.fine_tuned_model", "tuned model", "no report of a tuned job"),
        ("report_missing.html", "job.model", "base", "no report of a tuned job"),
        ("compare_choose.html", "job.user_provided_suffix", "suffix", "choose jobs"),
        ("compare_choose.html", "job.fine_tuned_model", "tuned model", "choose jobs"),
        ("compare_choose.html", "job.model", "base", "choose jobs"),
        ("compare.html", "job.user_provided_suffix", "suffix", "overlay"),
        ("compare.html", "sources", "suffix", "overlay"),
        ("compare.html", "job.model", "base", "overlay"),
        ("compare.html", "row.name", "metadata key", "overlay"),
        ("compare.html", "value", "metadata value", "overlay"),
        ("files.html", "file.filename", "file name", "files"),
        ("files_parts.html", "job.user_provided_suffix", "suffix", "files"),
        ("file.html", "file.filename", "file name", "file"),
        ("file.html", "job.user_provided_suffix", "suffix", "file"),
        ("file.html", "job.fine_tuned_model", "tuned model", "file"),
        ("file.html", "message.role", "role", "file"),
        ("file.html", "message.text", "message", "file"),
        ("file.html", "message.text", "tool calls", "file"),
        ("file.html", "line.text", "line", "file"),
        ("form_parts.html", "file.filename", "file name", "new job"),
        ("form_parts.html", "draft.value", "typed number", "new job, filled in"),
        ("form_parts.html", "exc.message", "asked model", "code of a job"),
        ("new_job.html", "draft.value", "metadata value", "new job"),
        ("new_job.html", "draft.value", "typed suffix", "new job, filled in"),
        ("new_job.html", "draft.value", "typed metadata", "new job, filled in"),
        ("new_job.html", "each", "tuned model", "new job"),
        ("new_job_answer.html", "text", "asked model", "code of a job"),
        ("new_job_answer.html", "text", "asked file", "code of a job"),
        ("models.html", "model.id", "tuned model", "models"),
        ("models.html", "message", "engine message", "models"),
        ("models.html", "search", "asked search", "found models"),
        ("confirm.html", "question", "tuned model", "delete a model"),
        ("confirm.html", "value", "tuned model", "delete a model"),
        ("confirm.html", "question", "key name", "revoke"),
        ("confirm.html", "question", "key name", "rotate"),
        ("error_fragment.html", "message", "asked model", "no model"),
        ("error_fragment.html", "message", "asked file", "no file"),
        ("error_fragment.html", "message", "asked job", "no job"),
        ("error_fragment.html", "message", "asked project", "no project"),
        ("playground.html", "form.context", "example context", "playground"),
        ("playground.html", "form.tools", "example tools", "playground"),
        ("playground.html", "form.system", "example system", "playground"),
        ("playground.html", "form.prompt", "example user", "playground"),
        ("playground.html", "reference", "example answer", "playground"),
        ("playground.html", "form.job", "asked job", "no example"),
        ("playground.html", "form.example", "asked example", "no example"),
        ("playground_column.html", "chosen", "asked model", "playground"),
        ("playground_column.html", "name", "tuned model", "playground"),
        ("playground_column.html", "each.stop", "typed stop", "no example"),
        ("playground.html", "form.system", "typed system", "asked"),
        ("playground_column.html", "each.turns", "typed turns", "asked"),
        ("playground_column.html", "each.last", "answer", "asked"),
        ("playground_column.html", "text", "typed turns", "asked"),
        ("playground_column.html", "last.asked", "asked model", "asked"),
        ("playground_column.html", "last.message", "asked model", "asked"),
        ("word_pieces.html", "piece.text", "answer", "asked"),
        ("playground_code.html", "snippet.python", "typed prompt", "code of the playground"),
        ("playground_code.html", "snippet.curl", "typed prompt", "code of the playground"),
        ("report.html", "report.base_model", "report base", "report"),
        ("report.html", "report.tuned_model", "report tuned", "report"),
        ("report.html", "model", "report base", "report"),
        ("report.html", "note", "left out", "report"),
        ("report.html", "each.label", "label", "report"),
        ("report.html", "label", "label", "report"),
        ("report.html", "labels.confusion.labels[]", "label", "report"),
        ("report.html", "each.pair.prompt", "prompt", "report"),
        ("report.html", "each.reference", "reference", "report"),
        ("word_pieces.html", "piece.text", "base answer", "report"),
        ("word_pieces.html", "piece.text", "tuned answer", "report"),
        ("keys.html", "key.name", "key name", "keys"),
        ("keys.html", "each.name", "project name", "keys"),
        ("keys.html", "key.owner.service_account.name", "account name", "keys of a project"),
        ("keys.html", "form.name", "typed prompt", "no key"),
        ("keys.html", "form.days", "asked days", "no key"),
        ("key_made.html", "made.name", "key name", "a key"),
        ("usage.html", "each.name", "project name", "usage"),
        ("usage.html", "row.model", "usage model", "usage"),
        ("usage_parts.html", "job.model", "usage model", "usage"),
        ("system.html", "engine.message", "engine message", "system"),
        ("system.html", "worker.host", "worker", "system"),
    )
)  # fmt: skip
"""Every place of `api/dashboard/templates` that prints a text of somebody's."""

WRITTEN: Final = frozenset(
    {
        "asked.base", "asked.search", "draft.value", "checkpoint.fine_tuned_model_checkpoint", "each.label", "each.last",
        "each.pair.prompt", "each.reference", "each.stop", "each.turns", "engine.message", "event.message",
        "exc.message", "file.filename", "form.context", "form.days", "form.example", "form.job", "form.name",
        "form.prompt", "form.system", "form.tools", "integration.wandb.project", "job.error.code",
        "job.error.message", "job.error.param", "job.fine_tuned_model", "job.report.reason",
        "job.user_provided_suffix", "key.name", "key.owner.service_account.name", "labels.confusion.labels[]",
        "last.asked", "last.message", "line.text", "made.name", "message.role", "message.text", "model.id",
        "piece.text", "report.base_model", "report.tuned_model", "row.model", "snippet.curl", "snippet.python",
        "sources", "stretch.text", "worker.host",
    }
)  # fmt: skip
"""Expressions that print such a text in whatever template they stand."""


@dataclass(frozen=True)
class Hostile:
    """The ids of what was stored."""

    training_file: str
    """One can train on it."""
    file: str
    """None can."""
    job: str
    """Has failed."""
    tuned_job: str
    """Has a model."""
    reported: str
    """Has a report."""
    key: str
    project: str

    def fill_in(self, text: str) -> str:
        """Return a text with the ids in the place of their `{names}`."""
        for name, value in asdict(self).items():
            text = text.replace(f"{{{name}}}", value)
        return text
