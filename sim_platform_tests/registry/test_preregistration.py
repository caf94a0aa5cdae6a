"""What was decided before outcomes: the chain of records, and what it covers."""

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.registry.home import load_home
from sim_platform.registry.preregistration import (
    FOLDER,
    Record,
    broken,
    coverage,
    differences,
    frozen,
    read_chain,
    register,
    time_stamp,
)
from sim_platform_tests.homes import BEHAVIORS, RECORDED_MODELS, write_home, write_yaml

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_home(tmp_path, n=1)


def now(path: Path, **graders: str) -> dict[str, Any]:
    home = load_home(path)
    return frozen(
        home, "v2", {b.id: graders.get(b.id, f"hash of {b.id}") for b in home.behaviors}, "2"
    )


def make(
    path: Path, minute: int = 0, reason: str | None = None, seen: bool = False, **graders: str
) -> Record:
    return register(
        load_home(path),
        now(path, **graders),
        prior_rates=[],
        reason=reason,
        outcomes_seen=seen,
        now=START + timedelta(minutes=minute),
    )


def test_a_record_is_canonical_json_with_a_hash_that_sha256sum_checks(home: Path) -> None:
    record = make(home)
    assert record.path.name == "0001-v2.json"
    assert json.loads(record.path.read_text()) == record.content
    subprocess.run(
        ["sha256sum", "--check", "--status", f"{record.path.name}.sha256"],
        cwd=home / FOLDER,
        check=True,
    )


def test_a_record_holds_what_decides_and_no_key(home: Path) -> None:
    models = [
        {**RECORDED_MODELS[0]},
        {
            **RECORDED_MODELS[1],
            "provider": "openai",
            "base_url": "http://x/v1",
            "model": "m",
            "api_key_env": "SECRET_KEY",
        },
    ]
    write_yaml(home / "models.yaml", {"models": models})
    content = make(home).content
    assert {
        "behaviors",
        "plan",
        "candidate",
        "replaced",
        "rules",
        "estimator_version",
        "prior_rates",
        "registered_at",
    } <= content.keys()
    assert content["plan"]["salt"] == "r1"
    assert content["rules"]["alpha"] == 0.05
    assert content["behaviors"][0]["grader_hash"] == "hash of apologises"
    assert "SECRET_KEY" not in json.dumps(content)


def test_records_are_chained_and_an_untouched_chain_holds(home: Path) -> None:
    first, second = make(home), make(home, 1, "graders were wrong", apologises="new")
    assert second.content["previous"] == first.sha256
    assert (second.content["kind"], second.content["reason"]) == ("amendment", "graders were wrong")
    assert broken(read_chain(home), {1: first.sha256, 2: second.sha256}) == []


@pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl, which issues the token, is not installed"
)
def test_a_time_stamp_token_of_an_authority_is_known_as_the_records_or_as_another_files(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    record, authority = make(home), tmp_path_factory.mktemp("authority")

    def openssl(*arguments: object) -> None:
        subprocess.run(
            ["openssl", *map(str, arguments)], cwd=authority, check=True, capture_output=True
        )

    (authority / "tsa.cnf").write_text(
        "[tsa]\ndefault_tsa=one\n[one]\nserial=serial\nsigner_cert=cert.pem\nsigner_key=key.pem\ncerts=cert.pem\nsigner_digest=sha256\n"
        "default_policy=1.2.3\ndigests=sha256\n[v3]\nextendedKeyUsage=critical,timeStamping\n[req]\ndistinguished_name=dn\n[dn]\n"
    )
    openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-subj",
        "/CN=test",
        "-config",
        "tsa.cnf",
        "-extensions",
        "v3",
    )
    (authority / "serial").write_text("01")
    token = record.path.with_name(f"{record.path.name}.tsr")
    openssl("ts", "-query", "-data", record.path, "-sha256", "-cert", "-out", "q.tsq")
    openssl("ts", "-reply", "-queryfile", "q.tsq", "-out", token, "-config", "tsa.cnf")
    openssl("ts", "-verify", "-data", record.path, "-in", token, "-CAfile", "cert.pem")
    assert time_stamp(record) == "of this record"
    later = make(home, 1, "graders were wrong", apologises="new")
    assert time_stamp(later) == "none"
    shutil.copy(token, later.path.with_name(f"{later.path.name}.tsr"))
    assert time_stamp(later) == "of another file"


def test_an_amendment_needs_a_reason_and_a_difference(home: Path) -> None:
    make(home)
    with pytest.raises(BadInputError, match="needs a reason"):
        make(home, 1, apologises="new")
    with pytest.raises(BadInputError, match="nothing to amend"):
        make(home, 1, "why not")


def test_the_same_call_again_returns_the_record_that_is_there(home: Path) -> None:
    first = make(home)
    assert make(home, 1) == first
    amended = make(home, 2, "graders were wrong", apologises="new")
    assert make(home, 3, "graders were wrong", apologises="new") == amended
    assert read_chain(home) == [first, amended]


@pytest.mark.parametrize("which", [0, 1])
def test_an_edited_file_is_detected_and_nothing_is_added_to_it(home: Path, which: int) -> None:
    records = [make(home), make(home, 1, "r", apologises="new")]
    path = records[which].path
    path.write_text(path.read_text().replace('"alpha":0.05', '"alpha":0.5'))
    assert any("was edited" in line for line in broken(read_chain(home)))
    with pytest.raises(SimPlatformError, match="chain of pre-registrations is broken"):
        make(home, 2, "more", apologises="newer")


def test_an_edit_that_fixes_the_hash_too_is_detected_by_the_chain_or_the_warehouse(
    home: Path,
) -> None:
    first, last = make(home), make(home, 1, "r", apologises="new")
    for record in (first, last):
        record.path.write_text(record.path.read_text().replace('"alpha":0.05', '"alpha":0.5'))
        changed = next(r for r in read_chain(home) if r.number == record.number)
        record.path.with_name(f"{record.path.name}.sha256").write_text(
            f"{changed.sha256}  {record.path.name}\n"
        )
    assert any("does not follow" in line for line in broken(read_chain(home)))
    assert any(
        "0002-v2.json: differs from the record in the warehouse" in line
        for line in broken(read_chain(home), {2: last.sha256})
    )


def test_a_record_that_was_taken_out_is_missed(home: Path) -> None:
    first, last = make(home), make(home, 1, "r", apologises="new")
    first.path.unlink()
    assert any("record 1 is missing" in line for line in broken(read_chain(home)))
    last.path.unlink()
    assert any("its file is gone" in line for line in broken(read_chain(home), {2: last.sha256}))


def test_a_clock_that_was_set_back_registers_nothing(home: Path) -> None:
    make(home, 10)
    with pytest.raises(SimPlatformError, match="before the last record's"):
        make(home, 5, "r", apologises="new")
    assert len(read_chain(home)) == 1


def test_a_file_that_is_no_record_is_named(home: Path) -> None:
    make(home).path.write_text("{}")
    with pytest.raises(SimPlatformError, match=r"0001-v2\.json"):
        read_chain(home)


def test_what_differs_is_said_in_words(home: Path) -> None:
    before = now(home)
    write_yaml(
        home / "behaviors" / "mentions_weather.yaml", {**BEHAVIORS[1], "definition": "Other."}
    )
    (home / "behaviors" / "apologises.yaml").rename(home / "behaviors" / "says_sorry.yaml")
    write_yaml(home / "behaviors" / "says_sorry.yaml", {**BEHAVIORS[0], "id": "says_sorry"})
    assert differences(before, now(home)) == [
        "behaviour apologises: registered, not graded now",
        "behaviour mentions_weather: definition",
        "behaviour says_sorry: not registered",
    ]


def test_what_is_registered_before_outcomes_is_confirmatory_and_nothing_else(home: Path) -> None:
    records = [make(home)]
    assert coverage(records, now(home)).confirmatory == ("apologises", "mentions_weather")
    changed = coverage(records, now(home, apologises="new"))
    assert (changed.confirmatory, changed.refused) == (("mentions_weather",), ("apologises",))
    records.append(make(home, 1, "after", seen=True, apologises="new"))
    after = coverage(records, now(home, apologises="new"))
    assert (after.confirmatory, after.exploratory, after.refused) == (
        ("mentions_weather",),
        ("apologises",),
        (),
    )


def gate(path: Path, rule: dict[str, Any] | None) -> None:
    changed = {**BEHAVIORS[0], "tier": "gate"} | ({} if rule is None else {"gate": rule})
    write_yaml(path / "behaviors" / "apologises.yaml", changed)


def frozen_at(path: Path, events: float, before: Record | None = None) -> dict[str, Any]:
    home = load_home(path)
    hashes = {b.id: "h" for b in home.behaviors}
    known = {"apologises": events}
    fixed = before.content if before else None
    return frozen(home, "v2", hashes, "2", expected=known, before=fixed)


def registered(path: Path, what: dict[str, Any], minute: int = 0) -> Record:
    return register(
        load_home(path),
        what,
        prior_rates=[],
        reason="again" if minute else None,
        outcomes_seen=False,
        now=START + timedelta(minutes=minute),
    )


def test_an_open_margin_is_registered_as_a_number_that_later_logs_do_not_move(home: Path) -> None:
    gate(home, None)
    record = registered(home, frozen_at(home, 60))
    fixed = record.content["behaviors"][0]["gate"]
    assert (fixed["margin"], fixed["block_above"], fixed["missing_times"]) == (1.5, 1.2, 5.0)
    assert record.content["expected_events"] == {"apologises": 60}
    later = frozen_at(home, 6000, record)
    assert differences(record.content, later) == []
    found = coverage([record], later)
    assert "apologises" in found.confirmatory
    assert found.rules["apologises"].margin == 1.5


@pytest.mark.parametrize(
    ("then", "now_"),
    [
        ({"margin": 3.0}, None),
        (None, {"margin": 3.0}),
        (None, {"missing_times": 2}),
        (None, {"floor_per_100k": 50}),
        ({"margin": 3.0}, {"margin_points": 2}),
        (None, {"block_above": 1.4}),
        ({"against": "recorded"}, None),
    ],
)
def test_a_rule_whose_file_changed_is_not_the_registered_one(
    home: Path, then: dict[str, Any] | None, now_: dict[str, Any] | None
) -> None:
    gate(home, then)
    record = registered(home, frozen_at(home, 60))
    gate(home, now_)
    later = frozen_at(home, 60, record)
    assert differences(record.content, later) == ["behaviour apologises: gate"]
    found = coverage([record], later)
    assert "apologises" not in found.confirmatory
    assert "gate" in found.why["apologises"]


@pytest.mark.parametrize("rule", [None, {"margin": 2.0}, {"block_above": 1.25, "margin": 2.0}])
def test_a_record_from_before_there_were_more_settings_holds_with_its_own_numbers(
    home: Path, rule: dict[str, Any] | None
) -> None:
    """Margin 2 and block above 1.25 were the defaults, and missing outcomes counted at their
    worst.
    """
    gate(home, rule)
    old = frozen_at(home, 6000)
    for name in ("open_settings", "expected_events"):
        del old[name]
    old["behaviors"][0]["gate"] = {
        "against": "control",
        "margin": 2.0,
        "block_above": 1.25,
        "ceiling_per_100k": None,
    }
    record = registered(home, old)
    found = coverage([record], frozen_at(home, 6000, record))
    assert "apologises" in found.confirmatory
    stands = found.rules["apologises"]
    numbers = (stands.margin, stands.block_above, stands.missing_times)
    assert numbers == (2.0, 1.25, "worst")
    gate(home, {**(rule or {}), "missing_times": 5})
    assert "apologises" not in coverage([record], frozen_at(home, 6000, record)).confirmatory


def test_an_exploratory_tier_is_never_confirmatory_and_never_refused(home: Path) -> None:
    records = [make(home)]
    write_yaml(home / "behaviors" / "apologises.yaml", {**BEHAVIORS[0], "tier": "exploratory"})
    assert coverage(records, now(home, apologises="new")).exploratory == ("apologises",)


def test_a_plan_that_changed_makes_everything_exploratory(home: Path) -> None:
    records = [make(home)]
    models = [
        RECORDED_MODELS[0],
        {**RECORDED_MODELS[1], "plan": {"sample_size": 41, "strata": ["surface"], "floor": 5}},
    ]
    write_yaml(home / "models.yaml", {"models": models})
    found = coverage(records, now(home))
    assert (found.changed, found.confirmatory, found.exploratory) == (
        ("plan",),
        (),
        ("apologises", "mentions_weather"),
    )
    assert all("plan (sample_size: 40 registered, 41 now)" in why for why in found.why.values())
    assert differences(records[0].content, now(home)) == [
        "plan (sample_size: 40 registered, 41 now)"
    ]
    models[1] |= {"system_prompt": "Say nothing of this."}
    write_yaml(home / "models.yaml", {"models": models})
    assert differences(records[0].content, now(home))[0] == "candidate (system_prompt)"


def test_a_first_record_after_outcomes_is_exploratory(home: Path) -> None:
    found = coverage([make(home, seen=True)], now(home))
    assert (found.confirmatory, found.exploratory) == ((), ("apologises", "mentions_weather"))
