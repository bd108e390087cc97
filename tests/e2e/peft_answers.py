"""What transformers and PEFT answer, greedily: `python -m tests.e2e.peft_answers BASE ADAPTER MAX_TOKENS < messages`.

Reads a JSON list of conversations; writes a JSON list of answers, each with how far its closest decision was
from going otherwise. A process of its own: the tests' process stays free of torch.
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from serving.engine import read_cpu_flags, serving_dtype


def main() -> None:
    base, adapter, max_tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    dtype = getattr(torch, serving_dtype("cpu", read_cpu_flags()))
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base, dtype=dtype), adapter
    ).eval()
    answers = []
    for messages in json.load(sys.stdin):
        prompt = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            made = model.generate(
                **prompt,
                max_new_tokens=max_tokens,
                do_sample=False,
                output_logits=True,
                return_dict_in_generate=True,
            )
        ids = made.sequences[0, prompt["input_ids"].shape[1] :]
        gaps = [
            float(top[0] - top[1]) for top in (x[0].float().topk(2).values for x in made.logits)
        ]
        answers.append(
            {"text": tokenizer.decode(ids, skip_special_tokens=True), "closest": min(gaps)}
        )
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
