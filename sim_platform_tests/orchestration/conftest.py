"""Fixtures that run releases."""

from sim_platform_tests.running import detector, finished_home, home, run

__all__ = ["detector", "finished_home", "home", "run"]
