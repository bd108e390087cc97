"""A member as the product has it, but that the last one's memory ends beyond so many tokens (`TIGHT`; 0: it does not)."""

import os
import sys
from dataclasses import replace

import torch

from jobs.training import loop, member
from jobs.training.corpus import Document
from jobs.training.layouts import Layout


class TightMemory:
    """Another layout, on a device with too little memory for more than so many tokens."""

    def __init__(self, layout: Layout, tokens: int) -> None:
        self._layout = layout
        self._tokens = tokens

    def logits(self, network, documents: list[Document]) -> torch.Tensor:
        if sum(map(len, documents)) > self._tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self._layout.logits(network, documents)

    def pack(self, documents: list[Document], tokens: int) -> list[list[Document]]:
        return self._layout.pack(documents, tokens)


def main() -> int:
    """Train as `jobs.training.member` does."""
    fresh_run, tokens = loop._fresh_run, int(os.environ["TIGHT"])

    def tight_run(*arguments):
        run = fresh_run(*arguments)
        if tokens and run.group.rank == run.group.size - 1:
            run.model = replace(run.model, layout=TightMemory(run.model.layout, tokens))
        return run

    loop._fresh_run = tight_run
    return member.main()


if __name__ == "__main__":
    sys.exit(main())
