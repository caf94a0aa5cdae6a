"""Which estimator made a rate.

Belongs here: the number that stands in records and beside every rate; raise it when formulas give
other numbers. Does not: formulas. Alone in its module, so that reading a record loads none.
"""

VERSION = "3"
