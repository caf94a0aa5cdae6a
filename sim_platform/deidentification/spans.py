"""The seam for detectors of identifiers: what a detector takes and gives.

Belongs here: the protocol, spans, the error. Does not: any detector.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sim_platform.contracts.errors import SimPlatformError


@dataclass(frozen=True)
class Span:
    """Characters [start, end) of a text are an identifier of `type`. `score` in [0, 1]; `source`
    names the rule set or model that found it.
    """

    start: int
    end: int
    type: str
    score: float
    source: str


class Detector(Protocol):
    """Finds identifiers. Same texts, same version: same spans."""

    @property
    def version(self) -> str:
        """Identifies models, rules and settings: changes when results may change."""
        ...

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """Spans of each text, in the order of `texts`; they may overlap. Raises on anything it
        cannot scan: silence means clean.
        """
        ...


class DetectionError(SimPlatformError):
    """A batch of texts could not be scanned; names the number of texts and the kind of error."""
