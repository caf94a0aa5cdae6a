"""Deployment simulation for language models. `open_home` is the door for Python users."""

from sim_platform.door import OpenHome, open_home

__all__ = ["OpenHome", "open_home"]
