"""transformers' tables, and its engine."""
