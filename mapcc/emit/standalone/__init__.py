"""Functions that an emitted script takes with it, as they stand here: tested, typed, and without mapcc.

They import numpy and the standard library alone, and one another. A function is copied only into the
scripts that call it (see ``emit/script_text.py``).
"""
