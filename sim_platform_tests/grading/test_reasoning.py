"""What was thought is not what was answered: for rules, trained graders, moderation and judges."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.grading.items import GradedItem, Verdict
from sim_platform.grading.judge import read_answers
from sim_platform.grading.moderation import moderation_body
from sim_platform.grading.reasoning import answer_of, split_reasoning
from sim_platform.registry.models import ModelVersion
from sim_platform_tests.grading.samples import graded, response

ENDED = "<|end|><|start|>assistant"
FRAMES = {
    "tags": "<think>{r}</think>{a}",
    "tags on lines": "<think>\n{r}\n</think>\n\n{a}",
    "other tags": "<thinking>{r}</thinking>\n{a}",
    "upper case": "[THINK]{r}[/THINK]{a}",
    "no opening tag": "{r}\n</think>\n\n{a}",
    "no opening tag, on one line": "{r}</think>{a}",
    "after an empty block": "<think>\n\n</think>\n{r}</think>{a}",
    "two blocks": "<think>{r}</think><think>{r}</think>{a}",
    "channels": "<|channel|>analysis<|message|>{r}" + ENDED + "<|channel|>final<|message|>{a}",
    "channels to their end": "<|start|>assistant<|channel|>analysis<|message|>{r}"
    + ENDED
    + "<|channel|>final<|message|>{a}<|return|>",
    "channels without a first header": "{r}" + ENDED + "<|channel|>final<|message|>{a}",
    "a call between": "<|channel|>analysis<|message|>{r}"
    + ENDED
    + "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{{}}<|call|>"
    + "<|start|>assistant<|channel|>final<|message|>{a}",
    "control tokens taken out": "analysis{r}assistantfinal{a}",
}
ALL_REASONING = {
    "never closed": "<think>{r}",
    "nothing after it": "<think>{r}</think>\n",
    "no opening tag": "{r}</think>",
    "an empty block": "<think>\n\n</think>",
    "one channel": "<|channel|>analysis<|message|>{r}",
    "channels without a final one": "<|channel|>analysis<|message|>{r}"
    + ENDED
    + "<|channel|>commentary to=functions.f<|message|>{{}}<|call|>",
}
SORRY = {"kind": "contains", "any": ["sorry"]}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_rules_read_the_answer_and_not_the_reasoning(frame: str) -> None:
    assert graded(response(frame.format(r="I am sorry.", a="Fine.")), SORRY) == Verdict(False)
    assert graded(response(frame.format(r="Fine.", a="I am sorry.")), SORRY) == Verdict(True)
    reasoning, answer = split_reasoning(frame.format(r="why", a="what"))
    assert "why" in reasoning
    assert answer == "what"


@pytest.mark.parametrize("frame", ALL_REASONING.values(), ids=ALL_REASONING)
@pytest.mark.parametrize("negate", [False, True])
def test_an_answer_that_is_all_reasoning_is_missing_and_never_a_no(
    frame: str, negate: bool
) -> None:
    said = graded(response(frame.format(r="I am sorry.")), {**SORRY, "negate": negate})
    assert said == Verdict(None, "no_response:only_reasoning")


@pytest.mark.parametrize(
    "item",
    [
        response("", reasoning="long thoughts"),
        response(None, reasoning="long thoughts"),
        response("", status="truncated"),
    ],
    ids=["beside an empty text", "beside none", "cut before the first word"],
)
def test_reasoning_beside_an_empty_text_is_no_answer(item: GradedItem) -> None:
    assert graded(item, SORRY) == Verdict(None, "no_response:only_reasoning")


def test_a_tool_call_or_a_refusal_after_reasoning_is_an_answer() -> None:
    call = [{"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}]
    assert graded(response("<think>sorry</think>", tool_calls=call), SORRY) == Verdict(False)
    assert graded(response("", reasoning="r", refusal="I will not."), SORRY) == Verdict(False)
    assert graded(response(""), SORRY) == Verdict(False), "an empty text alone is what was logged"


@pytest.mark.parametrize(
    "text",
    [
        "Close the block with `</think>` and write on.",
        'It ends at "</think>", I am told.',
        "`<think>` opens it, `</think>` closes it.",
        "a <think> b",
        '{"note": "x </think> y"}',
        "Write <|channel|>analysis<|message|> for that.",
        "analysis is what it is",
        "plain",
        "",
    ],
)
def test_words_about_tags_are_words(text: str) -> None:
    assert split_reasoning(text) == ("", text)


PIECES = ["<think>", "</think>", "[THINK]", "<|channel|>final<|message|>", "<|end|>", "a b", "\n"]


@given(
    pieces=st.lists(st.sampled_from([*PIECES, "<|channel|>analysis<|message|>", '"']), max_size=9)
)
def test_any_text_is_split_without_inventing_words(pieces: list[str]) -> None:
    text = "".join(pieces)
    reasoning, answer = split_reasoning(text)
    assert (reasoning + answer).count("a b") <= text.count("a b")
    answered = answer_of(response(text))
    assert answered is None or (answered.text or "").strip() or not text.strip()


@pytest.mark.parametrize("piece", ["<think>", "</think>", "x</think>", "[", '{"a":', "<|start|>a"])
def test_the_time_grows_with_the_length(piece: str) -> None:
    started = time.perf_counter()
    split_reasoning(piece * (500_000 // len(piece)))
    assert time.perf_counter() - started < 3


def test_a_moderation_endpoint_is_asked_about_the_answer() -> None:
    model = ModelVersion.model_validate({"version": "m", "provider": "local"})
    assert moderation_body(model, response("<think>a</think>b"))["input"] == "b"


YES = json.dumps({"a": {"evidence": "e", "rationale": "r", "score": 0.9, "label": True}})
DRAFT = json.dumps({"a": {"evidence": "", "rationale": "a draft", "score": 0.1, "label": False}})


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("thought", ["Let me see.", f"Perhaps {DRAFT}, no.", "It says {x: 1}."])
def test_a_verdict_after_reasoning_is_read(frame: str, thought: str) -> None:
    assert read_answers(frame.format(r=thought, a=YES), ["a"])["a"].label is True


@pytest.mark.parametrize("frame", ALL_REASONING.values(), ids=ALL_REASONING)
def test_a_verdict_that_was_only_thought_is_none(frame: str) -> None:
    assert read_answers(frame.format(r=DRAFT), ["a"])["a"].missing_reason == "judge:empty"


def test_a_tag_in_the_evidence_does_not_end_anything() -> None:
    said = json.dumps({"a": {"evidence": "so </think> then", "label": True}})
    assert read_answers(said, ["a"])["a"].label is True
