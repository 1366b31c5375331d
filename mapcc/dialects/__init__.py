"""The tables in which other frameworks write mappings: what one says, and exactly what its engine does.

Nothing here runs a framework's code, or a table's: tables are read as text, and the engines are ours.
The tests hold each engine against the framework's own.
"""
