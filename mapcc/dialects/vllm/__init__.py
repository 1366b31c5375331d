"""vLLM's tables, and its engine."""
