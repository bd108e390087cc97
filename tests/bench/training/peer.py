"""The other side: TRL's SFTTrainer with PEFT, as its defaults have it or at its best. Runs in TRL's environment."""

import dataclasses
import json
import sys
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from tests.bench.training.runs import Asked, Meter, count_embedded_tokens, print_result, rates

SETTINGS: dict[str, dict[str, object]] = {
    "defaults": {},
    "best": {
        "packing": True,
        "packing_strategy": "bfd",
        "assistant_only_loss": True,
        "gradient_checkpointing": False,
        "model_init_kwargs": {"dtype": "bfloat16"},
    },
}
PACKED_ROWS = 2
"""Rows of 1,024 tokens a step: about as many tokens as 8 of the trial's chats, so that equal tokens mean
equal steps. They run one after the other: packed rows are flattened, and the mask of two is four times one's."""


class CountingTrainer(SFTTrainer):
    """SFTTrainer, which counts the real tokens that it is given."""

    real_tokens = 0
    """Since whoever reads them last set them to 0."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        mask = inputs.get("attention_mask")
        self.real_tokens += int(inputs["input_ids"].numel() if mask is None else mask.sum())
        return super().training_step(model, inputs, num_items_in_batch)


class Watch(TrainerCallback):
    """Sets our rates before each step and tells the meter after it.

    Args:
        asked: Of the run.
        meter: Starts after the warm-up.
    """

    def __init__(self, asked: Asked, meter: Meter) -> None:
        self.asked = asked
        self.meter = meter
        self.trainer: CountingTrainer | None = None

    def on_step_begin(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **kwargs
    ) -> None:
        peak = self.asked.learning_rate
        for group in kwargs["optimizer"].param_groups:
            group["lr"] = rates(peak, state.max_steps)[state.global_step]

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, **_kwargs
    ) -> None:
        assert self.trainer is not None
        self.meter.tick(self.trainer.real_tokens)
        self.trainer.real_tokens = 0
        if state.global_step == self.asked.warm_up_steps:
            self.meter.start()


def make_trainer(asked: Asked, settings: dict[str, object], watch: Watch) -> CountingTrainer:
    """Return a trainer on the CPU that begins with the given adapter and takes chats in the file's order."""
    lines = Path(asked.training_path).read_text(encoding="utf-8").splitlines()
    initial = Path(asked.initial_adapter_dir)
    shape = json.loads((initial / "adapter_config.json").read_text())
    is_packed = bool(settings.get("packing"))
    trainer = CountingTrainer(
        model=asked.base_dir,
        args=SFTConfig(
            output_dir=asked.work_dir,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            seed=asked.seed,
            num_train_epochs=1,
            max_length=asked.context_length,
            per_device_train_batch_size=1 if is_packed else asked.batch_size,
            gradient_accumulation_steps=PACKED_ROWS if is_packed else 1,
            train_sampling_strategy="sequential",
            **settings,
        ),
        train_dataset=Dataset.from_list([json.loads(line) for line in lines]),
        peft_config=LoraConfig(
            r=shape["r"],
            lora_alpha=shape["lora_alpha"],
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
        callbacks=[watch],
    )
    loaded = set_peft_model_state_dict(
        trainer.model, load_file(initial / "adapter_model.safetensors")
    )
    assert not loaded.unexpected_keys
    return trainer


def main() -> None:
    """Train what standard input asks for, with the settings that the argument names."""
    asked = Asked.from_json(sys.stdin.read())
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    meter = Meter()
    count_embedded_tokens(meter)
    watch = Watch(asked, meter)
    watch.trainer = make_trainer(asked, SETTINGS[sys.argv[1]], watch)
    watch.trainer.train()
    adapter_dir = Path(asked.work_dir) / "adapter"
    watch.trainer.model.save_pretrained(adapter_dir)
    libraries = ("trl", "torch", "transformers", "peft", "accelerate")
    measured = meter.result(
        adapter_dir=adapter_dir, versions={name: version(name) for name in libraries}
    )
    print_result(dataclasses.asdict(measured))


if __name__ == "__main__":
    main()
