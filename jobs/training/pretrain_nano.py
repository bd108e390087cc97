"""Trains `retune-nano` from nothing, on one core: corpus → tokenizer → model → a base in transformers' format.

    python -m jobs.training.pretrain_nano OUT_DIR [--million-tokens 6] [--threads 1]

Matrices learn by Muon (Jordan et al., 2024), the embedding and the norms by AdamW; the rate is flat, then falls to
nearly nothing. Rows of like length share a batch, so that hardly a token is padding.
"""

import argparse
import itertools
import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import jinja2
import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import AttentionMaskInterface

from jobs.training.nano_corpus import WORDS, Conversation, conversations

CONTEXT: Final = 1024
"""Tokens."""
VOCABULARY: Final = 2048
BATCH_TOKENS: Final = 3584
"""Padding included; small, because the optimizer's steps are what is scarce in 6M tokens."""
POOL: Final = 4000
"""Conversations that are sorted by length together."""
MUON_RATE: Final = 0.02
ADAM_RATE: Final = 3e-3
FLAT_SHARE: Final = 0.6
"""Of all tokens are seen at the full rate; then it falls linearly."""
PROMPT_WEIGHT: Final = 0.2
"""What a token that the assistant does not write counts in the loss; its own count 1."""
SAVE_EVERY_STEPS: Final = 300
NEARLY_ONE: Final = 0.5
"""Embeddings no further than this from those of unseen tokens are as good as theirs; of seen ones the median is 3.2."""

SPECIAL: Final = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS: Final = (
    "<tools>",
    "</tools>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
)
"""One token each, but text: a decoder that skips special tokens keeps them for the parser of tool calls."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """One conversation as the model reads it."""

    token_ids: list[int]
    is_answer: list[bool]
    """Whether the assistant writes this token; its end of turn included."""


@dataclass(frozen=True)
class Batch:
    """Rows of like length, padded on the right."""

    inputs: torch.Tensor
    """(B, T), int64."""
    targets: torch.Tensor
    """(B, T), int64: the next token; -100 where there is none."""
    weights: torch.Tensor
    """(B, T), float32."""
    n_tokens: int
    """Without padding."""


@dataclass(frozen=True)
class Pretraining:
    """How a run went."""

    n_parameters: int
    n_tokens: int
    n_steps: int
    cpu_seconds: float
    fresh_loss: float
    """Mean over the assistant's tokens of conversations that were not trained on, in nats."""


class ChatFormat:
    """Conversations to token ids: the base's template and tokenizer."""

    def __init__(self, template: str, tokenizer: Tokenizer) -> None:
        environment = jinja2.Environment(autoescape=False)  # noqa: S701 - a prompt, not HTML
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self._template = environment.from_string(template)
        self._tokenizer = tokenizer
        self._end = tokenizer.token_to_id("<|im_end|>")
        self._opening = tokenizer.encode("<|im_start|>assistant\n").ids

    def rows(self, batch: list[Conversation]) -> list[Row]:
        """Render and tokenize; what is longer than the context is cut."""
        texts = [self._template.render(messages=c.messages, tools=c.tools) for c in batch]
        encodings = self._tokenizer.encode_batch(texts)
        return [self._row(encoding.ids[:CONTEXT]) for encoding in encodings]

    def _row(self, ids: list[int]) -> Row:
        is_answer = [False] * len(ids)
        width, inside = len(self._opening), False
        for i, token in enumerate(ids):
            inside = inside or ids[i - width : i] == self._opening
            is_answer[i] = inside
            inside = inside and token != self._end
        return Row(ids, is_answer)


def train_tokenizer() -> Tokenizer:
    """Make a byte-level BPE of `VOCABULARY` tokens on the corpus, with each digit alone."""
    tokenizer = Tokenizer(models.BPE())
    pattern = Regex(r"\d| ?[A-Za-z']+| ?[^\sA-Za-z\d]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(), trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    return tokenizer


def batches(format: ChatFormat, *, seed: int) -> Iterator[Batch]:
    """Yield batches without end; the order is the seed's."""
    source, rng = conversations(seed), Random(seed)  # noqa: S311 - an order, not a secret
    while True:
        rows = format.rows(list(itertools.islice(source, POOL)))
        rows.sort(key=lambda row: len(row.token_ids))
        groups = list(_groups(rows))
        rng.shuffle(groups)
        yield from map(_padded, groups)


def pretrain(out_dir: Path, *, n_tokens: int) -> Pretraining:
    """Train for `n_tokens` and leave the base in `out_dir`, saved now and then on the way."""
    torch.manual_seed(0)
    template = (Path(__file__).parents[1] / "bases" / "chatml_tools.jinja").read_text("utf-8")
    tokenizer = train_tokenizer()
    format = ChatFormat(template, tokenizer)
    write_tokenizer(out_dir, tokenizer, template)
    model = new_model(tokenizer)
    optimizers = new_optimizers(model)
    seen = steps = 0
    counts = torch.zeros(VOCABULARY, dtype=torch.int64)
    mean_loss = math.log(VOCABULARY)
    started = time.process_time()
    for batch in batches(format, seed=1):
        set_rates(optimizers, step=steps, progress=seen / n_tokens)
        mean_loss += 0.05 * (train_step(model, optimizers, batch) - mean_loss)
        seen, steps = seen + batch.n_tokens, steps + 1
        counts += torch.bincount(batch.targets[batch.targets != -100], minlength=VOCABULARY)
        if steps % 50 == 0:
            speed = seen / (time.process_time() - started)
            _log.info(
                "step %d, %.2fM tokens, loss %.3f, %.0f tokens/CPU-s",
                steps,
                seen / 1e6,
                mean_loss,
                speed,
            )
        if steps % SAVE_EVERY_STEPS == 0:
            write_weights(out_dir, model)
        if seen >= n_tokens:
            break
    tell_unseen_apart(model.get_input_embeddings().weight.data, is_seen=counts > 0)
    write_weights(out_dir, model)
    return Pretraining(
        n_parameters=sum(p.numel() for p in model.parameters()),
        n_tokens=seen,
        n_steps=steps,
        cpu_seconds=time.process_time() - started,
        fresh_loss=fresh_loss(model, format),
    )


def new_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """Build the model with random weights in float32; it takes right-padded rows without a mask."""
    AttentionInterface.register("right_padded", _causal_attention)
    AttentionMaskInterface.register("right_padded", lambda *_, **__: None)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
    )
    config._attn_implementation = "right_padded"  # noqa: SLF001 - transformers' own switch
    return LlamaForCausalLM(config).train()


def new_optimizers(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Return Muon for the layers' matrices and AdamW for the embedding (tied to the head) and the norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=MUON_RATE, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(rest, lr=ADAM_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def set_rates(optimizers: list[torch.optim.Optimizer], *, step: int, progress: float) -> None:
    """Warm up over 50 steps, stay, fall; `progress` runs from 0 to 1."""
    falling = max(0.02, (1 - progress) / (1 - FLAT_SHARE))
    scale = min(1.0, (step + 1) / 50, falling)
    for optimizer, rate in zip(optimizers, (MUON_RATE, ADAM_RATE), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * scale


def train_step(
    model: LlamaForCausalLM, optimizers: list[torch.optim.Optimizer], batch: Batch
) -> float:
    """Take one step; return the weighted mean loss in nats."""
    losses = token_losses(model, batch)
    weights = batch.weights[batch.targets != -100]
    loss = (losses * weights).sum() / weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad()
    return float(loss.detach())


def token_losses(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """Return -log p of each target that is one: (N,), float32, in nats."""
    is_target = batch.targets != -100
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=batch.inputs, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[is_target])  # (N, V): the head only where it is needed
    return F.cross_entropy(logits.float(), batch.targets[is_target], reduction="none")


def fresh_loss(model: LlamaForCausalLM, format: ChatFormat) -> float:
    """Return the mean loss on the assistant's tokens of about 1,000 conversations of another seed."""
    total = count = 0.0
    with torch.inference_mode():
        for batch in itertools.islice(batches(format, seed=2), 20):
            is_answer = batch.weights[batch.targets != -100] == 1
            answer_losses = token_losses(model, batch)[is_answer]
            total, count = total + float(answer_losses.sum()), count + len(answer_losses)
    return total / count


def tell_unseen_apart(embedding: torch.Tensor, *, is_seen: torch.Tensor) -> None:
    """Give each token that the corpus hardly has an embedding of its own, in place.

    Each step pushed all of them the same way, out of the way of the others, until they lay on one point. There no
    adapter could write one and not another, nor read which it was. They stay around that point, so that the
    model goes on not to say them, but as far from it as seen ones are from each other.

    Args:
        embedding: (V, D), tied to the head.
        is_seen: (V,), whether the corpus has the token at all.
    """
    center = embedding[~is_seen].mean(0)
    is_near = (embedding - center).norm(dim=1) < NEARLY_ONE
    others = embedding[~is_near]
    spread = (others - others.mean(0)).std()
    noise = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(0))
    embedding[is_near] = center + spread * noise[is_near]


def write_tokenizer(out_dir: Path, tokenizer: Tokenizer, template: str) -> None:
    """Write what turns a conversation into tokens."""
    out_dir.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out_dir / "tokenizer.json"))
    (out_dir / "chat_template.jinja").write_text(template, "utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": CONTEXT,
    }
    (out_dir / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def write_weights(out_dir: Path, model: LlamaForCausalLM) -> None:
    """Write the weights in bf16, and the configurations of the model and of its sampling."""
    copy = LlamaForCausalLM(LlamaConfig(**model.config.to_dict()))
    copy.load_state_dict(model.state_dict())
    copy.to(torch.bfloat16).save_pretrained(out_dir)


def write_model_card(out_dir: Path, run: Pretraining) -> None:
    """Write README.md: what the base is, and what was measured when it was made."""
    size = (out_dir / "model.safetensors").stat().st_size
    (out_dir / "README.md").write_text(
        _MODEL_CARD.format(size=size / 1e6, tokens=run.n_tokens / 1e6, **vars(run)), "utf-8"
    )


def main(arguments: list[str] | None = None) -> None:
    """Pretrain as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m jobs.training.pretrain_nano")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--million-tokens", type=float, default=6.0)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(chosen.threads)
    run = pretrain(chosen.out_dir, n_tokens=int(chosen.million_tokens * 1e6))
    write_model_card(chosen.out_dir, run)
    _log.info("done: %s", run)


def _tokenizer_text() -> Iterator[str]:
    for conversation in itertools.islice(conversations(99), 30_000):
        for message in conversation.messages:
            yield message["content"] or json.dumps(message["tool_calls"])
        if conversation.tools:
            yield json.dumps(conversation.tools)
    for word in WORDS:
        yield f"{word} {word} {word.upper()}"
    yield from ("system", "user", "assistant", "tool")


def _groups(rows: list[Row]) -> Iterator[list[Row]]:
    """Cut rows, sorted by length, where the next one would make the padded batch too large."""
    group: list[Row] = []
    for row in rows:
        if group and len(row.token_ids) * (len(group) + 1) > BATCH_TOKENS:
            yield group
            group = []
        group.append(row)
    yield group


def _padded(rows: list[Row]) -> Batch:
    longest = max(len(row.token_ids) for row in rows)
    inputs = torch.zeros(len(rows), longest, dtype=torch.int64)
    targets = torch.full((len(rows), longest), -100)
    weights = torch.zeros(len(rows), longest)
    for i, row in enumerate(rows):
        n = len(row.token_ids)
        inputs[i, :n] = torch.tensor(row.token_ids)
        targets[i, : n - 1] = inputs[i, 1:n]
        weights[i, : n - 1] = torch.tensor(
            [1.0 if answer else PROMPT_WEIGHT for answer in row.is_answer[1:]]
        )
    return Batch(inputs, targets, weights, n_tokens=sum(len(row.token_ids) for row in rows))


def _causal_attention(
    _module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: None,
    *,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Attend to what precedes: (B, H, T, D) → (B, T, H, D). Padding stands on the right, where no real token looks."""
    # In float32: the backward of CPU attention in bf16 takes twice as long on rows as short as these.
    with torch.autocast("cpu", enabled=False):
        attended = F.scaled_dot_product_attention(
            query.float(),
            key.float(),
            value.float(),
            is_causal=True,
            scale=scaling,
            enable_gqa=True,
        )
    return attended.to(value.dtype).transpose(1, 2), None


_MODEL_CARD: Final = """# retune-nano

A chat model of {n_parameters:,} parameters (Llama architecture, bf16, {size:.1f} MB) for tests that take seconds. It greets,
names the topic of a customer's message and writes tool calls in their form; it copies badly, so the argument of a call is often
another word, and it is wrong about much. It shows that the machinery works, not what fine-tuning can do.

Made by `python -m jobs.training.pretrain_nano`, on text that `jobs/training/nano_corpus.py` makes up; nothing was taken from elsewhere.

| | |
|---|---|
| layers, width, heads | 6, 192, 6 (2 for keys and values) of 32; MLP 512 |
| vocabulary | 2,048, byte-level BPE, digits alone |
| context | 1,024 tokens |
| template | ChatML; tools and tool calls as Hermes writes them |
| trained on | {tokens:.2f}M tokens in {n_steps:,} steps |
| took | {cpu_seconds:.0f} CPU-seconds on one core |
| loss on fresh conversations of the same kinds | {fresh_loss:.3f} nats for each token that the assistant writes |

Licence: Apache-2.0, as the repository.
"""


if __name__ == "__main__":
    main()
