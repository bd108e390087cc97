"""Random transformers networks of a few thousand parameters, and documents for them."""

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from jobs.training.corpus import Document
from jobs.training.layouts import Layout
from jobs.training.model import TunedModel

SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama() -> PreTrainedModel:
    return _seeded(LlamaForCausalLM, LlamaConfig(**SHAPE))


def gemma() -> PreTrainedModel:
    return _seeded(GemmaForCausalLM, GemmaConfig(**SHAPE))


def gemma3_with_a_window_below() -> PreTrainedModel:
    kinds = ["sliding_attention", "full_attention"]
    config = Gemma3TextConfig(**SHAPE, sliding_window=6, layer_types=kinds)
    return _seeded(Gemma3ForCausalLM, config)


def qwen3() -> PreTrainedModel:
    return _seeded(Qwen3ForCausalLM, Qwen3Config(**SHAPE))


def mistral_with_a_window() -> PreTrainedModel:
    return _seeded(MistralForCausalLM, MistralConfig(**SHAPE, sliding_window=4))


def gemma2_with_soft_caps() -> PreTrainedModel:
    return _seeded(Gemma2ForCausalLM, Gemma2Config(**SHAPE))


def qwen2_with_biases() -> PreTrainedModel:
    return _seeded(Qwen2ForCausalLM, Qwen2Config(**SHAPE))


def gemma3() -> PreTrainedModel:
    return _seeded(Gemma3ForCausalLM, Gemma3TextConfig(**SHAPE))


def phi3() -> PreTrainedModel:
    return _seeded(Phi3ForCausalLM, Phi3Config(**SHAPE))


def bloom_without_the_interface() -> PreTrainedModel:
    config = BloomConfig(vocab_size=96, hidden_size=32, n_layer=2, n_head=4)
    return _seeded(BloomForCausalLM, config)


def _seeded(kind, config) -> PreTrainedModel:
    torch.manual_seed(3)
    network = kind(config).eval()
    for parameter in network.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # a fresh network hardly attends
    return network.requires_grad_(requires_grad=False)


def tuned(network: PreTrainedModel, layout: Layout, *, dropout: float = 0.0) -> TunedModel:
    """Give a network an adapter that already acts: a fresh B is zero, and A then learns nothing."""
    torch.manual_seed(4)
    config = LoraConfig(r=4, lora_alpha=12, lora_dropout=dropout, target_modules="all-linear")
    peft = get_peft_model(network, config)
    for name, parameter in peft.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
    return TunedModel(peft.eval(), network, layout, served_dtype=torch.bfloat16)


def documents(*lengths: int) -> list[Document]:
    """Return documents of these lengths in which about half of the tokens train, the last too."""
    generator = torch.Generator().manual_seed(5)
    made = []
    for length in lengths:
        token_ids = torch.randint(3, 96, (length,), generator=generator, dtype=torch.int32)
        trained = torch.rand(length, generator=generator) < 0.5
        trained[0], trained[-1] = False, True
        made.append(Document(token_ids, trained, n_trained=int(trained.sum())))
    return made


def documents_of(*parts: tuple[int, ...]) -> list[Document]:
    """Return documents of parts of these lengths; the same length at the same place is the same."""
    made = []
    for lengths in parts:
        token_ids = torch.cat([_part(place, length) for place, length in enumerate(lengths)])
        trained = _part(len(parts), len(token_ids)) % 2 == 0
        trained[0], trained[-1] = False, True
        made.append(Document(token_ids, trained, n_trained=int(trained.sum())))
    return made


def _part(place: int, length: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * place + length)
    return torch.randint(3, 96, (length,), generator=generator, dtype=torch.int32)
