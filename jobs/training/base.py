"""A base to train on, its parts loaded when they are first asked for: by a job, or ahead of it."""

import gc
import logging
import os
import time
from functools import cached_property
from pathlib import Path

import torch

from jobs.rendering import Renderer
from jobs.training.model import LoadedBase

logger = logging.getLogger(__name__)


class Base:
    """One base for one job, whose adapter goes into its very layers.

    Args:
        directory: A transformers model directory.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @cached_property
    def renderer(self) -> Renderer:
        """Its tokenizer and template.

        Raises:
            JobFailure: It cannot chat.
        """
        return Renderer.load(self._directory)

    @cached_property
    def loaded(self) -> LoadedBase:
        """Its network, on the device that trains.

        Raises:
            JobFailure: `base_model_unusable`.
        """
        return LoadedBase.load(self._directory)

    def warm_up(self) -> None:
        """Load ahead what a job will ask for. What fails here fails again, and in words, where a job asks.

        An accelerator's memory is left alone: it belongs to those who work.
        """
        began = time.perf_counter()
        try:
            _ = self.renderer
            if not torch.cuda.is_available():
                _ = self.loaded.trusted
        except Exception:
            logger.exception("not warmed up: base=%s", self._directory.name)
            return
        # What a million imported objects refer to is never garbage: nobody need look again.
        gc.freeze()
        seconds = time.perf_counter() - began
        logger.info(
            "warmed up: pid=%s base=%s seconds=%.1f", os.getpid(), self._directory.name, seconds
        )
