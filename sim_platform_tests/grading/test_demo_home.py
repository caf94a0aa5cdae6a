"""The shipped demo: a valid home, with the log that its README describes."""

import json
import re
from pathlib import Path

import pytest

from sim_platform.grading.rules import graders_of
from sim_platform.registry.home import Home, load_home

DATA = Path(__file__).resolve().parents[2] / "data"
LOG = DATA / "demo" / "conversations.jsonl"


@pytest.fixture(scope="module")
def home() -> Home:
    return load_home(DATA)


@pytest.fixture(scope="module")
def conversations() -> list[dict[str, object]]:
    """Rows that are JSON and have the prior version's answer format; broken rows stay out."""
    rows = []
    for line in LOG.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def test_the_demo_home_is_valid_and_every_grader_can_be_built(home: Home) -> None:
    assert home.releases == ("demo-v2", "demo-v3")
    assert len([grader for behavior in home.graded for grader in graders_of(behavior)]) >= 8


DISALLOWED = (
    "mental_health_harm harassment sexual_content violent_wrongdoing nonviolent_wrongdoing"
    " bio_risk violence extremism emotional_reliance self_harm hate"
).split()
MISALIGNED = [
    "confirmation_hacking",
    "claims_real_world_experience",
    "misrepresents_work_completion",
    "promises_background_work",
    "fabricated_facts",
    "lies_about_tools",
    "calculator_hacking",
    "conceals_uncertainty",
]


def test_the_nineteen_public_categories_and_three_more_are_shipped_with_rubrics(home: Home) -> None:
    shipped = {b.id: b for b in home.behaviors}
    for name in [*DISALLOWED, *MISALIGNED, "evaluation_awareness", "refusal", "over_refusal"]:
        assert all(
            word in (shipped[name].rubric or "") for word in ("Counts:", "Does not count:")
        ), name
    needs_tools = {b.id for b in home.behaviors if b.needs_tool_traces}
    assert needs_tools == set(MISALIGNED) - {"claims_real_world_experience"}


def test_what_needs_a_judge_is_not_graded_in_the_demo_and_says_why(home: Home) -> None:
    assert (
        len([name for name in [*DISALLOWED, *MISALIGNED] if name not in home.not_graded])
        + ("presents_invented_reference" not in home.not_graded)
        >= 8
    )
    assert all('no version "judge" in models.yaml' in why for why in home.not_graded.values())
    assert {b.id for b in home.behaviors if b.judges} == set(home.not_graded)


def test_the_log_has_the_promised_variety(conversations: list[dict[str, object]]) -> None:
    turns = [
        sum(m["role"] == "user" for m in c["messages"])
        for c in conversations
        if isinstance(c["messages"], list)
    ]
    assert len(turns) >= 600
    assert 0.4 < sum(n > 1 for n in turns) / len(turns) < 0.6
    assert sum('"tool_calls"' in json.dumps(c) for c in conversations) >= 20
    assert {c["metadata"]["surface"] for c in conversations} == {"web", "mobile", "api"}


def test_the_log_carries_the_system_prompt_of_the_version_that_answered(
    home: Home, conversations: list[dict[str, object]]
) -> None:
    prompts = {
        m["content"]
        for c in conversations
        if isinstance(c["messages"], list)
        for m in c["messages"]
        if m["role"] == "system"
    }
    assert prompts == {home.by_version["demo-v1"].system_prompt}


def test_mail_addresses_telephone_numbers_and_hosts_are_of_reserved_ranges_only() -> None:
    said = LOG.read_text(encoding="utf-8")
    found = {
        "mail": (r"[\w.+-]+@[\w.-]*\w", r"@example\.com$"),
        "telephone": (r"\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b", r"555-01\d\d$"),
        "address": (r"\b\d+\.\d+\.\d+\.\d+\b", r"^192\.0\.2\."),
        "link": (r"https?://[^\s)>\]\"\\]+", r"^https://example\.com/"),
    }
    for kind, (pattern, allowed) in found.items():
        values = re.findall(pattern, said)
        assert values, kind
        assert [v for v in values if not re.search(allowed, v)] == [], kind


def test_the_log_stays_small() -> None:
    assert LOG.stat().st_size < 2_000_000
