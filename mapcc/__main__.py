"""``python -m mapcc``."""

from mapcc.cli import main

main()
