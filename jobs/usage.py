"""What an administrator can learn about usage."""

import time

from jobs.services import Services
from schemas.errors import InvalidRequest
from schemas.usage import (
    LIMITS,
    WIDTHS,
    UsageBucket,
    UsageKind,
    UsagePage,
    UsageQuery,
    UsageResult,
    shown,
)


async def page(services: Services, query: UsageQuery, *, kind: UsageKind) -> UsagePage:
    """Return a page of buckets, those without usage too.

    Raises:
        InvalidRequest: More buckets are asked for than a page has, or the range is no range.
    """
    width = WIDTHS[query.bucket_width]
    usual, most = LIMITS[query.bucket_width]
    n_buckets = usual if query.limit is None else query.limit
    if n_buckets > most:
        raise InvalidRequest(
            f"Invalid 'limit': integer above maximum value. Expected a value <= {most} with "
            f"'bucket_width' {query.bucket_width}, but got {n_buckets} instead.",
            param="limit",
            code="integer_above_max_value",
        )
    if query.end_time is not None and query.end_time <= query.start_time:
        raise InvalidRequest(
            "Invalid 'end_time': it must be after 'start_time'.",
            param="end_time",
            code="invalid_value",
        )
    first = int(query.page.removeprefix("page_")) if query.page else query.start_time
    first = max(first, query.start_time) // width * width
    last = int(time.time()) + 1 if query.end_time is None else query.end_time
    end = max(first, min(first + n_buckets * width, last))
    rows = await services.store.usage.sums(
        kind=kind,
        start=first,
        end=end,
        width=width,
        group_by=query.group_by,
        only={
            "project_id": query.project_ids,
            "api_key_id": query.api_key_ids,
            "model": query.models,
        },
        batch=query.batch,
    )
    results: dict[int, list[UsageResult]] = {}
    for row in rows:
        result = shown(row.used, kind=kind, group=dict(row.group))
        results.setdefault(row.start, []).append(result)
    buckets = [
        UsageBucket(
            start_time=start, end_time=min(start + width, last), results=results.get(start, [])
        )
        for start in range(first, end, width)
    ]
    return UsagePage(
        data=buckets,
        has_more=end < last,
        next_page=f"page_{end}" if end < last else None,
    )
