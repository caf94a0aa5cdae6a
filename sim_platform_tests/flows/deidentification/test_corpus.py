"""De-identification of a home: known accounts, workers, k-anonymity, the second look, quarantine,
rotation, effect.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.tables.deidentification import (
    Canaries,
    DeidAudits,
    DeidentificationEffect,
    DeidentifiedCorpus,
    StrataSuppression,
)
from sim_platform.contracts.tables.extraction import Erasures, QuarantinedRows
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table
from sim_platform.deidentification.deidentify import account_key, keyed_hash
from sim_platform.deidentification.detectors import stack_detector
from sim_platform.deidentification.spans import Span
from sim_platform.flows import vault
from sim_platform.flows.deidentification import corpus as deidentification_flow
from sim_platform.flows.deidentification.corpus import DeidentificationSummary, deidentify_extract
from sim_platform.flows.deidentification.effect import measure_effect
from sim_platform.flows.deidentification.known_accounts import known_values_are_absent
from sim_platform.flows.erasure import forget
from sim_platform.flows.extraction import extract_log
from sim_platform.flows.vault import keys_for_a_run, rotate_account_key, vault_key
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile, GateError
from sim_platform.warehouse.gates import (
    A_SECOND_DETECTOR_FINDS_LITTLE,
    EVERY_STRATUM_HAS_ENOUGH_USERS,
    NO_FORGOTTEN_USER_SURVIVES,
    SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING,
)
from sim_platform_tests.homes import RULES_ALONE, conversation, write_home, write_yaml
from sim_platform_tests.running import EmailDetector

Run = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def no_shadows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deidentification_flow, "SHADOWS", 0)


def configured(home: Path, **settings: Any) -> Path:
    sources = yaml.safe_load((home / "sources.yaml").read_text())
    write_yaml(home / "sources.yaml", sources | {"deidentification": settings})
    return home


def files(home: Path) -> tuple[DuckDBFile, DuckDBFile]:
    return DuckDBFile(home / "vault.duckdb"), DuckDBFile(home / "warehouse.duckdb")


def deidentified(home: Path, detector: Any = None, second: Any = None) -> DeidentificationSummary:
    loaded, (raw, warehouse), used = load_home(home), files(home), detector or EmailDetector()
    extract_log(loaded, raw, warehouse, now=datetime.now(UTC), advance=lambda _: None)
    return deidentify_extract(
        loaded, raw, warehouse, used, lambda: second or EmailDetector(), advance=lambda _: None
    )


def stored(home: Path, table: type[Table]) -> pl.DataFrame:
    return DuckDBFile(home / "warehouse.duckdb").read(table)


def said(text: str, n: int = 8, **changes: Any) -> list[dict[str, Any]]:
    return [
        conversation(
            i,
            v,
            messages=[
                {"role": "user", "content": text},
                {"role": "assistant", "content": "Sorry."},
            ],
            **changes,
        )
        for v in ("v1", "v2")
        for i in range(n)
    ]


# Known accounts


def accounts(home: Path, **changes: Any) -> Path:
    rows = "".join(f"user-{i},Qu{'abcdefgh'[i]}ndel Zwrf,{i}\n" for i in range(8))
    (home / "accounts.csv").write_text(f"user_id,full_name,tier\n{rows}somebody,Else,1\n")
    return configured(
        home, accounts={"file": "accounts.csv", "columns": {"full_name": "PERSON"}}, **changes
    )


def test_the_accounts_file_masks_what_no_detector_finds_and_a_change_does_those_conversations_again(
    tmp_path: Path,
) -> None:
    home = accounts(write_home(tmp_path, rows=said("it is quandel, quBNDEL and Zwrf")))
    assert deidentified(home).done == 16
    texts = dict(stored(home, DeidentifiedCorpus).select("user_key", "messages").iter_rows())
    raw, _ = files(home)
    keys = keys_for_a_run(raw)
    assert "quandel" not in texts[account_key(keys, "user-0")]
    assert "quBNDEL" in texts[account_key(keys, "user-0")], (
        "somebody else's name is for the detectors"
    )
    assert all("Zwrf" not in text for text in texts.values())
    assert raw.query("select count(distinct user_id) as n from account_values")["n"][0] == 8, (
        "an account without a conversation is not kept"
    )
    assert deidentified(home).done == 0
    (home / "accounts.csv").write_text(
        (home / "accounts.csv").read_text().replace("user-3,", "user-3,New ")
    )
    assert deidentified(home).done == 2


def test_what_metadata_says_of_the_account_holder_is_known(tmp_path: Path) -> None:
    home = configured(
        write_home(
            tmp_path,
            rows=said("yours, xandrov", metadata={"customer": "Xandrov", "surface": "web"}),
        ),
        account_metadata={"customer": "PERSON"},
    )
    deidentified(home)
    assert all(
        "xandrov" not in (m + p).casefold()
        for m, p in stored(home, DeidentifiedCorpus).select("messages", "metadata").iter_rows()
    )


def test_the_join_on_the_stored_corpus_sees_a_value_that_came_back(tmp_path: Path) -> None:
    home = accounts(write_home(tmp_path, rows=said("hello quandel")))
    deidentified(home)
    raw, warehouse = files(home)
    secret, loaded = vault_key(raw), load_home(home)

    def check() -> Any:
        return known_values_are_absent(
            loaded, raw, warehouse, lambda c: keyed_hash(secret, "conversation", c)
        )

    assert check().passed
    assert check().facts["n_with_known_values"] == 16
    with warehouse.transaction() as tx:
        tx.execute(
            "update deidentified_corpus set messages = replace(messages, 'hello', 'hello ZWRF')"
        )
    assert check().facts["n_bad"] == 16


@pytest.mark.parametrize(
    ("content", "says"),
    [("a,b\n1,2\n", "no column user_id, full_name"), (None, "cannot be read as CSV or Parquet")],
)
def test_an_accounts_file_that_does_not_fit_is_named(
    content: str | None, says: str, tmp_path: Path
) -> None:
    home = accounts(write_home(tmp_path))
    (home / "accounts.csv").unlink()
    if content:
        (home / "accounts.csv").write_text(content)
    with pytest.raises(BadInputError, match=says):
        deidentified(home)


def test_forgetting_takes_known_values_and_originals_of_strata_out_of_the_vault(
    tmp_path: Path,
) -> None:
    home = accounts(write_home(tmp_path, rows=said("hello")), k=100)
    deidentified(home)
    assert forget(load_home(home), ["user-3"]).survivors == []
    raw, _ = files(home)
    assert "user-3" not in set(raw.query("from account_values")["user_id"])
    assert len(raw.query("from strata_originals")) == 14


# Strata


def surfaces(home: Path) -> list[str]:
    return sorted(json.loads(m)["surface"] for m in stored(home, DeidentifiedCorpus)["metadata"])


def test_a_stratum_that_too_few_people_share_is_suppressed_and_comes_back_with_more_of_them(
    tmp_path: Path,
) -> None:
    def rows(n_fax: int) -> list[dict[str, Any]]:
        return [
            conversation(
                i, "v1", metadata={"surface": "fax" if i < n_fax else "web", "temporary": False}
            )
            for i in range(40)
        ]

    home = configured(write_home(tmp_path, rows=rows(4)), k=5)
    deidentified(home)
    assert set(surfaces(home)) == {"(rare)"}, (
        "four faxes cannot hide among themselves: the next class joins them"
    )
    write_home(tmp_path, rows=rows(6))
    configured(home, k=5)
    deidentified(home)
    assert surfaces(home) == ["fax"] * 6 + ["web"] * 34
    assert stored(home, StrataSuppression)["n_suppressed"].to_list() == [0]


def test_what_is_suppressed_is_a_crowd_and_its_mass_is_reported(tmp_path: Path) -> None:
    kinds = ["web"] * 20 + ["app"] * 15 + ["fax"] * 3 + ["telex"] * 4
    home = configured(
        write_home(
            tmp_path,
            rows=[
                conversation(i, "v1", metadata={"surface": s, "temporary": False})
                for i, s in enumerate(kinds)
            ],
        ),
        k=6,
    )
    deidentified(home)
    assert surfaces(home) == ["(rare)"] * 7 + ["app"] * 15 + ["web"] * 20
    report = stored(home, StrataSuppression).to_dicts()[0]
    assert report == {
        "strata_columns": '["surface"]',
        "k": 6,
        "n_conversations": 42,
        "n_suppressed": 7,
        "n_users": 42,
        "n_users_suppressed": 7,
        "n_classes": 2,
        "n_classes_suppressed": 2,
        "smallest_class": 7,
    }


def test_the_size_of_a_stratum_is_counted_in_people_not_in_conversations(tmp_path: Path) -> None:
    rows = [
        conversation(
            i,
            "v1",
            user_id=f"u{i % 3}" if i < 20 else f"w{i}",
            metadata={"surface": "fax" if i < 20 else "web", "temporary": False},
        )
        for i in range(40)
    ]
    home = configured(write_home(tmp_path, rows=rows), k=4)
    deidentified(home)
    assert "fax" not in surfaces(home)


def test_the_gate_on_strata_counts_for_itself(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    deidentified(home)
    _, warehouse = files(home)
    assert EVERY_STRATUM_HAS_ENOUGH_USERS.check(warehouse.query).passed
    with warehouse.transaction() as tx:
        tx.execute(
            """update deidentified_corpus set metadata = '{"surface":"fax"}'
               where user_key = (select min(user_key) from deidentified_corpus)"""
        )
    assert EVERY_STRATUM_HAS_ENOUGH_USERS.check(warehouse.query).facts["n_bad"] == 1


# Second look and quarantine


class Words:
    version = "words"

    def __init__(self, *words: str) -> None:
        self.words = words

    def detect(self, texts: Any) -> list[list[Span]]:
        return [
            [
                Span(i, i + len(w), "PERSON", 1.0, "words")
                for w in self.words
                if (i := t.find(w)) >= 0
            ]
            for t in texts
        ]


class Moody(EmailDetector):
    """Finds a word the first time only."""

    def __init__(self) -> None:
        self.calls = 0

    def detect(self, texts: Any) -> list[list[Span]]:
        self.calls += 1
        return Words("hello").detect(texts) if self.calls == 1 else [[] for _ in texts]


def test_the_second_look_counts_what_stayed(tmp_path: Path) -> None:
    home = configured(
        write_home(tmp_path, rows=said("hello Quentin, mail q@corp.de")), audit_share=1.0
    )
    deidentified(home, second=Words("Quentin", "q@corp.de"))
    counts = {
        (r["measure"], r["type"]): (r["n"], r["n_bad"]) for r in stored(home, DeidAudits).to_dicts()
    }
    assert counts["second_detector", "PERSON"] == (32, 16), (
        "the address was masked, the name was not"
    )
    assert counts["determinism", "conversations"] == (16, 0)
    assert counts["idempotence", "characters"][1] == 0
    _, warehouse = files(home)
    assert A_SECOND_DETECTOR_FINDS_LITTLE.check(warehouse.query).facts["n_bad"] == 16
    assert SCANNING_AGAIN_FINDS_NEXT_TO_NOTHING.check(warehouse.query).passed


def test_a_detector_that_answers_differently_the_second_time_stores_nothing(tmp_path: Path) -> None:
    home = configured(write_home(tmp_path, rows=said("hello there")), audit_share=1.0)
    with pytest.raises(GateError, match="deidentification_is_deterministic"):
        deidentified(home, detector=Moody())
    assert stored(home, DeidentifiedCorpus).is_empty()


def test_more_than_two_percent_in_quarantine_fail_the_run_and_keep_what_is_done(
    run: Run, detector: EmailDetector, tmp_path: Path
) -> None:
    home = write_home(tmp_path)
    detector.fail_on = "bicycles"
    with pytest.raises(SimPlatformError, match="the log assets failed"):
        run(home)
    assert len(stored(home, QuarantinedRows)) + len(stored(home, DeidentifiedCorpus)) == 114
    assert stored(home, StratifiedSample).is_empty()


# Workers


def by_key(home: Path) -> dict[str, tuple[Any, ...]]:
    columns = [
        "conversation_key",
        "user_key",
        "metadata",
        "content_key",
        "n_chars",
        "n_chars_masked",
        "deid_version",
    ]
    return {row[0]: row[1:] for row in stored(home, DeidentifiedCorpus).select(columns).iter_rows()}


def test_pasted_reset_links_and_passwords_like_addresses_stop_nothing(tmp_path: Path) -> None:
    """Each has a secret of the shape of an e-mail address."""
    pasted = (
        "open https://acme-portal.io/reset?token=8f3a9c2b7d1e4f60&email=jane.roe@corp-mail.io",
        "password: Winter2024@corp-mail.io does not work",
        "open https://x/reset?token=abc123def456&email=jane.roe@corp-mail.io",
        "api_key=sk-live-4f9a8b7c6d5e4f3a2b1c@db.corp-mail.io:5432",
    )
    rows = [row for text in pasted for row in said(text, n=1, metadata={})]
    for i, row in enumerate(rows):
        row["conversation_id"] = f"pasted-{i}"
    write_yaml(tmp_path / "rules.yaml", RULES_ALONE)
    home = write_home(tmp_path, rows=[*rows, *(conversation(i, metadata={}) for i in range(20))])
    done = deidentified(home, stack_detector("rules.yaml", home))
    assert (done.done, done.quarantined) == (28, 0)
    text = "".join(stored(home, DeidentifiedCorpus)["messages"])
    assert not re.search("8f3a9c|Winter2024|corp-mail|jane|abc123|4f9a8b7c", text)


def test_two_workers_make_the_corpus_that_one_process_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sim_platform.deidentification.detectors import stack_detector

    monkeypatch.setattr(deidentification_flow, "BATCH", 16)
    home = write_home(tmp_path, rows=said("hello Rachel Smith, mail q@corp.de", 40))
    write_yaml(home / "rules.yaml", RULES_ALONE)
    settings = {"policy": "rules.yaml", "audit_share": 0.0}
    configured(home, **settings)
    deidentified(home, stack_detector("rules.yaml", home))
    alone = by_key(home)
    (home / "warehouse.duckdb").unlink()
    configured(home, **settings, workers=2)
    deidentified(home, stack_detector("rules.yaml", home))
    assert by_key(home) == alone
    assert all(masked > 0 for *_, masked, _ in alone.values())


SLOW = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from sim_platform.flows.deidentification import corpus as flow
from sim_platform.flows.extraction import extract_log
from sim_platform.deidentification.detectors import stack_detector
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
if __name__ == "__main__":
    flow.SHADOWS, flow.BATCH = 0, 4
    home = load_home(Path(sys.argv[1]))
    vault, warehouse = DuckDBFile(home.vault), DuckDBFile(home.warehouse)
    extract_log(home, vault, warehouse, now=datetime.now(UTC), advance=lambda _: None)
    detector = stack_detector(home.sources.deidentification.policy, home.path)
    done = {"advance": lambda _: None}
    flow.deidentify_extract(home, vault, warehouse, detector, lambda: detector, **done)
"""


class Slow:
    version = "slow"

    def detect(self, texts: Any) -> list[list[Span]]:
        time.sleep(2)  # a call: a batch, so that there is time to kill
        return [[] for _ in texts]


def slow_detector() -> Slow:
    return Slow()


@pytest.mark.e2e
def test_a_killed_run_leaves_no_worker_behind_and_the_next_one_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    home = write_home(tmp_path / "home", rows=said("hello", 40))
    write_yaml(
        home / "slow.yaml",
        RULES_ALONE | {"detectors": [{"kind": "python", "factory": f"{__name__}:slow_detector"}]},
    )
    configured(home, policy="slow.yaml", workers=2, audit_share=0.0)
    (tmp_path / "slow.py").write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "slow.py"), str(home)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    deadline = time.monotonic() + 300
    done = 0
    while not done and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
        done = len(stored(home, DeidentifiedCorpus)) if (home / "warehouse.duckdb").exists() else 0
    children = [
        int(p) for p in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert done
    assert len(children) >= 2
    while any(_alive(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(_alive(child) for child in children)
    before = stored(home, DeidentifiedCorpus)
    assert 0 < len(before) < 76
    configured(home, policy="slow.yaml", audit_share=0.0)
    from sim_platform.deidentification.detectors import stack_detector

    summary = deidentified(home, stack_detector("slow.yaml", home))
    assert (summary.already_done, summary.done) == (len(before), 76 - len(before)), (
        "two in 34 are excluded"
    )


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Rotation


def test_a_rotated_key_hashes_every_account_anew_and_nothing_else_changes(
    run: Run, tmp_path: Path
) -> None:
    home = write_home(tmp_path, n=24)
    forget(load_home(home), ["user-1"])
    run(home)
    raw, warehouse = files(home)
    before = {
        table: stored(home, table).sort("conversation_key")
        for table in (DeidentifiedCorpus, StratifiedSample)
    }
    answers = stored(home, CandidateCompletions)
    assert rotate_account_key(raw, warehouse) > 20
    for table, rows in before.items():
        after = stored(home, table).sort("conversation_key")
        assert after.drop("user_key").equals(rows.drop("user_key"))
        assert set(after["user_key"]).isdisjoint(rows["user_key"])
        assert after["user_key"].n_unique() == rows["user_key"].n_unique(), "clusters stay"
    run(home)
    assert stored(home, CandidateCompletions).sort(pl.all()).equals(answers.sort(pl.all())), (
        "nothing was asked again"
    )
    assert "user-1" not in {
        row["user_id"] for row in raw.query("from consented_log_extract").to_dicts()
    }, "the tombstone still holds"
    assert NO_FORGOTTEN_USER_SURVIVES.check(warehouse.query).passed
    assert forget(load_home(home), ["user-2"]).conversations == 2, (
        "erasure finds people under the new key"
    )
    old = {key.encode() for key in before[DeidentifiedCorpus]["user_key"]}
    assert not any(
        key in (home / name).read_bytes()
        for name in ("vault.duckdb", "warehouse.duckdb")
        for key in old
    )


@pytest.mark.parametrize("after", ["the key is pending", "the warehouse changed"])
def test_an_interrupted_rotation_holds_runs_back_until_it_is_finished(
    after: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_home(tmp_path)
    deidentified(home)
    raw, warehouse = files(home)
    with raw.transaction() as tx:
        tx.append(
            Erasures, pl.DataFrame({"user_key": ["f" * 32], "forgotten_at": [datetime.now(UTC)]})
        )
    rehash, calls = vault._rehash, 0

    def interrupted(*arguments: Any) -> int:
        nonlocal calls
        calls += 1
        if calls == (1 if after == "the key is pending" else 2):
            raise KeyboardInterrupt
        return rehash(*arguments)

    monkeypatch.setattr(vault, "_rehash", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rotate_account_key(raw, warehouse)
    with pytest.raises(SimPlatformError, match="rotate-key"):
        deidentified(home)
    monkeypatch.setattr(vault, "_rehash", rehash)
    rotate_account_key(raw, warehouse)
    keys = keys_for_a_run(raw)
    assert len(keys.accounts) == 1
    assert set(stored(home, DeidentifiedCorpus)["user_key"]) == {
        account_key(keys, f"user-{i}") for i in range(60) if i % 17 != 16
    }
    assert deidentified(home).done == 0


def test_a_batch_that_was_hashed_under_the_old_key_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = write_home(tmp_path)
    monkeypatch.setattr(deidentification_flow, "epoch_of", lambda _: 1)
    with pytest.raises(SimPlatformError, match="rotated while"):
        deidentified(home)
    assert stored(home, DeidentifiedCorpus).is_empty()


# Effect


def test_the_effect_on_rates_is_counted_pair_by_pair_and_only_numbers_are_stored(
    run: Run, detector: EmailDetector, tmp_path: Path
) -> None:
    """The detector takes "Sorry" for a name in the answers of one conversation in four."""
    home = write_home(tmp_path)

    def detect(texts: Any) -> list[list[Span]]:
        return Words("Sorry").detect(texts)

    detector.detect = detect  # type: ignore[method-assign]  # a detector that is wrong on purpose
    run(home)
    rows = {row["behavior"]: row for row in stored(home, DeidentificationEffect).to_dicts()}
    kept = [i for i in range(60) if i % 17 != 16]
    apologies = sum(i % 4 == 0 for i in kept)
    assert (
        rows["apologises"]["n"],
        rows["apologises"]["n_appeared"],
        rows["apologises"]["n_vanished"],
    ) == (len(kept), 0, apologies)
    assert rows["apologises"]["shift"] == pytest.approx(-apologies / len(kept))
    assert (
        rows["apologises"]["shift_low"]
        < rows["apologises"]["shift"]
        < rows["apologises"]["shift_high"]
        < 0
    )
    assert rows["mentions_weather"]["shift"] == 0
    loaded, (raw, warehouse) = load_home(home), files(home)
    assert measure_effect(loaded, raw, warehouse, "v2", sample=10)["n"].max() == 10


def test_without_a_corpus_the_effect_says_what_to_run(tmp_path: Path) -> None:
    home = write_home(tmp_path)
    loaded, (raw, warehouse) = load_home(home), files(home)
    with pytest.raises(SimPlatformError, match="sim-platform run v2"):
        measure_effect(loaded, raw, warehouse, "v2")


# Silence


SECRET = "zoe.quandeltorp@private.test"


def test_no_file_of_a_home_holds_a_users_text_after_runs_that_failed(
    run: Run,
    detector: EmailDetector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """A detector, a grader, the store and the leak scan fail while they hold the text, each in a
    run of its own.
    """
    from sim_platform.flows.deidentification import batch as deidentification_batch
    from sim_platform.grading import scores as grading

    home = write_home(tmp_path, rows=said(f"I am {SECRET}", 20))
    history = Path(os.environ["DAGSTER_HOME"])

    def bursts(*arguments: Any, **_: Any) -> Any:
        raise RuntimeError(f"cannot handle {SECRET} in {arguments}")

    said_so: list[str] = []
    for target, name in (
        (detector, "detect"),
        (deidentification_batch, "reserved_range_leaks"),
        (deidentification_flow, "_quarantine"),
        (grading, "graders_of"),
    ):
        with monkeypatch.context() as failing:
            failing.setattr(target, name, bursts)
            try:
                said_so += run(home)
            except SimPlatformError as error:
                said_so.append(str(error))
    assert len(said_so) >= 4
    printed = capfd.readouterr()
    assert "quandeltorp" not in ("\n".join(said_so) + printed.out + printed.err).casefold()
    for file in [
        p
        for root in (home, history)
        for p in root.rglob("*")
        if p.is_file() and p.parent.name != "logs" and not p.name.startswith("vault")
    ]:
        assert b"quandeltorp" not in file.read_bytes().lower(), file
    assert stored(home, Canaries).is_empty()
