"""Where a run is measured whole: its numbers are told, its adapter is kept, and the best is known."""

from collections.abc import Callable, Iterator
from pathlib import Path

from jobs.training.checkpoints import Checkpoints
from jobs.training.course import Course
from jobs.training.plan import Plan
from jobs.training.reports import Reports
from jobs.training.run import Run
from schemas.training import (
    AdapterSaved,
    BestSaved,
    CheckpointSaved,
    ModelChosen,
    Noted,
    TrainingEvent,
)


class Milestones:
    """The ends of epochs, and what `Plan` puts between them.

    Args:
        run: What is measured.
        plan: Its steps.
        reports: Measures and tells.
        checkpoints: Keeps adapters.
        tell: Takes each event as it happens.
    """

    def __init__(
        self,
        run: Run,
        *,
        plan: Plan,
        reports: Reports,
        checkpoints: Checkpoints,
        tell: Callable[[TrainingEvent], None],
    ) -> None:
        self._run = run
        self._plan = plan
        self._reports = reports
        self._checkpoints = checkpoints
        self._tell = tell
        self._is_handed_over = False

    def hand_over(self) -> None:
        """Write the adapter, and say so, where it is the final one for sure. Safe to repeat.

        Before all else that the run's end asks for: an engine takes it meanwhile.
        """
        run = self._run
        is_over = run.step == self._plan.total_steps
        is_unmeasured = self._reports.measures and not run.course.is_measured_at(run.step)
        is_best = _best_step(run.course) in {None, run.step}
        if is_over and is_best and not is_unmeasured and not self._is_handed_over:
            self._is_handed_over = True
            adapter_dir = self._checkpoints.ensure_adapter(run)
            self._tell(AdapterSaved(step=run.step, adapter_dir=adapter_dir))

    def close(self) -> None:
        """Measure the step that the run is at; keep its adapter if it ends an epoch or is the best.

        Raises:
            Preempted: The process was asked to go.
        """
        run = self._run
        self.hand_over()
        done = self._reports.milestone()
        if self._reports.measures:
            run.course = run.course.measured(run.step, done.full_valid_loss)
            self.hand_over()
        self._tell(done)
        epoch = self._plan.epoch_ending_at(run.step)
        # On disk before the next resume point can say that it is the best.
        if epoch or _best_step(run.course) == run.step:
            adapter_dir = self._checkpoints.ensure(run)
            if epoch:
                self._tell(CheckpointSaved(step=run.step, epoch=epoch, adapter_dir=adapter_dir))
            self._tell_best(adapter_dir)

    def _tell_best(self, adapter_dir: Path) -> None:
        """Say that the step's adapter is the best so far, where it is, and is a good one."""
        course, step = self._run.course, self._run.step
        best = course.best
        if best and best.step == step and best.loss is not None and not course.is_ruined(best.loss):
            self._tell(BestSaved(step=step, adapter_dir=adapter_dir, valid_loss=best.loss))

    def ending(self) -> Iterator[TrainingEvent]:
        """Yield why training ended early, if it did, and which model is the final one."""
        run, total = self._run, self._plan.total_steps
        if run.step < total:
            yield Noted(
                step=run.step,
                key="early-stop",
                message=f"Stopped after step {run.step} of {total}: the loss on the validation examples "
                f"gained nothing any more. {_lowest(run.course)}",
            )
        step = _best_step(run.course) or run.step
        message = None
        if run.course.measurements:
            when = "the last step" if step == run.step else f"step {step}"
            message = f"The final model is that of {when}. {_lowest(run.course)}"
        adapter_dir = self._checkpoints.directory_of(step)
        yield ModelChosen(step=step, adapter_dir=adapter_dir, message=message)


def _best_step(course: Course) -> int | None:
    return course.best.step if course.best else None


def _lowest(course: Course) -> str:
    """Return which measurement was the lowest, and what the last one was where that is another."""
    best, last = course.best, course.measurements[-1]
    assert best is not None, "something was measured"
    n = len(course.measurements)
    if best.loss is None:
        return "None of the measured losses is a finite number."
    lowest = (
        f"Its validation loss, {best.loss:.4f} at step {best.step}, is the lowest of {n} measured"
    )
    if best is last or last.loss is None:
        return f"{lowest}."
    return f"{lowest}; after step {last.step} it was {last.loss:.4f}."
