"""What the engine asks of a provider, and the ways in which an attempt can end
without an outcome.

Belongs here: the protocol and its exceptions. Does not: any provider.
"""

from typing import Protocol

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.replay.requests import Request


class Retryable(Exception):
    """The attempt failed in a way that may pass. `retry_after` is the provider's wish in seconds;
    `cost_usd` and `tokens` are what the unusable response was charged.
    """

    def __init__(
        self, code: str, retry_after: float | None = None, cost_usd: float = 0.0, tokens: int = 0
    ) -> None:
        super().__init__(code)
        self.code, self.retry_after, self.cost_usd, self.tokens = (
            code,
            retry_after,
            cost_usd,
            tokens,
        )


class PermanentFailure(Exception):
    """The request can never succeed as it is: its row fails with this code, without a retry."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class StopRun(SimPlatformError):
    """No request can succeed (wrong key, no such model, provider down): the run stops and keeps the
    outcomes it has.
    """


class RefusedUnasked(StopRun):
    """The endpoint does not take a setting that models.yaml does not ask for. Whoever added
    `setting` ("response_format", "temperature") may ask again without it.
    """

    def __init__(self, message: str, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


class Provider(Protocol):
    """Answers requests. One object serves one run: after `aclose` it is gone."""

    @property
    def endpoint(self) -> str:
        """Where requests go, safe to show: a host, a package."""

    async def complete(self, request: Request) -> Outcome:
        """One attempt, called from many tasks at once. `refused` (provider's filter) and
        `truncated` are outcomes, not errors.

        Raises:
            Retryable, PermanentFailure, StopRun: see there. None of them carries a response body.
        """

    async def aclose(self) -> None:
        """Frees connections, threads and weights."""
