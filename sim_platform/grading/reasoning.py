"""What a model thought aloud inside of its text, apart from what it answered.

Belongs here: the one rule for that, for graded responses and for judges' answers alike. Does not:
reasoning that a provider returns beside the text (replay), who may see it (judge).

A text that is one JSON document has no reasoning in it: a tag there is part of a quotation.
"""

import json
import re
from contextlib import suppress
from dataclasses import replace

from sim_platform.grading.items import GradedItem

TAG = re.compile(
    r"<(?P<a>/?)(?:think|thinking|thought|reasoning|seed:think)>"
    r"|\[(?P<b>/?)THINK\]|◁(?P<c>/?)think▷",
    re.IGNORECASE,
)
QUOTES = tuple("`\"'“”‘’«»")
# Headers of gpt-oss's messages, and what is left of them where a server strips control tokens.
CHANNEL = re.compile(r"(?:<\|start\|>\w*)?<\|channel\|>\s*(\w+)[^\n]{0,200}?<\|message\|>")
END = re.compile(r"<\|(?:end|return|call|start)\|>")
STRIPPED = re.compile(r"\s*(?:assistant)?analysis")
FINAL = "assistantfinal"
# One of these, in small letters, is in every text that has reasoning in it: looked for first, it
# spares nearly all texts the patterns.
SIGNS = (
    *("think>", "thinking>", "thought>", "reasoning>", "think]", "think▷"),
    *("<|channel|>", FINAL),
)
ONLY_REASONING = "no_response:only_reasoning"


def split_reasoning(text: str) -> tuple[str, str]:
    """Reasoning, and the answer without it; in time linear in the text's length.

    Reasoning is what stands between thinking tags (an opening tag that begins a line and is never
    closed runs to the end), everything before a closing tag that was never opened (templates put
    the opening one into the prompt), and all of gpt-oss's channels but the final one. Tags between
    quotation marks or back-ticks are words.
    """
    small = text.lower()
    if not any(sign in small for sign in SIGNS):
        return "", text
    heads = list(CHANNEL.finditer(text))
    is_stripped = STRIPPED.match(text) is not None and FINAL in text
    if not (heads or is_stripped or TAG.search(text)) or _is_json(text):
        return "", text
    if heads and (not text[: heads[0].start()].strip() or "final" in [head[1] for head in heads]):
        return _final_channel(text, heads)
    if is_stripped:
        before, _, answer = text.partition(FINAL)
        return before.strip(), answer.lstrip()
    return _without_blocks(text)


def answer_of(item: GradedItem) -> GradedItem | None:
    """The item with the answer alone as its text, reasoning moved beside it; None where all of it
    was thought, or the token limit struck before the first word of an answer.
    """
    text = item.text or ""
    reasoning, answer = split_reasoning(text)
    if not (answer.strip() or item.tool_calls or item.refusal) and (
        text.strip() or item.reasoning or item.status == "truncated"
    ):
        return None
    if answer == text:
        return item
    return replace(item, text=answer, reasoning=item.reasoning or reasoning or None)


def _without_blocks(text: str) -> tuple[str, str]:
    thought: list[str] = []
    said: list[str] = []
    at = 0  # where what is not placed yet begins
    opened: re.Match[str] | None = None
    for tag in TAG.finditer(text):
        around = text[max(0, tag.start() - 1) : tag.start()], text[tag.end() : tag.end() + 1]
        if all(beside in QUOTES for beside in around):
            continue
        if not any(tag.groups()):
            if opened is None:
                said.append(text[at : tag.start()])
                at, opened = tag.start(), tag
        elif opened is not None:
            thought.append(text[opened.end() : tag.start()])
            at, opened = tag.end(), None
        else:  # never opened: what was taken for the answer was thought
            thought += [*said, text[at : tag.start()]]
            said, at = [], tag.end()
    if opened is not None and not text[: opened.start()].rpartition("\n")[2].strip():
        thought.append(text[opened.end() :])
        at = len(text)
    said.append(text[at:])
    if not thought:
        return "", text
    return "\n".join(filter(None, (part.strip() for part in thought))), "".join(said).lstrip()


def _final_channel(text: str, heads: list[re.Match[str]]) -> tuple[str, str]:
    """All messages of the final channel; without one there is no answer."""
    ends = [head.start() for head in heads[1:]] + [len(text)]
    thought = [END.split(text[: heads[0].start()], maxsplit=1)[0].strip()]
    said: list[str] = []
    for head, end in zip(heads, ends, strict=True):
        body = END.split(text[head.end() : end], maxsplit=1)[0].strip()
        (said if head[1] == "final" else thought).append(body)
    return "\n".join(filter(None, thought)), "\n".join(said)


def _is_json(text: str) -> bool:
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            json.loads(text)
            return True
    return False
