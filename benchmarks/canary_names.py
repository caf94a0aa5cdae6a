"""A detector that costs next to nothing, for homes of benchmarks whose logs are synthetic.

Belongs here: finding the names of canaries, so that a policy without models passes the gate on
them. Does not: finding anybody else's name.
"""

import re
from collections.abc import Sequence

from sim_platform.deidentification.canaries import FIRST, LAST
from sim_platform.deidentification.spans import Span

_NAME = re.compile(rf"\b(?:{'|'.join((*FIRST, *LAST))})\b")


class CanaryNames:
    """For a policy's detector of kind `python`."""

    version = "canary-names-1"

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See Detector."""
        return [
            [Span(*found.span(), "PERSON", 1.0, "canaries") for found in _NAME.finditer(text)]
            for text in texts
        ]
