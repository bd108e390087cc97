"""What a user can learn of how the server is; what tells of its machines only an administrator can."""

import asyncio
import platform
import shutil
import sqlite3
import sys
import time
from importlib import metadata

from jobs import engine_states
from jobs.blobs import size_of
from jobs.doctor.probes import examine_data_dir, find_gpus, find_installed
from jobs.doctor.rules import (
    check_bases,
    check_cpu,
    check_python,
    check_socket_path,
    check_sqlite,
    check_torch,
    check_torch_companions,
    check_vllm,
)
from jobs.keys import Caller
from jobs.services import WORKER_IS_ALIVE_FOR, Services, readiness
from schemas.system import Check, Disk, EngineStatus, Queue, System, WorkerStatus
from serving.engine import read_cpu_flags


async def look(services: Services, caller: Caller) -> System:
    """Look at everything once; of other projects only counts are told."""
    found = await readiness(services)
    engines = await engine_states.look(services)
    return System(
        ready=found.ok,
        readiness=found.checks,
        engines=[
            EngineStatus(
                base=each.base,
                state=each.state,
                message=each.message,
                n_adapters=None if each.adapters is None else len(each.adapters),
            )
            for each in engines.values()
        ],
        queue=Queue(
            jobs=await services.store.jobs.unfinished(),
            batches=await services.store.batches.count_unfinished(),
        ),
        workers=await _workers(services, caller),
        disk=await asyncio.to_thread(_disk, services),
        versions=_versions(),
        checks=await asyncio.to_thread(_checks, services) if caller.is_admin else None,
    )


async def _workers(services: Services, caller: Caller) -> list[WorkerStatus]:
    alive = await services.store.machines.workers(seen_after=time.time() - WORKER_IS_ALIVE_FOR)
    return [
        WorkerStatus(
            seen_at=worker.seen_at,
            trainer_bytes=worker.trainer and worker.trainer.total_bytes,
            host=worker.host if caller.is_admin else None,
            pid=worker.pid if caller.is_admin else None,
        )
        for worker in alive
    ]


def _disk(services: Services) -> Disk:
    usage = shutil.disk_usage(services.settings.data_dir)
    bases = {base.directory for base in services.catalog.all()}
    used = services.blobs.sizes(now=time.monotonic()) | {
        "bases": sum(size_of(directory) for directory in bases)
    }
    return Disk(total=usage.total, free=usage.free, used=used)


def _versions() -> dict[str, str]:
    ours = {"retune": metadata.version("retune"), "python": platform.python_version()}
    return ours | dict(find_installed().versions)


def _checks(services: Services) -> list[Check]:
    """Return the doctor's verdicts on this process; what is not of the machine, `readiness` looks at."""
    settings, catalog = services.settings, services.catalog
    installed, gpus = find_installed(), find_gpus()
    names = [base.name for base in catalog.all()]
    return [
        check_python(sys.version_info[:3]),
        check_torch(installed, gpus),
        check_torch_companions(installed),
        check_vllm(installed, engine_urls=settings.engine_urls),
        check_cpu(read_cpu_flags(), gpus),
        check_sqlite(sqlite3.sqlite_version_info[:3], in_use=settings.database_url is None),
        examine_data_dir(settings.data_dir),
        check_socket_path(settings.run_dir),
        check_bases(names, problems=catalog.problems, bases_dir=settings.bases_dir),
    ]
