"""What transformers makes of messages, as it is given them.

A process of its own, because only the trainer imports transformers: `test_rendering_parity` starts
it. Arguments: a base's directory, a file with a list of `{"template", "messages", "tools",
"add_generation_prompt"}`, and where to write the list of answers, each `{"text", "ids"}` or null.
"""

import json
import sys
from pathlib import Path

from jinja2 import TemplateError
from transformers import AutoTokenizer


def render(tokenizer, asked):
    """The text and ids of a conversation; None where its template refuses it."""
    try:
        text = tokenizer.apply_chat_template(
            asked["messages"],
            tools=asked["tools"],
            chat_template=asked["template"],
            add_generation_prompt=asked["add_generation_prompt"],
            tokenize=False,
        )
    except (TemplateError, TypeError, AttributeError, ValueError):
        return None
    return {"text": text, "ids": tokenizer.encode(text, add_special_tokens=False)}


if __name__ == "__main__":
    base_dir, asked, answered = map(Path, sys.argv[1:])
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    answers = [render(tokenizer, one) for one in json.loads(asked.read_text())]
    answered.write_text(json.dumps(answers))
