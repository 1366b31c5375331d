"""From a framework's table, and a key set, back to rules."""
