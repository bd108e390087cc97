"""What is trained in `make bench-training`: bases, chats and the adapter to begin with, made afresh from a seed."""

import dataclasses
import json
import random
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from jobs.dataset import read_examples
from jobs.rendering import Renderer, Row
from tests.bench import bank_messages

BATCH = 8
CONTEXT = 1024
RANK, ALPHA = 8, 16
_TOKENIZER_SIZE = 8192
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' }}"
    "{% if message.role == 'assistant' %}"
    "{% generation %}{{ message.content + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ message.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""With the marks from which TRL takes its `assistant_only_loss`; ours compares token ids."""


@dataclasses.dataclass(frozen=True)
class Workload:
    """A base and chats to train it on."""

    name: str
    what: str
    base_dir: Path
    chats: list[str]
    """Lines of a training file."""
    heldout_path: Path
    learning_rate: float

    def write_training_file(self, path: Path, *, steps: int, seed: int) -> Path:
        """Write so many batches of chats: one of each length class, in random order.

        So every seed has about the same number of tokens a step: what packs chats into rows of
        1,024 tokens then takes as many steps as what takes 8 chats.
        """
        rng = random.Random(seed)
        n, by_length = steps * BATCH, sorted(self.chats, key=len)
        edges = [place * len(by_length) // n for place in range(n + 1)]
        classes = (by_length[begin : max(end, begin + 1)] for begin, end in pairwise(edges))
        drawn = [rng.choice(chats) for chats in classes]
        rng.shuffle(drawn)
        path.write_text("".join(drawn), encoding="utf-8")
        return path

    def rows(self, path: Path) -> list[Row]:
        """Return a file's chats as tokens, cut to the context length."""
        renderer = Renderer.load(self.base_dir)
        return [row for example in read_examples(path) for row in renderer.rows(example, CONTEXT)]


def trial(directory: Path, *, vocabulary: int, n_chats: int = 2000, layers: int = 8) -> Workload:
    """Make the trial of random words: a small random Qwen2 and chats of very uneven length."""
    directory.mkdir(parents=True)
    talk = _Talk(random.Random(0))
    chats = [talk.chat() for _ in range(n_chats)]
    heldout = [talk.chat() for _ in range(32)]
    base_dir = directory / "base"
    _tokenizer(talk).save_pretrained(base_dir)
    torch.manual_seed(0)
    shape = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=layers,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        eos_token_id=2,
        pad_token_id=0,
    )
    network = Qwen2ForCausalLM(shape)
    network.save_pretrained(base_dir)
    heldout_path = directory / "heldout.jsonl"
    heldout_path.write_text("".join(heldout), encoding="utf-8")
    size = sum(parameter.numel() for parameter in network.parameters()) / 1e6
    return Workload(
        name=f"random {size:.1f}M, {vocabulary // 1024}k vocabulary",
        what=f"{n_chats:,} chats of random words",
        base_dir=base_dir,
        chats=chats,
        heldout_path=heldout_path,
        learning_rate=2e-3,
    )


def short_messages(directory: Path, base_dir: Path) -> Workload:
    """Make short messages to a bank under one system prompt, for a pretrained base."""
    directory.mkdir(parents=True)
    chats = bank_messages.messages(200, "seen", seed=1)
    heldout = bank_messages.messages(50, "seen", seed=2, without=chats)
    return Workload(
        name=base_dir.name,
        what="200 short bank messages under one system prompt",
        base_dir=base_dir,
        chats=[message.line() for message in chats],
        heldout_path=bank_messages.write(directory / "heldout.jsonl", heldout),
        learning_rate=1e-3,
    )


def make_initial_adapter(base_dir: Path, directory: Path, *, seed: int) -> Path:
    """Write a fresh adapter as PEFT makes it, on every linear layer but the head."""
    network = AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
    torch.manual_seed(seed)
    shape = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    get_peft_model(network, shape).save_pretrained(directory)
    return directory


def describe(rows: list[Row]) -> str:
    """Return the lengths of chats, and how many of their tokens are learned."""
    lengths = sorted(len(row.token_ids) for row in rows)
    p10, p50, p90, p99 = (lengths[len(lengths) * share // 100] for share in (10, 50, 90, 99))
    trained = sum(sum(row.trained) for row in rows) / sum(lengths)
    return (
        f"tokens p10/50/90/99 {p10}/{p50}/{p90}/{p99}, mean {statistics.mean(lengths):.0f}, "
        f"{trained:.0%} the assistant's"
    )


class _Talk:
    """Chats of made-up words, whose lengths are lognormal.

    Args:
        rng: Decides all.
    """

    _SYLLABLES = (
        "ba",
        "ko",
        "ri",
        "ten",
        "mu",
        "sel",
        "or",
        "vi",
        "lan",
        "do",
        "pre",
        "ca",
        "tion",
    )

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        made = ("".join(rng.choices(self._SYLLABLES, k=rng.randint(1, 4))) for _ in range(7000))
        self.words = list(dict.fromkeys(made))
        self._weights = [1 / (place + 3) ** 0.9 for place in range(len(self.words))]
        self._prompts = [self._text(12), self._text(45)]

    def chat(self) -> str:
        """Return a line of a training file."""
        rng = self._rng
        n_words = min(1000, max(14, round(rng.lognormvariate(4.81, 0.87))))
        turns = 1 if n_words < 80 else rng.randint(1, 3 if n_words < 300 else 5)
        messages = []
        if rng.random() < 0.5:
            messages.append({"role": "system", "content": rng.choice(self._prompts)})
        for _ in range(turns):
            answered = rng.betavariate(2.5, 3.5) * n_words / turns
            asked = self._text(round(n_words / turns - answered))
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": self._text(round(answered))})
        return json.dumps({"messages": messages}) + "\n"

    def sample(self) -> Iterator[str]:
        """Yield text to make a tokenizer from."""
        for _ in range(1000):
            yield self._text(100)

    def _text(self, n_words: int) -> str:
        words = self._rng.choices(self.words, self._weights, k=max(1, n_words))
        return " ".join(word + self._rng.choices(("", ".", ","), (87, 8, 5))[0] for word in words)


def _tokenizer(talk: _Talk) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_TOKENIZER_SIZE,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(talk.sample(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = _CHATML
    return fast
