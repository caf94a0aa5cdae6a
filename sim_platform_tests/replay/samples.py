"""Model versions and requests for the replay tests."""

from collections.abc import Callable
from typing import Any

from sim_platform.contracts.messages import Message
from sim_platform.registry.models import ModelVersion
from sim_platform.replay.requests import Request, build_request


def model(**changes: Any) -> ModelVersion:
    values = {
        "version": "x-1",
        "provider": "openai",
        "base_url": "http://127.0.0.1:9/v1",
        "model": "m",
        "concurrency": 8,
        "timeout_seconds": 10,
        "max_retries": 3,
    }
    return ModelVersion.model_validate({**values, **changes})


def request(
    text: str, *, of: ModelVersion | None = None, prefix_id: str | None = None, k: int = 0
) -> Request:
    prefix: list[Message] = [{"role": "user", "content": text}]
    return build_request(
        of or model(),
        arm="candidate",
        prefix_id=prefix_id or f"p-{text}",
        k=k,
        prefix=prefix,
        turn_key=f"t-{text}",
    )


async def no_sleep(seconds: float) -> None:
    """In place of waiting between attempts."""


Sleep = Callable[[float], Any]
