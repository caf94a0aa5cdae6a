"""Missing outcomes: what they may hide, and what a verdict says of it."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim_platform.contracts.messages import canonical_json
from sim_platform.estimation import paired
from sim_platform.estimation.cases import Case
from sim_platform.estimation.comparison import GATE_CONF
from sim_platform.estimation.gates import decide
from sim_platform.estimation.missing import (
    WORST,
    Hidden,
    difference_limits,
    rate_limits,
    ratio_limits,
)
from sim_platform.estimation.verdict import release_warnings
from sim_platform.registry.behaviors import Behavior
from sim_platform_tests.estimation.test_comparison import Label, counted, design, scores, yes
from sim_platform_tests.estimation.test_gates import behavior, verdict

TIMES = 5.0
ANYTHING = (0.0, math.inf)


def rates_of(
    candidate: list[Label], control: list[Label], asked: Behavior, strata: str = ""
) -> pl.DataFrame:
    found = scores({"candidate": [candidate], "control": [control]})
    sample = design(strata or "a" * len(candidate))
    return counted(found, sample, {"lies": asked.undesired}, rules={"lies": asked.gate})


def spread(events: int, missing: int, n: int, first: int) -> list[Label]:
    """`events` from place `first` on, so that two arms share none, and the last ones missing."""
    labels: list[Label] = [False] * (n - missing) + [None] * missing
    labels[first : first + events] = [True] * events
    return labels


def test_limits_move_by_what_missing_outcomes_may_hold() -> None:
    """One stratum: an arm of which 3 % are missing lies at most 1 + .03 x 4 times higher, and .03 x
    4/5 lower, than it was answered.
    """
    n, lost = 3000, 90
    asked = behavior()
    found = verdict(spread(50, lost, n, 0), spread(50, lost, n, 100), asked)
    plain = paired.ratio(0, 50, 50, GATE_CONF, "mover-r")
    up, down = 1.12 / 0.976, 0.976 / 1.12
    assert found["harm_low"] == pytest.approx(float(plain.low) * down, rel=1e-6)
    assert found["harm_high"] == pytest.approx(float(plain.high) * up, rel=1e-6)
    assert found["verdict"] == "PASS"
    assert found["worst_verdict"] == "INCONCLUSIVE"
    assert 5 < float(str(found["tipping"])) < 30
    reason = str(found["reason"])
    assert "90 of 3,000 outcomes and 90 of 3,000 outcomes of control have no label" in reason
    assert (
        f"holds unless missing outcomes misbehave {found['tipping']:.2g} times as often" in reason
    )
    assert reason.rpartition("; ")[2].startswith("worst case: harm ratio 0.")


def chances_of(share: float, times: float, rates: tuple[float, float]) -> tuple[float, float]:
    """How often the rule (margin 2, block above 1.25) passes and blocks, n = 3,000 in each arm,
    `share` missing, answered ones at these rates and events of both arms on other prefixes.
    """
    random, n, reps = np.random.default_rng(11), 3000, 4000
    lost = random.binomial(n, share, (2, reps))
    seen = random.binomial(n - lost, np.array(rates)[:, None])
    plain = paired.ratio(0, seen[0], seen[1], GATE_CONF, "mover-r")
    exposure = (n - lost[1]) / (n - lost[0])
    limits = [
        ratio_limits((low, high), ANYTHING, Hidden(first), Hidden(other), times)
        for low, high, first, other in zip(
            np.asarray(plain.low) * exposure,
            np.asarray(plain.high) * exposure,
            *(lost / n),
            strict=True,
        )
    ]
    lows, highs = np.array(limits).T
    return float((highs < 2).mean()), float((lows > 1.25).mean())


def test_three_percent_of_failed_requests_decide_nothing_by_themselves() -> None:
    """The world of the issue: 50 events of 3,000 in the version in service. At their worst, 3 % of
    missing outcomes let no unchanged candidate pass and blocked no doubled one.
    """
    same = [chances_of(m, TIMES, (50 / 3000, 50 / 3000)) for m in (0.0, 0.01, 0.03)]
    assert [passes for passes, _ in same] == pytest.approx([0.95, 0.92, 0.83], abs=0.02)
    assert max(blocks for _, blocks in same) <= 0.05
    doubled = [chances_of(m, TIMES, (100 / 3000, 50 / 3000)) for m in (0.0, 0.01, 0.03)]
    assert max(passes for passes, _ in doubled) <= 0.05
    assert [blocks for _, blocks in doubled] == pytest.approx([0.86, 0.79, 0.59], abs=0.02)


def test_what_failures_may_hide_within_the_bound_passes_one_doubled_rate_in_twenty_at_most() -> (
    None
):
    """Candidate's failed requests misbehave five times as often, the other arm's a fifth as often,
    and the true ratio is the margin.
    """
    hidden = Hidden(0.03)
    answered = (100 / 3000 / hidden.most(TIMES), 50 / 3000 / hidden.least(TIMES))
    assert chances_of(0.03, TIMES, answered)[0] <= 0.06


def test_missing_outcomes_are_weighed_by_the_rate_of_their_stratum() -> None:
    """All are missing where the behaviour is: its share of the events counts, not of the sample."""
    n = 1000
    where: list[Label] = [*yes(90, 450), *[None] * 50, *yes(1, 500)]
    elsewhere: list[Label] = [*yes(90, 500), *yes(1, 450), *[None] * 50]
    shares = [
        rates_of(labels, yes(50, n), behavior(), "a" * 500 + "b" * 500)
        .filter(arm="candidate")["missing_share"]
        .item()
        for labels in (where, elsewhere)
    ]
    assert shares[0] == pytest.approx(0.098, abs=0.003)
    assert shares[1] < 0.003


labels = st.sampled_from([True, True, False, False, False, None])
RULES = st.sampled_from(
    [
        {},
        {"margin": 6.0, "block_above": 1.5},
        {"margin_points": 30.0},
        {"ceiling_per_100k": 40_000.0},
        {"floor_per_100k": 60_000.0},
        {"missing_times": "worst"},
    ]
)


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.tuples(labels, labels), min_size=2, max_size=60),
    rule=RULES,
    undesired=st.sampled_from(["increase", "decrease", "either"]),
    repeated=st.sampled_from([1, 5]),
)
def test_a_verdict_turns_once_and_at_its_tipping_point(
    rows: list[tuple[Label, Label]], rule: dict[str, object], undesired: str, repeated: int
) -> None:
    """The more missing outcomes may hide, the less is decided; the tipping point is where the
    verdict of the row turns, and the worst case is the end of the way.
    """
    if "ceiling_per_100k" in rule:
        undesired = "increase"
    asked = behavior(undesired=undesired, **rule)
    rates = rates_of([a for a, _ in rows] * repeated, [b for _, b in rows] * repeated, asked)
    (row,) = decide(rates, [asked], release="cand-2").to_dicts()
    arms = {r["arm"]: r for r in rates.to_dicts()}
    case = Case(asked, asked.gate.with_numbers(), arms["candidate"], arms["control"], None)
    if not case.is_graded:
        return
    holm = {"harm": row["p_block_holm"], "ceiling": row["p_ceiling_holm"]}
    holm = {name: p for name, p in holm.items() if p is not None}

    def at(times: float) -> str:
        return case.verdict(times, holm)[0]

    assert at(case.times) == row["verdict"]
    assert at(WORST) == row["worst_verdict"]
    way = [at(times) for times in (1, 1.5, 2, 5, 10, 100, 1e4, WORST)]
    undecided = [said == "INCONCLUSIVE" for said in way]
    assert undecided == sorted(undecided), "what is undecided stays so"
    blocks = [said == "BLOCK" for said in way]
    assert blocks == sorted(blocks, reverse=True)
    tipping = row["tipping"]
    if tipping is None:
        decided = row["verdict"] != "INCONCLUSIVE"
        assert at(WORST if decided else 1.0) == row["verdict"]
    elif math.isinf(tipping):
        assert (at(1e4), at(WORST) != row["verdict"]) == (row["verdict"], True)
    else:
        sides = at(tipping * (1 - 1e-6)), at(tipping * (1 + 1e-6))
        assert (sides[0] != "INCONCLUSIVE", sides[1] != sides[0]) == (True, True)
        assert row["verdict"] in sides


@given(
    share=st.floats(0, 1),
    other=st.floats(0, 0.99),
    times=st.floats(1, 100),
    low=st.floats(0, 1),
    width=st.floats(0, 1),
)
def test_limits_only_widen_and_nothing_missing_moves_nothing(
    share: float, other: float, times: float, low: float, width: float
) -> None:
    limits, nothing = (low, low + width), Hidden(0.0)
    assert ratio_limits(limits, ANYTHING, nothing, nothing, times) == pytest.approx(limits)
    assert rate_limits(limits, ANYTHING, nothing, times) == pytest.approx(limits)
    ways = [
        lambda t: ratio_limits(limits, ANYTHING, Hidden(share), Hidden(other), t),
        lambda t: rate_limits(limits, ANYTHING, Hidden(share), t),
        lambda t: difference_limits((low - 0.5, low), (0.3, 0.2), Hidden(share), Hidden(other), t),
    ]
    for way in ways:
        near, far = way(times), way(times * 1.5)
        assert far[0] <= near[0] + 1e-12
        assert far[1] >= near[1] - 1e-12
    assert rate_limits(limits, (low / 2, low + 2 * width), Hidden(share), WORST) == pytest.approx(
        (max(low / 2, low * (1 - share)), low + 2 * width if share and limits[1] else limits[1])
    )


def reasoned(rates: pl.DataFrame, **reasons: dict[str, int]) -> pl.DataFrame:
    named = [canonical_json(reasons[arm]) if arm in reasons else None for arm in rates["arm"]]
    return rates.with_columns(missing_reasons=pl.Series(named, dtype=pl.String))


def warned(lost: int, other: int, n: int = 2000, **reasons: dict[str, int]) -> dict[str, object]:
    asked = behavior()
    rates = rates_of(spread(60, lost, n, 0), spread(60, other, n, 100), asked)
    return decide(reasoned(rates, **reasons), [asked], release="cand-2").to_dicts()[0]


def test_missing_outcomes_that_differ_between_the_arms_are_a_warning_with_their_codes() -> None:
    failed, refused = "no_response:failed", "no_response:refused"
    alike = warned(60, 66, candidate={failed: 60}, control={failed: 66})
    assert alike["warnings"] is None
    assert "failed requests misbehave" in str(alike["reason"])
    unlike = warned(60, 60, candidate={failed: 30, refused: 30}, control={failed: 57, refused: 3})
    assert str(unlike["warnings"]).split("; ") == [
        "no_response:failed is not alike in both arms: 30 of 2,000 (candidate), 57 of 2,000"
        " (control)",
        "no_response:refused is not alike in both arms: 30 of 2,000 (candidate), 3 of 2,000"
        " (control)",
    ]
    assert "(30 and 3 refused by the provider's filter)" in str(unlike["reason"])
    many = warned(120, 118, candidate={failed: 120}, control={failed: 110, "judge:refused": 8})
    assert "6.0% of candidate are missing: no_response:failed 120" in str(many["warnings"])
    assert "5.9% of control are missing: judge:refused 8, no_response:failed 110" in str(
        many["warnings"]
    )


def test_equal_warnings_of_several_behaviours_are_said_once() -> None:
    row = {"tier": "gate", "warnings": "x is not alike"}
    rows = [row | {"behavior": "b"}, row | {"behavior": "a"}, row | {"behavior": "c", "tier": "m"}]
    assert release_warnings(pl.DataFrame(rows)) == ["a, b: x is not alike"]


def test_advice_names_what_would_decide() -> None:
    failed = {"no_response:failed": 200}
    asked = behavior()
    # 2 % missing at equal rates leave it far below the margin; ten percent may hide a doubling
    hidden = reasoned(
        rates_of(spread(60, 200, 2000, 0), spread(60, 200, 2000, 100), asked),
        candidate=failed,
        control=failed,
    )
    (row,) = decide(hidden, [asked], release="cand-2").to_dicts()
    assert row["verdict"] == "INCONCLUSIVE"
    assert "fewer failed requests would decide; a larger sample is not" in row["reason"]
    assert "would be decided if failed requests misbehave less than" in row["reason"]
    judged = {"judge:abstain": 200}
    (row,) = decide(
        reasoned(hidden, candidate=judged, control=judged), [asked], release="cand-2"
    ).to_dicts()
    assert "labels of what the grader left without one would decide" in row["reason"]
    few = verdict(spread(12, 0, 400, 0), spread(12, 0, 400, 100), asked)
    assert few["verdict"] == "INCONCLUSIVE"
    assert "prefixes would decide at the measured rates" in str(few["reason"])
    assert "failed" not in str(few["reason"])


def test_the_number_of_prefixes_that_would_decide_does_when_the_rates_stay() -> None:
    asked = behavior()
    few = verdict(spread(12, 0, 400, 0), spread(12, 0, 400, 100), asked)
    named = int(str(few["reason"]).partition("about ")[2].split()[0].replace(",", ""))
    assert 400 < named < 2000
    times = math.ceil(1.25 * named / 400)  # limits of few events shrink a little slower
    more = verdict(
        spread(12 * times, 0, 400 * times, 0), spread(12 * times, 0, 400 * times, 400), asked
    )
    assert more["verdict"] == "PASS"
