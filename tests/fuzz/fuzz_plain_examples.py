"""Plain examples: what is found plain in C is an example by the rules, line by line and all at once."""

from jobs.example_rules import parse_example
from jobs.plain_examples import count_plain_examples
from tests.fuzz.target import fuzz


def plain_lines_are_examples(content: bytes) -> None:
    """Check some lines."""
    lines = content.removesuffix(b"\n").split(b"\n")
    together = count_plain_examples(content)
    each = [count_plain_examples(line) for line in lines]
    if together is not None:
        assert each == [1] * together
    for line, found in zip(lines, each, strict=True):
        if found is not None:
            assert found == 1
            parse_example(line.rstrip(b"\r"))


if __name__ == "__main__":
    fuzz(plain_lines_are_examples)
