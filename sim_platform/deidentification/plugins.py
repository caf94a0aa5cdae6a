"""Detectors that a policy adds: Presidio's recognizers, and detectors of a user's own, held to the
same rules as ours.

Belongs here: building them, time limits, refusing answers that cannot be true. Does not: Presidio
itself (presidio_host), what is done with spans (detectors).
"""

import importlib
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import BadInputError
from sim_platform.deidentification.policies import Plugin, PresidioPlugin, PythonPlugin
from sim_platform.deidentification.presidio_host import build_presidio, presidio_version
from sim_platform.deidentification.spans import DetectionError, Detector, Span

TEXTS_PER_CALL = 64
SILENT_CALLS = 3  # in a row without an answer in time: then nobody is there, and the run stops


def build_plugin(plugin: Plugin, folder: Path) -> Detector:
    """The detector that a policy names. `folder` is the policy's own.

    Raises:
        BadInputError: it cannot be built; names the plug-in. Presidio's says so at its first text.
    """
    return (
        PresidioWithTheFirstText(plugin, folder)
        if isinstance(plugin, PresidioPlugin)
        else GuardedDetector(plugin, _made(plugin))
    )


def _made(plugin: PythonPlugin) -> Detector:
    module, _, name = plugin.factory.partition(":")
    try:
        detector = getattr(importlib.import_module(module), name)(**plugin.arguments)
    except Exception as error:  # anything may be in there
        raise BadInputError(
            f"policy: detector {plugin.factory} cannot be built ({type(error).__name__}). Is the"
            " package installed, and are its arguments right?"
        ) from None
    if not callable(getattr(detector, "detect", None)) or not isinstance(
        getattr(detector, "version", None), str
    ):
        raise BadInputError(
            f"policy: detector {plugin.factory} gave a {type(detector).__name__}; wanted an object"
            " with version (text) and detect(texts)"
        )
    return detector  # type: ignore[no-any-return]  # checked just now


class PresidioWithTheFirstText:
    """Presidio's recognizers, built when there is something to read: its import takes longer than
    all else of a run that has nothing to do.
    """

    def __init__(self, plugin: PresidioPlugin, folder: Path) -> None:
        self._plugin, self._folder = plugin, folder

    @property
    def version(self) -> str:
        return presidio_version()

    @cached_property
    def _built(self) -> Detector:
        return build_presidio(self._plugin, self._folder)

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See Detector, and `build_presidio` for what it raises."""
        return self._built.detect(texts) if texts else []


class GuardedDetector:
    """Somebody else's detector: calls of a bounded size and time, and an answer that fits or an
    error. Its errors never carry text.
    """

    def __init__(self, plugin: PythonPlugin, detector: Detector) -> None:
        self._plugin, self._detector, self._silent = plugin, detector, 0

    @property
    def version(self) -> str:
        return f"{self._plugin.factory} {self._detector.version}"

    def detect(self, texts: Sequence[str]) -> list[list[Span]]:
        """See Detector.

        Raises:
            DetectionError: it failed, or gave anything but a list of spans inside each text.
            BadInputError: it did not answer in time, again and again.
        """
        return [
            spans
            for start in range(0, len(texts), TEXTS_PER_CALL)
            for spans in self._call(texts[start : start + TEXTS_PER_CALL])
        ]

    def _call(self, texts: Sequence[str]) -> list[list[Span]]:
        found = self._in_time(lambda: self._detector.detect(texts), len(texts))
        if not isinstance(found, list) or len(found) != len(texts):
            raise DetectionError(f"{self._plugin.factory} gave no list of {len(texts)} answers")
        for text, spans in zip(texts, found, strict=True):
            if not isinstance(spans, list) or not all(
                isinstance(s, Span) and 0 <= s.start < s.end <= len(text) for s in spans
            ):
                raise DetectionError(
                    f"{self._plugin.factory} gave something that is no list of spans inside its"
                    " text"
                )
        return found

    def _in_time(self, work: Callable[[], Any], n: int) -> Any:
        answer: dict[str, Any] = {}

        def run() -> None:
            try:
                answer["spans"] = work()
            except BaseException as error:  # what it says may quote a text
                answer["error"] = type(error).__name__

        # a daemon: what hangs must not keep the process
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self._plugin.timeout_seconds)
        if thread.is_alive():
            self._silent += 1
            if self._silent >= SILENT_CALLS:
                raise BadInputError(
                    f"policy: detector {self._plugin.factory} did not answer within"
                    f" {self._plugin.timeout_seconds:g} s, {self._silent} times in a row. Is it"
                    " running?"
                )
            raise DetectionError(f"{self._plugin.factory} did not answer about {n} texts in time")
        self._silent = 0
        if "error" in answer:
            raise DetectionError(f"{self._plugin.factory} failed on {n} texts: {answer['error']}")
        return answer["spans"]
