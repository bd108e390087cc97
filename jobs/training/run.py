"""A run under way: model, optimizer, and how far they are. One call is one step."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from jobs.training.corpus import Batch, Document
from jobs.training.course import Course
from jobs.training.failures import diverged
from jobs.training.group import ALONE, Group
from jobs.training.memory import TokenBudget
from jobs.training.model import TunedModel
from jobs.training.room import Room
from jobs.training.scores import Means, Score, count_trained, score
from schemas.training import Noted, OptimizerSpec


@dataclass(frozen=True)
class Taken:
    """What a step did."""

    loss: float
    """Before it, over its trained tokens, in nats."""
    accuracy: float
    learning_rate: float
    grad_norm: float
    """Before clipping."""
    n_tokens: int
    """Of the conversations, trained or not."""
    seconds: float
    is_clipped: bool = False


class Run:
    """What changes while training.

    Args:
        model: Its adapter is trained.
        optimizer: How it learns.
        seed: Of the adapter's dropout.
        tell: Takes what the user should know while a step is under way.
        room: For what runs at once; None: as if nothing else were on the device.
        group: The processes that take each step together.
    """

    def __init__(
        self,
        model: TunedModel,
        *,
        optimizer: OptimizerSpec,
        seed: int,
        tell: Callable[[Noted], None],
        room: Room | None = None,
        group: Group = ALONE,
    ) -> None:
        self.model = model
        self.group = group
        self._room = room or Room.whole(model)
        self.budget = TokenBudget(
            self._room.tokens,
            on_halved=self._tell_halved,
            may_retry=not group.is_sharded,
            save=self._save_memory,
        )
        self.step = 0
        self.last: Taken | None = None
        self.course = Course()
        self._seed = seed
        self._tell = tell
        self._parameters = list(model.parameters.values())
        self._asked = optimizer
        self._max_grad_norm = optimizer.max_grad_norm or math.inf
        self._optimizer = _adamw(model, optimizer)

    def take_step(self, batch: Batch, *, learning_rate: float) -> Taken:
        """Learn from one batch: one optimizer step, whatever the micro-batches.

        Raises:
            JobFailure: `diverged`, or `out_of_memory` at a single document.
        """
        began = time.perf_counter()
        self.step += 1
        for parameters in self._optimizer.param_groups:
            parameters["lr"] = learning_rate * parameters["lr_ratio"]
        n_trained = count_trained(batch.documents)
        scores = self.budget.run(
            self.group.share(batch.documents),
            partial(self._accumulate_gradients, n_trained, filler=batch.documents[:1]),
            pack=self.model.layout.pack,
        )
        self.group.add_up_gradients(self._parameters)
        self._agree_on_room()
        grad_norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._max_grad_norm)
        self._optimizer.step()
        # Waits for the device, once.
        means = Means.of(scores, n_trained=n_trained, group=self.group)
        taken = Taken(
            loss=means.loss,
            accuracy=means.accuracy,
            learning_rate=learning_rate,
            grad_norm=float(grad_norm),
            is_clipped=float(grad_norm) > self._max_grad_norm,
            n_tokens=batch.n_tokens,
            seconds=time.perf_counter() - began,
        )
        if not (math.isfinite(taken.loss) and math.isfinite(taken.grad_norm)):
            raise diverged(self.step)
        self.last = taken
        self.course = self.course.after_step(taken.loss)
        return taken

    def state(self) -> dict[str, Tensor]:
        """Return the adapter and the optimizer's two moments, by name, all float32."""
        state: dict[str, Tensor] = {}
        for name, parameter in self.model.parameters.items():
            moments = self._optimizer.state[parameter]
            state[f"adapter.{name}"] = parameter.detach()
            state[f"exp_avg.{name}"] = moments["exp_avg"]
            state[f"exp_avg_sq.{name}"] = moments["exp_avg_sq"]
        return state

    def restore(self, state: dict[str, Tensor], *, step: int, last: Taken, course: Course) -> None:
        """Go on where `state` was taken.

        Raises:
            KeyError: It is another adapter's.
        """
        for name, parameter in self.model.parameters.items():
            parameter.detach().copy_(state[f"adapter.{name}"])
            self._optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": state[f"exp_avg.{name}"].to(parameter.device),
                "exp_avg_sq": state[f"exp_avg_sq.{name}"].to(parameter.device),
            }
        self.step, self.last, self.course = step, last, course

    def _agree_on_room(self) -> None:
        """Let what one process has halved be halved for all, so that whoever goes on begins with that."""
        if self.group.size > 1:
            self._room.agree(self.group)
            self.budget.tokens = min(self.budget.tokens, self._room.tokens)

    def _save_memory(self, n_tokens: int) -> bool:
        if not self._room.save():
            return False
        message = (
            f"Memory ran out at a single example of {n_tokens:,} tokens: from now on intermediate results "
            "are computed twice instead of kept. A step takes about a third longer; what is learned "
            "stays the same."
        )
        self._tell(Noted(step=self.step, key="memory-saved", message=message, level="warn"))
        return True

    def _tell_halved(self, tokens: int) -> None:
        self._room.keep(tokens)
        message = (
            f"Memory ran out; going on with at most {tokens:,} tokens at once. What is learned "
            "stays the same, the batch size too."
        )
        self._tell(Noted(step=self.step, key=f"memory-{tokens}", message=message, level="warn"))

    def _accumulate_gradients(
        self, n_trained: int, micro_batches: list[list[Document]], *, filler: list[Document]
    ) -> list[Score]:
        """Leave this process's part of the gradient of the mean over the step's trained tokens.

        Args:
            n_trained: In the whole step, over all processes.
            micro_batches: This process's; maybe none.
            filler: Run, and not counted, while other processes need a part of the base that is here.
        """
        self._optimizer.zero_grad()
        # The dropout of a step follows from the step, so that a resumed run drops the same.
        torch.manual_seed(self._seed * 1_000_003 + self.step)
        smoothing = self._asked.label_smoothing_factor
        scores = []
        with self.model.training():
            for micro_batch, weight in self.group.passes(micro_batches, filler=filler):
                sums = score(self.model, micro_batch, label_smoothing=smoothing)
                (sums.objective * weight / n_trained).backward()
                if weight:
                    scores.append(sums.detached())
        return scores


def _adamw(model: TunedModel, asked: OptimizerSpec) -> torch.optim.AdamW:
    """Return an optimizer in which B may learn faster than A (LoRA+, arXiv 2402.12354)."""
    halves: dict[bool, list[torch.nn.Parameter]] = {False: [], True: []}
    for name, parameter in model.parameters.items():
        halves["lora_B" in name].append(parameter)
    groups = [
        {"params": halves[False], "lr_ratio": 1.0},
        {"params": halves[True], "lr_ratio": asked.loraplus_lr_ratio},
    ]
    return torch.optim.AdamW(groups, weight_decay=asked.weight_decay, fused=True)
