"""What a cast to a type without such a number says."""

from __future__ import annotations


class Unrepresentable(ValueError):
    """A number that a type does not have: ``value`` at place ``at``. ``fraction``: it is no whole number."""

    def __init__(self, value: str, at: int, fraction: bool, dtype: str) -> None:
        super().__init__(f"{value} " + ("is no whole number" if fraction else f"is not a value of {dtype}"))
        self.value, self.at, self.fraction = value, at, fraction
