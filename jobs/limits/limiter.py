"""Who may ask now, and who must wait: requests, tokens and uploaded bytes, by project, model and key."""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Final, NamedTuple

from redis.asyncio import Redis

from jobs.keys import Caller
from jobs.limits.shares import Shares
from jobs.store.limits import LimitRecords
from schemas.errors import RateLimited
from schemas.limits import Limits
from schemas.settings import Settings

_LIMITS_KNOWN_FOR: Final = 2.0
"""Seconds until a changed limit is heard of."""
_SHARES: Final = 50
"""A share is the fiftieth part of a bucket: one request in so many asks Redis, and as little is stranded in
a process that is not asked any more."""
_CACHE_SIZE: Final = 4096
_MINUTE: Final = 60.0
_DAY: Final = 86_400.0
_UPLOADS: Final = "upload bytes"


class Rule(NamedTuple):
    """One limit that holds for a request."""

    bucket: str
    kind: str
    """`requests`, `tokens` or `upload bytes`; the first two have headers."""
    unit: str
    """As OpenAI's error says it."""
    capacity: int
    seconds: float = _MINUTE


@dataclass(slots=True)
class _Credit:
    """Of one bucket: what this process may use without asking."""

    amount: float = 0.0
    left: float = 0.0
    """In the shared bucket, when it was last asked."""
    asked_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a request was allowed, to be set right when its tokens are counted."""

    limiter: "Limiter"
    rules: Sequence[Rule]
    tokens: int
    """Assumed beforehand."""

    def settle(self, tokens: int) -> None:
        """Count the tokens that it really took."""
        for rule in self.rules:
            if rule.kind == "tokens":
                self.limiter.give_back(rule, self.tokens - tokens)

    def headers(self) -> dict[str, str]:
        """Return OpenAI's `x-ratelimit-…` headers; none where nothing is limited by the minute."""
        return self.limiter.headers(self.rules)


class Limiter:
    """Admits requests; most of them without asking anybody."""

    def __init__(self, records: LimitRecords, settings: Settings, shares: Shares) -> None:
        self._records = records
        self._settings = settings
        self._shares = shares
        self._credits: dict[str, _Credit] = {}
        self._known: dict[str, tuple[float, Mapping[str, Limits]]] = {}

    async def admit(
        self, caller: Caller, model: str, *, tokens: Callable[[], int]
    ) -> Allowance | None:
        """Let a request pass, or say how long to wait.

        Args:
            caller: Whose limits hold.
            model: As it is asked; an alias has the limits of its own name.
            tokens: Guesses how many it will take; asked only where tokens are limited.

        Returns:
            None where nothing is limited.

        Raises:
            RateLimited: A limit is reached; nothing was counted.
        """
        rules = await self._rules(caller, model)
        if not rules:
            return None
        guessed = tokens() if any(rule.kind == "tokens" for rule in rules) else 0
        await self._draw_all(rules, guessed, model=model, caller=caller)
        return Allowance(self, rules, guessed)

    async def admit_upload(self, caller: Caller, size: int) -> None:
        """Let `size` bytes come in, or say how long to wait.

        Raises:
            RateLimited: The key uploads too much.
        """
        rule = self._upload_rule(caller)
        if rule is not None:
            # What is larger than a minute's worth passes a full bucket, and leaves it in debt.
            drawn = min(size, rule.capacity)
            await self._draw_all([rule], drawn, model="files", caller=caller)
            self.give_back(rule, drawn - size)

    def count_upload(self, caller: Caller, size: int) -> None:
        """Count `size` bytes that nobody announced; what comes next may have to wait for them."""
        rule = self._upload_rule(caller)
        if rule is not None:
            self.give_back(rule, -size)

    def give_back(self, rule: Rule, amount: float) -> None:
        """Return what was drawn and not used; a negative amount was used and not drawn."""
        self._credit(rule.bucket).amount += amount

    def headers(self, rules: Sequence[Rule]) -> dict[str, str]:
        """Return the headers that tell of `rules`; where two are of a kind, the narrower one."""
        told: dict[str, tuple[float, Rule]] = {}
        for rule in rules:
            if rule.kind == _UPLOADS:
                continue  # OpenAI has no headers for them
            credit = self._credit(rule.bucket)
            filled = (time.monotonic() - credit.asked_at) * rule.capacity / rule.seconds
            remaining = min(float(rule.capacity), max(0.0, credit.amount + credit.left + filled))
            if rule.kind not in told or remaining < told[rule.kind][0]:
                told[rule.kind] = (remaining, rule)
        headers = {}
        for kind, (remaining, rule) in told.items():
            until_full = (rule.capacity - remaining) * rule.seconds / max(1, rule.capacity)
            headers[f"x-ratelimit-limit-{kind}"] = str(rule.capacity)
            headers[f"x-ratelimit-remaining-{kind}"] = str(int(remaining))
            headers[f"x-ratelimit-reset-{kind}"] = go_duration(until_full)
        return headers

    async def _draw_all(
        self, rules: Sequence[Rule], tokens: int, *, model: str, caller: Caller
    ) -> None:
        drawn: list[tuple[Rule, float]] = []
        for rule in rules:
            cost = 1.0 if rule.kind == "requests" else float(tokens)
            missing = await self._draw(rule, cost)
            if missing > 0:
                for earlier, amount in drawn:
                    self.give_back(earlier, amount)
                raise self._refusal(rule, cost, missing, rules=rules, model=model, caller=caller)
            drawn.append((rule, cost))

    async def _draw(self, rule: Rule, cost: float) -> float:
        """Draw `cost`, or nothing; returns how much was missing."""
        if cost > rule.capacity:
            # Not a share of it either: asked often enough, shares would add up to what no bucket holds.
            return cost - rule.capacity
        credit = self._credit(rule.bucket)
        if credit.amount < cost:
            share = await self._shares.take(
                rule.bucket,
                capacity=rule.capacity,
                seconds=rule.seconds,
                wanted=max(cost - credit.amount, rule.capacity // _SHARES),
            )
            credit.amount += share.taken
            credit.left, credit.asked_at = share.left, time.monotonic()
        if credit.amount < cost:
            return cost - credit.amount
        credit.amount -= cost
        return 0.0

    def _refusal(
        self,
        rule: Rule,
        cost: float,
        missing: float,
        *,
        rules: Sequence[Rule],
        model: str,
        caller: Caller,
    ) -> RateLimited:
        wait = missing * rule.seconds / rule.capacity if rule.capacity else _DAY
        where = f"{model} in organization {caller.organization_id} on {rule.unit}"
        if cost > rule.capacity:
            text = (
                f"Request too large for {where}: Limit {rule.capacity}, Requested {cost:.0f}. "
                "The input or output tokens must be reduced in order to run successfully."
            )
        else:
            used = max(0, rule.capacity - int(cost - missing))
            text = (
                f"Rate limit reached for {where}: Limit {rule.capacity}, Used {used}, "
                f"Requested {cost:.0f}. Please try again in {go_duration(wait)}."
            )
        return RateLimited(text, kind=rule.kind, retry_after=wait, headers=self.headers(rules))

    async def _rules(self, caller: Caller, model: str) -> list[Rule]:
        known = self._known.get(caller.project_id)
        if known is None or known[0] < time.monotonic():
            if len(self._known) >= _CACHE_SIZE:
                self._known.clear()
            limits = await self._records.rate_limits(caller.project_id)
            known = (time.monotonic() + _LIMITS_KNOWN_FOR, limits)
            self._known[caller.project_id] = known
        rules = _of_project(caller.project_id, model, known[1].get(model))
        requests, tokens = self._settings.requests_per_minute, self._settings.tokens_per_minute
        if requests is not None:
            rules.append(
                Rule(f"{caller.key_id}:rpm", "requests", "requests per min (RPM)", requests)
            )
        if tokens is not None:
            rules.append(Rule(f"{caller.key_id}:tpm", "tokens", "tokens per min (TPM)", tokens))
        return rules

    def _upload_rule(self, caller: Caller) -> Rule | None:
        most = self._settings.upload_bytes_per_minute
        if most is None:
            return None
        return Rule(f"{caller.key_id}:uploads", _UPLOADS, "uploaded bytes per min", most)

    def _credit(self, bucket: str) -> _Credit:
        credit = self._credits.get(bucket)
        if credit is None:
            if len(self._credits) >= _CACHE_SIZE:
                self._credits.clear()  # at most a share of each is lost, for a minute
            credit = self._credits[bucket] = _Credit()
        return credit


@asynccontextmanager
async def open_limiter(records: LimitRecords, settings: Settings) -> AsyncGenerator[Limiter]:
    """Yield a limiter; Redis need not be there."""
    redis = Redis.from_url(settings.effective_redis_url, socket_connect_timeout=1, socket_timeout=1)
    try:
        yield Limiter(records, settings, Shares(redis))
    finally:
        await redis.aclose()


def go_duration(seconds: float) -> str:
    """Write a duration as Go does, and OpenAI with it: `17ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{ceil(seconds * 1000)}ms"
    if seconds < _MINUTE:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    minutes, rest = divmod(ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


def _of_project(project_id: str, model: str, limits: Limits | None) -> list[Rule]:
    if limits is None:
        return []
    name = f"{project_id}:{model}"
    found = [
        (f"{name}:rpm", "requests", "requests per min (RPM)", limits.max_requests_per_1_minute, _MINUTE),
        (f"{name}:tpm", "tokens", "tokens per min (TPM)", limits.max_tokens_per_1_minute, _MINUTE),
        (f"{name}:rpd", "requests", "requests per day (RPD)", limits.max_requests_per_1_day, _DAY),
    ]  # fmt: skip
    return [
        Rule(bucket, kind, unit, most, seconds)
        for bucket, kind, unit, most, seconds in found
        if most is not None
    ]
