"""The Batch API of an OpenAI-compatible endpoint, through the openai package: files up, batches
made and found again, answers down.

Belongs here: those calls, and what a line of an answer file means. Does not: what is in a batch,
and when (replay.batches, orchestration). No error carries a response body.
"""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from sim_platform.contracts.outcomes import Outcome
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.imports import Line
from sim_platform.replay.providers.address import host_of
from sim_platform.replay.providers.faults import status_outcome
from sim_platform.replay.providers.openai import blocking_client
from sim_platform.replay.providers.protocol import PermanentFailure, Retryable, StopRun
from sim_platform.replay.providers.response import outcome_of
from sim_platform.replay.requests import PATHS, Request

KEY = "sim_platform_key"  # in a batch's metadata: how a crashed submission is found again
OVER = ("completed", "failed", "expired", "cancelled")
WINDOW: Literal["24h"] = "24h"


class MaybeSubmitted(StopRun):
    """The connection ended while a batch was handed over: only the provider's list knows
    whether it arrived.
    """


@dataclass(frozen=True)
class BatchState:
    """What the provider says of a batch. `errors` are codes."""

    status: str
    answered: int
    files: tuple[str, ...]  # of answers and errors
    input_file: str | None
    errors: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        return self.status in OVER


class BatchEndpoint:
    """One endpoint and key. Every method raises StopRun, which names host and status, when the
    provider cannot be reached or refuses.

    `retries`: how often a call that changes nothing is tried again.
    """

    def __init__(self, model: ModelVersion, retries: int = 3) -> None:
        self.host = host_of(model)
        self._version, self._api, self._retries = model.version, model.api, retries
        self._client = blocking_client(model)

    @property
    def url(self) -> str:
        """What each line of an input asks."""
        return f"/v1{PATHS[self._api]}"

    def upload(self, file: Path, key: str) -> str:
        """Uploads an input; returns the file's id."""
        with self._errors(), file.open("rb") as content:
            return str(
                self._client.files.create(file=(f"{key}.jsonl", content), purpose="batch").id
            )

    def make(self, file_id: str, key: str) -> str:
        """Makes the batch of an uploaded input; returns its id.

        Raises:
            MaybeSubmitted: no clear answer, so that it may or may not be there.
        """
        endpoint: Any = self.url
        with self._errors(unanswered=MaybeSubmitted):
            made = self._client.batches.create(
                input_file_id=file_id,
                endpoint=endpoint,
                completion_window=WINDOW,
                metadata={KEY: key},
                extra_headers={"Idempotency-Key": key},
            )
        return str(made.id)

    def find(self, key: str) -> str | None:
        """Id of the batch with this key, if the provider has one."""
        with self._errors():
            return next(
                (
                    str(b.id)
                    for b in self._client.with_options(max_retries=self._retries).batches.list(
                        limit=100
                    )
                    if (b.metadata or {}).get(KEY) == key
                ),
                None,
            )

    def state(self, batch_id: str) -> BatchState:
        with self._errors():
            b = self._client.with_options(max_retries=self._retries).batches.retrieve(batch_id)
        counts = b.request_counts
        return BatchState(
            b.status,
            counts.completed if counts else 0,
            tuple(f for f in (b.output_file_id, b.error_file_id) if f),
            b.input_file_id,
            tuple(
                sorted({str(e.code) for e in (b.errors.data if b.errors and b.errors.data else [])})
            ),
        )

    def download(self, file_id: str, to: Path) -> None:
        """Streams a file to disk (mode 0600): it may be as large as the input."""
        with (
            self._errors(),
            os.fdopen(os.open(to, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file,
            self._client.with_options(
                max_retries=self._retries
            ).files.with_streaming_response.content(file_id) as response,
        ):
            for part in response.iter_bytes():
                file.write(part)

    def remove(self, file_id: str) -> None:
        """Deletes a file at the provider, where it can."""
        with suppress(StopRun), self._errors():
            self._client.files.delete(file_id)

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _errors(self, unanswered: type[StopRun] = StopRun) -> Iterator[None]:
        import openai  # noqa: PLC0415 - heavy

        try:
            yield
        except openai.APIStatusError as error:
            kind = (
                unanswered
                if error.status_code >= 500 or error.status_code in (408, 409)
                else StopRun
            )
            raise kind(
                f"{self._version}: {self.host} answered {error.status_code} to a call of its Batch"
                " API. Check key, quota and base_url; then run the same command again, nothing"
                " that was handed over is lost."
            ) from None
        except openai.OpenAIError as error:
            raise unanswered(
                f"{self._version}: {self.host} did not answer a call of its Batch API"
                f" ({type(error).__name__}). Run the same command again."
            ) from None


def batch_outcomes(model: ModelVersion) -> Callable[[Line, Request], Outcome | str]:
    """What a line of an answer file makes of its request: an outcome at the batch's price, or the
    reason code why it holds none (then the request is asked again).
    """
    factor = model.batch.price_factor
    price = (
        model.price.model_copy(
            update={
                "input_per_mtok": model.price.input_per_mtok * factor,
                "output_per_mtok": model.price.output_per_mtok * factor,
            }
        )
        if model.price
        else None
    )

    def outcome(line: Line, request: Request) -> Outcome | str:
        response = line.response if isinstance(line.response, dict) else {}
        status, body, request_id = (
            response.get("status_code"),
            response.get("body"),
            response.get("request_id"),
        )
        cost, code = 0.0, ""
        try:
            if status == 200:
                return outcome_of(
                    request,
                    body,
                    price=price,
                    latency_s=0.0,
                    provider_request_id=request_id if isinstance(request_id, str) else None,
                )
            return status_outcome(
                model, request, int(status or 0), {}, json.dumps(body).encode(), 0.0
            )
        except Retryable as failure:
            code, cost = failure.code, failure.cost_usd
        except PermanentFailure as failure:
            code = failure.code
        except StopRun:
            return "error_of_the_provider"  # key, quota or model: another batch may fare better
        return replace(
            Outcome(
                request.arm,
                request.prefix_id,
                request.k,
                request.request_hash,
                "failed",
                reason=code,
                cost_usd=cost,
            ),
            completed_at=datetime.now(UTC),
        )

    return outcome
