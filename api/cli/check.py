"""`retune check`: check a training file without a server, and show what would be learned from it."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from api.cli.main import settings_from
from jobs.bases.catalog import load_catalog
from jobs.check import check, print_report
from schemas.errors import InvalidRequest, JobFailure


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="retune check", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON Lines, as it would be uploaded")
    parser.add_argument("--model", default="smollm2-135m", help="the base (default: %(default)s)")
    options = parser.parse_args(arguments)
    console = Console()
    settings = settings_from()
    catalog = load_catalog(settings)
    try:
        base = catalog.get(options.model)
        report = check(options.file, base, max_rank=settings.max_lora_rank)
    except InvalidRequest as exc:
        names = ", ".join(base.name for base in catalog.all())
        console.print(f"{exc.message} Offered here: {names}.", markup=False)
        return 2
    except (JobFailure, OSError) as exc:
        console.print(f"{options.file}: {exc}", markup=False)
        return 2
    print_report(report, console)
    return 0 if report.failure is None else 1
