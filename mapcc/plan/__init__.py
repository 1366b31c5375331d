"""Floor 6: from a bound mapping to exact files and moves, as data. Nothing here opens a file."""

from mapcc.plan.make import make_plan
from mapcc.plan.model import Plan

__all__ = ["Plan", "make_plan"]
