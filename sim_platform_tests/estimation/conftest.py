"""Property tests: the same examples in every run, and no time limit per example on a busy machine."""

from hypothesis import settings

settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("repeatable")
