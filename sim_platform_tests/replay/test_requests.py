import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import Message
from sim_platform.contracts.tools import tool_set_hash, wrong_tool
from sim_platform.registry.models import Settings
from sim_platform.replay.requests import Request, as_responses, build_request
from sim_platform_tests.replay.samples import model

LOG: list[Message] = [
    {"role": "system", "content": "log system"},
    {"role": "developer", "content": "log developer"},
    {"role": "user", "content": "one"},
    {"role": "user", "content": [{"type": "text", "text": "two"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "c", "content": "result"},
    {"role": "system", "content": "in the middle"},
    {"role": "user", "content": "three \ud800 \u2028"},
]


def build(
    prefix: list[Message] = LOG,
    *,
    k: int = 0,
    prefix_id: str = "p",
    turn_key: str = "t",
    **changes: object,
) -> Request:
    return build_request(
        model(**changes),
        arm="candidate",
        prefix_id=prefix_id,
        k=k,
        prefix=prefix,
        turn_key=turn_key,
    )


def test_keep_sends_the_messages_of_the_log_unchanged() -> None:
    assert build().body == {"model": "m", "messages": LOG}


def test_a_system_prompt_replaces_only_the_leading_system_and_developer_messages() -> None:
    assert build(system_prompt="mine").body["messages"] == [
        {"role": "system", "content": "mine"},
        *LOG[2:],
    ]
    assert build(LOG[2:], system_prompt="mine").body["messages"] == [
        {"role": "system", "content": "mine"},
        *LOG[2:],
    ]
    assert build(system_prompt="").body["messages"] == LOG[2:]


def test_only_settings_that_are_set_are_sent() -> None:
    assert build(settings={"temperature": 0, "max_tokens": 5, "stop": ["x"]}).body == {
        "model": "m",
        "messages": LOG,
        "temperature": 0.0,
        "max_tokens": 5,
        "stop": ["x"],
    }


def test_every_prefix_and_repeat_is_a_draw_of_its_own() -> None:
    draws = [
        build(prefix_id=p, k=k, settings=s)
        for p in ("p", "q")
        for k in range(3)
        for s in ({}, {"seed": 7})
    ]
    assert len({d.request_hash for d in draws}) == 12
    assert len({d.body["seed"] for d in draws if "seed" in d.body}) == 6


def test_a_draw_is_the_same_in_every_arm_and_release() -> None:
    first, second = (build(version=v, settings={"seed": 7}) for v in ("control", "candidate"))
    assert first.request_hash == second.request_hash


def test_equal_requests_without_randomness_are_one_request() -> None:
    assert (
        len(
            {
                build(prefix_id=p, k=k, settings={"temperature": 0, "seed": 7}).request_hash
                for p in ("p", "q")
                for k in range(2)
            }
        )
        == 1
    )


def test_the_hash_changes_with_everything_that_decides_the_response_and_with_nothing_else() -> None:
    same = [
        build(),
        build(turn_key="u"),
        build(version="other"),
        build(api_key_env="KEY"),
        build(concurrency=2),
    ]
    assert len({r.request_hash for r in same}) == 1
    other = [
        build(LOG[:3]),
        build(model="n"),
        build(base_url="http://127.0.0.1:8/v1"),
        build(system_prompt="mine"),
        build(settings={"top_p": 0.5}),
    ]
    assert len({r.request_hash for r in [*same, *other]}) == 1 + len(other)


def test_a_recorded_request_is_identified_by_version_turn_and_prefix() -> None:
    recorded = {"provider": "recorded", "base_url": None, "model": None}
    requests = [
        build(**recorded),
        build(version="other", **recorded),
        build(turn_key="u", **recorded),
        build(prefix_id="q", **recorded),
    ]
    assert len({r.request_hash for r in requests}) == 4


@given(st.text())
def test_the_repr_of_a_request_holds_no_user_text(text: str) -> None:
    marked = f"secret-of-a-user {text}"
    assert "secret-of-a-user" not in repr(build([{"role": "user", "content": marked}]))


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
HOSTED = [
    {"type": "mcp", "server_url": "https://tools.example/sse", "require_approval": "never"},
    {"type": "web_search"},
    {"type": "code_interpreter", "container": {"type": "auto"}},
    {"type": "Function", "function": {"name": "f"}},
    {"type": ["function"], "function": {"name": "f"}},
    {"function": {"name": "f"}},
    {"type": "a user's words"},
    "web_search",
    None,
]


@pytest.mark.parametrize("hosted", HOSTED)
@pytest.mark.parametrize("api", ["chat_completions", "responses"])
def test_no_request_that_offers_a_hosted_tool_can_be_made(hosted: object, api: str) -> None:
    tools = [TOOL, hosted]
    smuggled = Settings.model_construct(tools=tools)  # past every validation
    version = model(api=api).model_copy(update={"settings": smuggled})
    with pytest.raises(BadInputError, match=r"settings: tools\[1\]: type \S+ is run by"):
        build_request(version, arm="candidate", prefix_id="p", k=0, prefix=LOG, turn_key="t")
    with pytest.raises(BadInputError, match=r"m: tools\[1\]: type .* Nothing was sent"):
        Request("candidate", "p", 0, {"model": "m", "tools": tools}, "h")
    with pytest.raises(BadInputError, match=r"tools\[1\]"):
        as_responses({"model": "m", "messages": LOG, "tools": tools})
    wrong = wrong_tool(tools)
    assert wrong is not None
    assert (wrong.index, "user" in wrong.what) == (1, False)


def test_functions_are_offered_in_the_form_of_either_api() -> None:
    chat = build(settings={"tools": [TOOL]}).body
    assert chat["tools"] == [TOOL]
    flat = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    assert build(settings={"tools": [TOOL]}, api="responses").body["tools"] == [flat]
    assert as_responses({**chat, "tools": [flat]})["tools"] == [flat]


def test_what_a_function_says_of_itself_makes_no_hosted_tool_of_it() -> None:
    """The Responses endpoint has the function's keys beside the type."""
    disguised = {"type": "function", "function": {"name": "f", "type": "mcp"}}
    assert as_responses({"messages": LOG, "tools": [disguised]})["tools"] == [
        {"type": "function", "name": "f"}
    ]


def test_a_tool_set_is_known_by_its_definitions_and_not_by_the_order_of_their_keys() -> None:
    other = dict(reversed(TOOL.items()))
    assert tool_set_hash([TOOL]) == tool_set_hash([other])  # type: ignore[list-item]  # plain dicts
    assert tool_set_hash([TOOL]) != tool_set_hash([TOOL, TOOL])  # type: ignore[list-item]  # the same
