"""Elements as bits: what every cast and every operation on values gives, by definition.

Ordinary modules that need numpy alone, and of it whole numbers, and ``+ - * /`` and square roots of F32 and
F64, which IEEE 754 defines to the last bit: so what they give depends on no version of anything. ``runtime``
calls them, and ``emit-script`` copies them into scripts. ``verify`` has a second reading of its own.
"""
