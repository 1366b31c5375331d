"""Who else does the same work. Each file here runs as a script, in an environment of its own."""
