"""From a registered model version to the provider that answers for it.

Belongs here: that choice. Does not: any provider.
"""

from collections.abc import Mapping, Sequence

from sim_platform.registry.models import ModelVersion
from sim_platform.replay.limits import Limits
from sim_platform.replay.providers.local import LocalProvider
from sim_platform.replay.providers.openai import OpenAIProvider
from sim_platform.replay.providers.protocol import Provider
from sim_platform.replay.providers.recorded import RecordedProvider, RecordedResponse


def build_provider(
    model: ModelVersion,
    recorded: Mapping[str, Sequence[RecordedResponse]] | None = None,
    limits: Limits | None = None,
) -> Provider:
    """The provider of `model`; `recorded` (prefix_id to responses; may be filled while it replays)
    serves a version whose provider is recorded.

    Raises:
        BadInputError: a key's variable is missing, or the embedded model is not installed.
    """
    match model.provider:
        case (
            "openai" | "openai_batch"
        ):  # what a batch leaves unanswered, and judges, are asked one by one
            return OpenAIProvider(model, limits)
        case "local":
            return LocalProvider(model)
        case "recorded":
            return RecordedProvider({} if recorded is None else recorded)
