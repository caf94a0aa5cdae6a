"""Sampling: strata, allocation, the hash draw. The number behind the draw has its published name
here, `sampling.unit_interval`.
"""

from sim_platform.sampling.hashing import unit_interval as unit_interval
