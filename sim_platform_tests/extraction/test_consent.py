import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.extraction.consent import LEDGER, UTC_TIME, decide, read_ledger

START = datetime(2024, 1, 1, tzinfo=UTC)
Grant = tuple[str, int, int | None]  # user, day of the grant, day of the revocation


def day(n: int) -> datetime:
    return START + timedelta(days=n)


def ledger(grants: list[Grant], scope: str = "use") -> pl.DataFrame:
    rows = [
        (user, scope, day(granted), None if revoked is None else day(revoked))
        for user, granted, revoked in grants
    ]
    return pl.DataFrame(rows, schema=LEDGER, orient="row")


def reasons(
    asked: list[tuple[str, int]], grants: list[Grant], now: int, scope: str = "use"
) -> list[str | None]:
    rows = pl.DataFrame(
        [(user, day(n)) for user, n in asked],
        schema={"user_id": pl.String, "started_at": UTC_TIME},
        orient="row",
    )
    return decide(rows, ledger(grants), scope, day(now)).to_list()


@pytest.mark.parametrize(
    ("started", "now", "grants", "expected"),
    [
        (5, 9, [("u", 5, None)], None),
        (4, 9, [("u", 5, None)], "no_consent_at_the_time"),
        (5, 9, [("u", 1, 5)], "no_consent_at_the_time"),
        (4, 9, [("u", 1, 5)], "consent_revoked"),
        (4, 5, [("u", 1, 5)], "consent_revoked"),
        (3, 4, [("u", 1, 5)], None),
        (5, 9, [("other", 1, None)], "no_consent_record"),
        (5, 9, [], "no_consent_record"),
        (3, 9, [("u", 1, 4), ("u", 6, None)], None),
        (5, 9, [("u", 1, 4), ("u", 6, None)], "no_consent_at_the_time"),
        (5, 9, [("u", 1, 5), ("u", 5, None)], None),
        (3, 9, [("u", 1, None), ("u", 2, 6)], "consent_revoked"),
        (5, 9, [("u", 5, 5)], "no_consent_at_the_time"),
        (3, 9, [("u", 1, None), ("u", 5, 5)], "consent_revoked"),
        (3, 4, [("u", 1, None), ("u", 8, 9)], None),
    ],
)
def test_consent_must_hold_at_the_time_and_now(
    started: int, now: int, grants: list[Grant], expected: str | None
) -> None:
    assert reasons([("u", started)], grants, now) == [expected]


def test_consent_to_another_purpose_is_no_consent() -> None:
    assert reasons([("u", 5)], [("u", 1, None)], 9, scope="research") == ["no_consent_record"]


def test_no_rows_give_no_reasons() -> None:
    assert reasons([], [("u", 1, None)], 9) == []


USERS = st.sampled_from("abc")
GRANTS = st.lists(
    st.tuples(USERS, st.integers(0, 8), st.none() | st.integers(0, 4)).map(
        lambda g: (g[0], g[1], None if g[2] is None else g[1] + g[2])
    ),
    max_size=8,
)
ASKED = st.lists(st.tuples(USERS | st.just("unknown"), st.integers(0, 12)), max_size=8)
NOW = st.integers(0, 14)


def consents_by_the_book(user: str, at: int, grants: list[Grant]) -> bool:
    """Some grant had begun and no revocation has come since: the rule of the module's docstring,
    one row at a time.
    """
    begun = [
        granted
        for who, granted, revoked in grants
        if who == user and granted <= at and granted != revoked
    ]
    ended = [
        revoked
        for who, _, revoked in grants
        if who == user and revoked is not None and revoked <= at
    ]
    return bool(begun) and (not ended or max(begun) >= max(ended))


@given(asked=ASKED, grants=GRANTS, now=NOW)
def test_decisions_are_those_of_the_rule_read_one_row_at_a_time(
    asked: list[tuple[str, int]], grants: list[Grant], now: int
) -> None:
    expected = []
    for user, started in asked:
        known, then, today = (
            any(g[0] == user for g in grants),
            consents_by_the_book(user, started, grants),
            consents_by_the_book(user, now, grants),
        )
        expected.append(
            "no_consent_record"
            if not known
            else "no_consent_at_the_time"
            if not then
            else "consent_revoked"
            if not today
            else None
        )
    assert reasons(asked, grants, now) == expected


@given(asked=ASKED, grants=GRANTS, now=NOW, seed=st.randoms())
def test_the_order_of_the_ledger_and_of_the_rows_changes_nothing(
    asked: list[tuple[str, int]], grants: list[Grant], now: int, seed: random.Random
) -> None:
    before = dict(zip(asked, reasons(asked, grants, now), strict=True))
    seed.shuffle(asked)
    seed.shuffle(grants)
    assert dict(zip(asked, reasons(asked, grants, now), strict=True)) == before


@given(asked=ASKED, grants=GRANTS, now=NOW, granted=st.integers(0, 12))
def test_a_further_grant_never_takes_consent_away_and_a_further_revocation_never_gives_it(
    asked: list[tuple[str, int]], grants: list[Grant], now: int, granted: int
) -> None:
    before, with_grant, with_revocation = (
        reasons(asked, more, now)
        for more in (grants, [*grants, ("a", granted, None)], [*grants, ("a", granted, granted)])
    )
    assert all(after is None for was, after in zip(before, with_grant, strict=True) if was is None)
    assert all(
        was is None for was, after in zip(before, with_revocation, strict=True) if after is None
    )


@given(asked=ASKED, now=NOW)
def test_who_is_not_in_the_ledger_has_not_consented(asked: list[tuple[str, int]], now: int) -> None:
    assert set(reasons(asked, [("someone else", 0, None)], now)) <= {"no_consent_record"}


def test_a_ledger_is_read_with_times_in_utc(tmp_path: Path) -> None:
    path = tmp_path / "consent.csv"
    path.write_text(
        "\ufeffuser_id,scope,granted_at,revoked_at,note\nu1,use,2024-01-01T02:00:00+02:00,,x\n\nu2,use,2024-01-01,2024-01-03T00:00:00Z,\n",
        encoding="utf-8",
    )
    assert read_ledger(path).rows() == [("u1", "use", day(0), None), ("u2", "use", day(0), day(2))]


@pytest.mark.parametrize("text", ["", "user_id,scope,granted_at,revoked_at\n"])
def test_an_empty_ledger_is_one_in_which_nobody_consents(text: str, tmp_path: Path) -> None:
    path = tmp_path / "consent.csv"
    path.write_text(text)
    read = read_ledger(path)
    assert read.is_empty()
    rows = pl.DataFrame(
        {"user_id": ["u"], "started_at": [day(1)]},
        schema={"user_id": pl.String, "started_at": UTC_TIME},
    )
    assert decide(rows, read, "use", day(2)).to_list() == ["no_consent_record"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("user_id,scope,granted_at\n", "consent.csv: columns missing: revoked_at"),
        (
            "user_id,scope,granted_at,revoked_at\nu,use,2024-01-01,\nu,use,soon,\n",
            "consent.csv line 3: granted_at is not an ISO 8601 time",
        ),
        (
            "user_id,scope,granted_at,revoked_at\nu,use,2024-01-01,never\n",
            "consent.csv line 2: revoked_at is not an ISO 8601 time",
        ),
        (
            "user_id,scope,granted_at,revoked_at\nu,use,2024-01-02,2024-01-01\n",
            "consent.csv line 2: revoked_at is before granted_at",
        ),
        (
            "user_id,scope,granted_at,revoked_at\n,use,2024-01-02,\n",
            "consent.csv line 2: user_id is empty",
        ),
        (
            "user_id,scope,granted_at,revoked_at\nu,use,2024-01-02\n",
            "consent.csv line 2: 3 fields, the header has 4",
        ),
    ],
)
def test_a_mistake_in_the_ledger_is_named_by_line_and_column(
    body: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "consent.csv"
    path.write_text(body)
    with pytest.raises(BadInputError) as error:
        read_ledger(path)
    assert message in str(error.value)
    assert "soon" not in str(error.value)


def test_a_ledger_that_is_missing_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be opened"):
        read_ledger(tmp_path / "consent.csv")
    (tmp_path / "consent.csv").write_bytes(b"user_id,scope,granted_at,revoked_at\n\xff\xfe,use,,\n")
    with pytest.raises(BadInputError, match="not a CSV file in UTF-8"):
        read_ledger(tmp_path / "consent.csv")
