"""What a training job would make of a file, found and shown without a server: `retune check`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jobs.dataset import Problem, examine_file, failure_of
from jobs.dataset_report import DatasetReport, counted
from jobs.hyperparameters import Resolved, TrainingFile, count_steps, resolve
from jobs.lora_layers import layers_of
from jobs.rendering import Renderer
from jobs.seeing import seen
from jobs.terminal_text import visible, without_middle
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure
from schemas.fine_tuning import Hyperparameters
from schemas.seen_examples import SeenExample

_SHOWN_PROBLEMS: Final = 10
_SHOWN_CHARACTERS: Final = 700
"""Of a stretch of text; what is longer loses its middle."""
_BAR: Final = 40
"""Characters of the histogram's longest bar."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What is known of a file and a base; nothing was trained."""

    path: Path
    base: BaseModelInfo
    dataset: DatasetReport
    problems: tuple[Problem, ...]
    failure: JobFailure | None
    """What the job's error would say; None where it would train."""
    resolved: Resolved | None
    """How it would train."""
    sample: SeenExample | None
    """The first example that trains."""

    @property
    def n_steps(self) -> int:
        """How many optimizer steps the job would take; 0 where it would fail."""
        if self.resolved is None:
            return 0
        return count_steps(
            self.dataset.n_examples,
            n_epochs=self.resolved.n_epochs,
            batch_size=self.resolved.batch_size,
        )


def check(
    path: Path,
    base: BaseModelInfo,
    *,
    max_rank: int,
    hyperparameters: Hyperparameters | None = None,
) -> CheckReport:
    """Check a training file against a base, with the tokenizer and template that would train it.

    Args:
        path: JSON Lines.
        base: The model that would learn.
        max_rank: Of an adapter, where it would be served.
        hyperparameters: As they would be asked for; all `"auto"` where None.

    Raises:
        JobFailure: The base cannot chat.
        OSError: The file cannot be read.
    """
    renderer = Renderer.load(base.directory)
    found = examine_file(path, context_length=base.context_length, renderer=renderer)
    failure = failure_of(found, role="training", file_id=path.name, is_rendered=True)
    resolved = None
    if failure is None:
        resolved = resolve(
            hyperparameters or Hyperparameters(),
            TrainingFile(found.report.n_examples, found.report.loss_tokens),
            base,
            layers=layers_of(base.directory),
            max_rank=max_rank,
        )
    return CheckReport(
        path=path,
        base=base,
        dataset=found.report,
        problems=found.problems,
        failure=failure,
        resolved=resolved,
        sample=None if found.problems else next(seen(path, renderer, base.context_length), None),
    )


def print_report(report: CheckReport, console: Console) -> None:
    """Show a report to a person; readable at 80 columns, and without colour."""
    console.print(_verdict(report))
    for part in (_problems(report), _warnings(report), _numbers(report), _plan(report)):
        if part is not None:
            console.print(Padding(part, (1, 0, 0, 2)))
    if report.sample:
        console.print(_shown(report.sample))


def _verdict(report: CheckReport) -> RenderableType:
    name, base = report.path.name, report.base.name
    if report.failure is None:
        return Text.assemble(("✓ ", "bold green"), (name, "bold"), f" can train {base}.")
    verdict = Text.assemble(("✗ ", "bold red"), (name, "bold"), f" cannot train {base}. ")
    return verdict.append(f"A job would fail with {report.failure.code}:")


def _problems(report: CheckReport) -> RenderableType | None:
    if report.failure is None:
        return None
    if not report.problems:
        return visible(report.failure.message)
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="red", no_wrap=True)
    table.add_column()
    for problem in report.problems[:_SHOWN_PROBLEMS]:
        table.add_row(f"line {problem.line}", visible(problem.sentence(report.path.name)))
    if (more := len(report.problems) - _SHOWN_PROBLEMS) > 0:
        table.add_row("", f"… and {counted(more, 'more line')}.")
    return table


def _warnings(report: CheckReport) -> RenderableType | None:
    if not report.dataset.warnings:
        return None
    table = Table.grid(padding=(0, 1))
    for warning in report.dataset.warnings:
        table.add_row(Text("!", "bold yellow"), visible(warning))
    return table


def _numbers(report: CheckReport) -> RenderableType | None:
    dataset = report.dataset
    if not dataset.tokens:
        return None
    share = dataset.loss_tokens / dataset.tokens
    table = Table.grid(padding=(0, 2))
    table.add_row("examples", f"{dataset.n_examples:,}")
    table.add_row(
        "tokens", f"{dataset.tokens:,}, of which {dataset.loss_tokens:,} are learned ({share:.0%})"
    )
    table.add_row("longest", f"{dataset.longest:,} of {report.base.context_length:,} tokens")
    return Group(table, "", _histogram(dataset))


def _histogram(dataset: DatasetReport) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right")
    most = max(dataset.histogram.values())
    for upper, count in dataset.histogram.items():
        bar = "█" * max(1, round(_BAR * count / most))
        table.add_row(f"{upper // 2 + 1:,}-{upper:,} tokens", Text(bar, "cyan"), f"{count:,}")
    return table


def _plan(report: CheckReport) -> RenderableType | None:
    resolved = report.resolved
    if resolved is None:
        return None
    tokens = resolved.n_epochs * report.dataset.tokens
    plan = Text.assemble(
        "A job would take ",
        (counted(report.n_steps, "step"), "bold"),
        f" of {counted(resolved.batch_size, 'example')}, over {tokens:,} tokens in "
        f"{counted(resolved.n_epochs, 'epoch')}.",
    )
    told = [*resolved.reasons, *resolved.warnings]
    return Group(plan, *(Text(sentence, "dim") for sentence in told))


def _shown(sample: SeenExample) -> RenderableType:
    text = Text()
    for stretch in sample.stretches:
        shown = visible(without_middle(stretch.text, longest=_SHOWN_CHARACTERS))
        if stretch.is_trained:
            text.append_text(Text.assemble("⟦", shown, "⟧", style="bold green"))
        else:
            text.append_text(shown)
    title = f"example {sample.example}: ⟦what is learned⟧"
    return Padding(Panel(text, title=title, title_align="left"), (1, 0, 0, 0))
