"""A report as a person reads it in a terminal: `retune report`."""

from collections.abc import Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Column, Table
from rich.text import Text

from jobs.terminal_text import visible, without_middle
from schemas.report import Labels, Latency, MeasureName, Pair, Report, Said, Scores, Source, Verdict

_NAMES: Final[dict[MeasureName, str]] = {
    "exact_match": "exact match",
    "token_f1": "token F1",
    "rouge_l": "ROUGE-L",
    "json_valid": "valid JSON",
    "json_match": "same JSON value",
    "tool_names": "right functions",
    "tool_calls": "right calls",
}
_VERDICTS: Final[dict[Verdict, tuple[str, str, str]]] = {
    "better": ("✓ ", "better than its base", "bold green"),
    "worse": ("✗ ", "worse than its base", "bold red"),
    "cannot_tell": ("? ", "not shown to be better or worse than its base", "bold yellow"),
}
"""Mark, words and style."""
_WORDS: Final[dict[Verdict, str]] = {
    "better": "better",
    "worse": "worse",
    "cannot_tell": "cannot tell",
}
_SOURCES: Final[dict[Source, str]] = {
    "validation_file": "examples of its validation file",
    "validation_split": "examples that were held out of its training file",
    "training_file": "examples that it was TRAINED ON",
}
_SHOWN_LABELS: Final = 12
_SHOWN_CHARACTERS: Final = 400
"""Of a text; what is longer loses its middle."""


def print_report(report: Report, console: Console) -> None:
    """Show a report; readable at 80 columns, and without colour."""
    console.print(_verdict(report))
    for part in (
        _notes(report.notes),
        _measures(report.scores),
        _labels(report.scores.labels),
        _latency(report.latency),
    ):
        if part is not None:
            console.print(Padding(part, (1, 0, 0, 2)))
    for pair in report.pairs:
        console.print(_pair(pair))


def _verdict(report: Report) -> RenderableType:
    headline = report.scores.headline
    mark, words, style = _VERDICTS[headline.verdict]
    name, source = _NAMES[headline.name], _SOURCES[report.examples.source]
    return Text.assemble(
        (mark, style),
        (report.tuned_model, "bold"),
        " is ",
        (words, style),
        f", {report.base_model}: {name} {headline.tuned:.0%} against {headline.base:.0%}, "
        f"on {headline.n} {source}.",
    )


def _notes(notes: Sequence[str]) -> RenderableType | None:
    if not notes:
        return None
    table = Table.grid(padding=(0, 1))
    for note in notes:
        table.add_row(Text("!", "bold yellow"), visible(note))
    return table


def _measures(scores: Scores) -> RenderableType:
    table = Table(
        Column("measure", no_wrap=True),
        Column("n", justify="right"),
        Column("base", justify="right"),
        Column("tuned", justify="right"),
        Column("difference, 95 %", justify="right", no_wrap=True),
        Column("+ / -", justify="right", no_wrap=True),
        Column("", no_wrap=True),
        box=None,
        pad_edge=False,
    )
    for measure in scores.measures:
        low, high = measure.interval
        table.add_row(
            _NAMES[measure.name],
            str(measure.n),
            f"{measure.base:.1%}",
            f"{measure.tuned:.1%}",
            f"{100 * measure.difference:+.1f} [{100 * low:+.0f}, {100 * high:+.0f}]",
            f"{measure.n_better} / {measure.n_worse}",
            Text(_WORDS[measure.verdict], _VERDICTS[measure.verdict][2]),
        )
    if (bleu := scores.bleu) is not None:
        table.add_row("BLEU", str(bleu.n), f"{bleu.base:.1f}", f"{bleu.tuned:.1f}")
    how = (
        "+ / -: examples on which the tuned model scores higher, lower. Better or worse is said where the "
        "interval leaves out 0 and chance alone would do as much in less than one case of twenty "
        f"({_NAMES[scores.headline.name]}: {_share(scores.headline.p_value)})."
    )
    return Group(table, Text(how, "dim"))


def _share(p_value: float) -> str:
    return "less than 0.1%" if p_value < 0.001 else f"{p_value:.1%}"


def _labels(labels: Labels | None) -> RenderableType | None:
    if labels is None:
        return None
    table = Table(
        Column("label", overflow="fold"),
        *(
            Column(name, justify="right", no_wrap=True)
            for name in ("n", "base: precision", "recall", "F1", "tuned: precision", "recall", "F1")
        ),
        box=None,
        pad_edge=False,
    )
    for label in labels.labels[:_SHOWN_LABELS]:
        scores = (label.base, label.tuned)
        table.add_row(
            visible(label.label),
            str(label.support),
            *(f"{n:.0%}" for each in scores for n in (each.precision, each.recall, each.f1)),
        )
    more = labels.n_labels - _SHOWN_LABELS
    told = f"… and {more} more. " if more > 0 else ""
    told += (
        f"Mean F1 of the {labels.n_labels} labels: {labels.macro_f1_base:.0%}, tuned "
        f"{labels.macro_f1_tuned:.0%}. Answers that are no label: {labels.n_unknown_base}, tuned "
        f"{labels.n_unknown_tuned}."
    )
    return Group(table, told)


def _latency(latency: Latency | None) -> RenderableType | None:
    if latency is None:
        return None
    base, tuned = latency.base, latency.tuned
    return Text(
        f"Half of the answers took up to {base.p50:.1f} s, tuned {tuned.p50:.1f} s; 95 of 100 up to "
        f"{base.p95:.1f} s, tuned {tuned.p95:.1f} s. Up to four were asked at a time.",
        "dim",
    )


def _pair(pair: Pair) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("asked", _shown(pair.prompt))
    table.add_row("reference", _said(pair.reference))
    table.add_row("base", _said(pair.base))
    table.add_row("tuned", _said(pair.tuned))
    panel = Panel(table, title=f"example {pair.example}", title_align="left")
    return Padding(panel, (1, 0, 0, 0))


def _said(said: Said) -> Text:
    parts = [_shown(said.text)] if said.text else []
    parts += [_shown(f"{call.name}({call.arguments})") for call in said.calls]
    text = Text("\n").join(parts) if parts else Text("(nothing)", "dim")
    return text.append(" …", "dim") if said.is_cut else text


def _shown(text: str) -> Text:
    return visible(without_middle(text, longest=_SHOWN_CHARACTERS))
