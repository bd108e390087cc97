"""The environment, as one value. The README's table of settings is this class."""

import hashlib
import tempfile
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from math import ceil
from pathlib import Path
from typing import Final, Self

from pydantic import Field, SecretStr, field_validator

from schemas.base import Schema

_PREFIX: Final = "RETUNE_"
_MAX_SOCKET_PATH: Final = 90
"""Linux takes 107 bytes for a unix socket's path; the file's own name needs some."""


class Settings(Schema):
    """All configuration. Read once, where a process starts, and handed down."""

    data_dir: Path
    """Records, blobs, sockets, logs."""
    bases_dir: Path
    """Prepared base models; outside `data_dir`, because they can be made again."""
    base_models: str = ""
    """`name=directory-or-hub-id`, comma-separated, or the path of a TOML file."""
    engine_urls: str = ""
    """`name=url`, comma-separated: engines that the operator runs."""
    redis_url: str | None = None
    """None: start our own on a unix socket in `run_dir`."""
    database_url: str | None = None
    """None: SQLite in `data_dir`."""
    api_key: SecretStr | None = None
    """Any string; None: a key is made at the first start and shown once."""
    organization: str = Field(default="local", pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """The slug in the names of tuned models."""
    engine_idle_seconds: float = 0
    """An engine that nobody asked for this long, at least a minute, is stopped; 0: never."""
    engine_memory_mb: int = 256
    """Key-value cache of each CPU engine."""
    engine_gpu_memory: float = Field(default=0.45, gt=0, le=1)
    """Share of the GPU's memory that each engine on it takes, weights and cache."""
    engine_max_adapters: int = 8
    """Adapters that answer in the same step; others wait a step."""
    max_lora_rank: int = 64
    worker_jobs: int = 1
    """Trainings at a time on this machine."""
    batch_concurrency: int = Field(default=8, ge=1)
    """Requests of batches that an engine is asked at a time, at most; fewer while others ask it."""
    report_examples: int = Field(default=64, ge=0, le=1000)
    """On which base and tuned model are compared after a job; 0: they are not."""
    report_seconds: float = Field(default=600, gt=0)
    """How long both may be asked for that; what has no answer by then is left out."""
    trainer_threads: int = 0
    """CPU threads of a trainer; 0: all cores but one."""
    trainer_processes: int = Field(default=1, ge=1)
    """That train one job together, each on an accelerator of its own; threads are each one's."""
    trainer_sharded: bool = False
    """Spread the base over them: for one that does not fit on one accelerator."""
    warm_trainer: bool = True
    """Between jobs, keep a trainer ready with the last job's base loaded: the next starts at once."""
    resume_every_seconds: float = 30.0
    """How much training the death of a trainer may cost."""
    stored_days: float = Field(default=30, ge=0)
    """Days after which stored chat completions and responses are deleted; 0: never."""
    context_length: int = 4096
    """Upper bound for every base, in tokens."""
    python_graders: bool = False
    """Run programs that clients send as graders, in a confined process."""
    python_grader_seconds: float = Field(default=120, gt=0, le=3600)
    """How long such a program may take."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """That each key may ask models; None: not limited. Projects have limits of their own beside it."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Of questions and answers, for each key; None: not limited."""
    upload_bytes_per_minute: int | None = Field(default=None, ge=1)
    """That each key may send in files and parts; None: not limited."""
    webhook_allow_private: str = ""
    """Networks, comma-separated, where webhooks may go though they are not public, also over plain http."""

    trusted_proxies: str = ""
    """Addresses and networks, comma-separated, whose `X-Forwarded-Proto` and `X-Forwarded-For` are believed."""

    @field_validator("trusted_proxies", "webhook_allow_private")
    @classmethod
    def _networks(cls, text: str) -> str:
        _parse_networks(text)
        return text

    @property
    def webhook_networks(self) -> list[IPv4Network | IPv6Network]:
        """`webhook_allow_private`, parsed."""
        return _parse_networks(self.webhook_allow_private)

    @property
    def stored_seconds(self) -> int:
        """`stored_days` in seconds; 0: for ever."""
        return ceil(self.stored_days * 24 * 3600)

    @property
    def run_dir(self) -> Path:
        """Where sockets live: in `data_dir`, or in a short directory of its own where that path is too long."""
        run = self.data_dir.absolute() / "run"
        if len(str(run)) <= _MAX_SOCKET_PATH - 40:
            return run
        digest = hashlib.sha256(str(run).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"retune-{digest}"

    @property
    def effective_redis_url(self) -> str:
        """The configured Redis, else the one that `retune serve` starts."""
        return self.redis_url or f"unix://{self.run_dir / 'redis.sock'}"

    @property
    def effective_database_url(self) -> str:
        """The configured database, else SQLite in `data_dir`."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'retune.db'}"

    @classmethod
    def from_env(cls, environ: Mapping[str, str], *, data_dir: Path, bases_dir: Path) -> Self:
        """Build settings from variables such as `RETUNE_DATA_DIR`.

        Args:
            environ: Usually `os.environ`. Empty variables count as absent.
            data_dir: Where none is given.
            bases_dir: Where none is given.

        Raises:
            pydantic.ValidationError: A variable is malformed.
        """
        given = {
            name: environ[_PREFIX + name.upper()]
            for name in cls.model_fields
            if environ.get(_PREFIX + name.upper())
        }
        defaults = {"data_dir": str(data_dir), "bases_dir": str(bases_dir)}
        return cls.model_validate_strings(defaults | given)


def _parse_networks(text: str) -> list[IPv4Network | IPv6Network]:
    return [ip_network(name.strip()) for name in text.split(",") if name.strip()]
