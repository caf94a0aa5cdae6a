"""Tools as they are offered to a model: functions, and nothing that an endpoint would run itself.

Belongs here: the one form, and what is wrong with another. Does not: which tools are offered
(replay), what a log says of them (extraction), who answers their calls.

A hosted tool (web search, a code interpreter, an MCP server ...) is executed by whoever serves the
model, before any answer comes back: offering one is a live call, whatever is done with the answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from sim_platform.contracts.errors import BadInputError
from sim_platform.contracts.messages import sha256

SHOWN_TYPE = re.compile(r"[A-Za-z0-9_.:-]{1,60}")  # more than a name may be somebody's words


class Function(TypedDict):
    name: str
    description: NotRequired[str]
    parameters: NotRequired[dict[str, Any]]
    strict: NotRequired[bool]


class FunctionTool(TypedDict):
    type: Literal["function"]
    function: Function


@dataclass(frozen=True)
class WrongTool:
    """The first tool of a list that cannot be offered: its index, what is wrong with it, and the
    type of a hosted one (None: it is a function in another form).
    """

    index: int
    what: str
    hosted: str | None = None


def wrong_tool(tools: Sequence[object]) -> WrongTool | None:
    """The first of `tools` that is not a function in the form of Chat Completions."""
    if found := hosted_tool(tools):
        return found
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping):
            return WrongTool(
                index,
                "has no `function: {name, description, parameters}`; that form is written for every"
                " api",
            )
        if not isinstance(function.get("name"), str) or not function["name"]:
            return WrongTool(index, "function has no name")
        if not isinstance(function.get("parameters", {}), Mapping):
            return WrongTool(index, "parameters is not a JSON schema (an object)")
    return None


def hosted_tool(tools: Sequence[object]) -> WrongTool | None:
    """The first of `tools` that is anything but a function, in the form of either api."""
    for index, tool in enumerate(tools):
        kind = tool.get("type") if isinstance(tool, Mapping) else None
        if kind != "function":
            shown = kind if isinstance(kind, str) and SHOWN_TYPE.fullmatch(kind) else "(none)"
            return WrongTool(
                index,
                f"type {shown} is run by the endpoint itself; only type function is offered, whose"
                " calls are recorded and never executed",
                shown,
            )
    return None


def refuse_hosted_tools(body: Mapping[str, Any], whose: str) -> None:
    """BadInputError where a request's body would offer a hosted tool."""
    tools = body.get("tools") or []
    wrong = hosted_tool(tools if isinstance(tools, Sequence) else [tools])
    if wrong:
        raise BadInputError(f"{whose}: tools[{wrong.index}]: {wrong.what}. Nothing was sent.")


def tool_set_hash(tools: Sequence[FunctionTool]) -> str:
    """What identifies a set of definitions: 16 hex digits of their canonical JSON."""
    return sha256(tools)[:16]
