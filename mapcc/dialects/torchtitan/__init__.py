"""torchtitan's tables, and its engine."""
