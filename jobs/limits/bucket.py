"""A token bucket: what may be used now, and when there will be more. Pure; seconds are the caller's clock's."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """Fills at an even rate up to its capacity; begins full."""

    capacity: float
    seconds: float
    """In which it fills from empty."""
    level: float
    at: float
    """When `level` was true."""

    @classmethod
    def full(cls, capacity: float, seconds: float, *, now: float) -> "Bucket":
        """Return a bucket that nobody used yet."""
        return cls(capacity, seconds, capacity, now)

    def take(self, wanted: float, *, now: float) -> float:
        """Take up to `wanted`, and return how much there was."""
        self.level = min(self.capacity, self.level + (now - self.at) * self.capacity / self.seconds)
        self.at = now
        taken = min(wanted, self.level)
        self.level -= taken
        return taken
