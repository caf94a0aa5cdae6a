"""From the extract to the rates: what a rerun does, what it costs, and what it never does."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from sim_platform.contracts.errors import BadInputError, SimPlatformError
from sim_platform.contracts.outcomes import Outcome
from sim_platform.contracts.tables.deidentification import Canaries, DeidentifiedCorpus
from sim_platform.contracts.tables.estimation import RateComparison, ReleaseGate
from sim_platform.contracts.tables.extraction import ExtractionAccounting, QuarantinedRows
from sim_platform.contracts.tables.forecasting import RateForecast
from sim_platform.contracts.tables.grading import ClassifierScores
from sim_platform.contracts.tables.replay import CandidateCompletions
from sim_platform.contracts.tables.sampling import StratifiedSample
from sim_platform.contracts.tables.schema import Table
from sim_platform.flows.comparison import compare_release, decide_release
from sim_platform.flows.deidentification import corpus as deidentification_flow
from sim_platform.flows.forecasting import forecast_release
from sim_platform.flows.replay.arm import replay_arm
from sim_platform.flows.report import write_report
from sim_platform.flows.results import status
from sim_platform.flows.sampling import sample_release, size_of_sample
from sim_platform.orchestration.assets import deidentification
from sim_platform.orchestration.assets.deidentification import deidentified_corpus
from sim_platform.orchestration.assets.extraction import consented_log_extract
from sim_platform.orchestration.assets.sampling import stratified_sample
from sim_platform.orchestration.partitions import register
from sim_platform.orchestration.resources import Deployment
from sim_platform.registry.home import load_home
from sim_platform.replay.journal import Journal
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.conftest import ROOT
from sim_platform_tests.deidentification.corpora import RulesOnly
from sim_platform_tests.homes import RECORDED_MODELS, conversation, write_home, write_yaml
from sim_platform_tests.replay.scripted_server import ScriptedServer
from sim_platform_tests.running import EmailDetector

Run = Callable[..., list[str]]
FOLDERS = {"hh_rlhf": "hh_rlhf_harmless_test", "tau_bench": "tau_bench"}


def stored(home: Path, table: type[Table]) -> pl.DataFrame:
    return DuckDBFile(home / "warehouse.duckdb").read(table)


def test_a_recorded_release_gives_back_the_rates_of_the_log(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path, n=60)
    run(home, sample_size=1000)
    rates = {(r["behavior"], r["arm"]): r for r in stored(home, RateComparison).to_dicts()}
    kept = [i for i in range(60) if i % 17 != 16]
    candidate, recorded = rates["apologises", "candidate"], rates["apologises", "recorded"]
    assert candidate["rate"] == pytest.approx(sum(i % 2 == 0 for i in kept) / len(kept))
    assert recorded["rate"] == pytest.approx(sum(i % 4 == 0 for i in kept) / len(kept))
    assert candidate["low"] < candidate["rate"] < candidate["high"]
    assert candidate["ratio_to_recorded"] == pytest.approx(candidate["rate"] / recorded["rate"])
    assert candidate["ratio_to_control"] is None
    assert rates["mentions_weather", "candidate"]["n"] == sum(i % 2 == 0 for i in kept)


def test_a_second_run_changes_nothing_and_sends_nothing(run: Run, home: Path) -> None:
    before = {
        t: stored(home, t)
        for t in (
            DeidentifiedCorpus,
            StratifiedSample,
            CandidateCompletions,
            ClassifierScores,
            RateComparison,
        )
    }
    run(home)
    for table, rows in before.items():
        keys = rows.columns
        assert stored(home, table).sort(keys).equals(rows.sort(keys)), table


def test_every_stage_accounts_for_its_rows(home: Path) -> None:
    coverage = DuckDBFile(home / "warehouse.duckdb").query("from pipeline_coverage")
    assert coverage["n_unaccounted"].to_list() == [0] * len(coverage)
    assert coverage["stage"].to_list() == [
        "extraction",
        "deidentification",
        "sampling",
        "replay: candidate",
        "grading: candidate",
        "grading: recorded",
        "estimation: candidate",
        "estimation: recorded",
    ]


def test_checks_that_looked_at_nothing_pass_and_say_so(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path, n=12)
    sources = yaml.safe_load((home / "sources.yaml").read_text())
    write_yaml(home / "sources.yaml", sources | {"deidentification": {"audit_share": 0.0}})
    said = run(home)
    (line,) = [one for one in said if one.startswith("checks that looked at nothing: deidentified")]
    unseen = [
        "deidentification_is_deterministic",
        "scanning_again_finds_next_to_nothing",
        "a_second_detector_finds_little",
    ]
    for name in unseen:
        assert name in line
        (record,) = dg.DagsterInstance.get().event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(dg.AssetKey("deidentified_corpus"), name), limit=1
        )
        assert record.event
        evaluation = record.event.dagster_event.asset_check_evaluation_data  # type: ignore[union-attr]
        assert evaluation.passed
        assert evaluation.metadata["vacuous"].value is True
        assert evaluation.description == "looked at nothing: it passed and says nothing"
        assert name.replace("_", " ") in (home / "reports" / "v2.html").read_text()
    assert set(unseen) <= set(status(load_home(home))["looked_at_nothing"])


def test_the_published_copy_has_every_table_and_no_account_keys(home: Path) -> None:
    columns = DuckDBFile(home / "published.duckdb").query(
        "select table_name, column_name from information_schema.columns"
    )
    assert {
        "rate_comparison",
        "rates_by_model_version",
        "deidentified_corpus",
        "quarantined_rows",
    } <= set(columns["table_name"])
    assert "user_key" not in set(columns["column_name"])


def test_raw_text_stays_in_the_vault(run: Run, tmp_path: Path) -> None:
    home = write_home(
        tmp_path,
        rows=[
            conversation(i, v, messages=[{"role": "user", "content": f"I am zoe{i}@private.test"}])
            for v in ("v1", "v2")
            for i in range(8)
        ],
    )
    run(home)
    for file in [
        p
        for p in home.rglob("*")
        if p.is_file() and p.parent.name != "logs" and not p.name.startswith("vault")
    ]:
        assert b"@private.test" not in file.read_bytes(), file
        assert b"user-3" not in file.read_bytes(), file
    assert (home / "vault.duckdb").stat().st_mode & 0o777 == 0o600


def test_a_conversation_that_the_detector_cannot_read_is_quarantined_whole_and_the_rest_goes_on(
    run: Run, detector: EmailDetector, tmp_path: Path
) -> None:
    home = write_home(tmp_path)
    detector.fail_on = "number 7."
    said = run(home)
    quarantined = stored(home, QuarantinedRows)
    assert quarantined["stage"].to_list() == ["deidentification"] * 2
    assert not any("number 7" in str(value) for value in (*quarantined["reason"], *said))
    assert len(stored(home, DeidentifiedCorpus)) == 114 - 2
    assert stored(home, ExtractionAccounting).filter(disposition="extracted")["n"].sum() == 114


def test_a_new_detector_version_does_the_corpus_again(
    run: Run, detector: EmailDetector, home: Path
) -> None:
    first = stored(home, DeidentifiedCorpus)["deid_version"].unique().to_list()
    detector.version = "emails-2"
    run(home)
    second = stored(home, DeidentifiedCorpus)
    assert len(second) == 114
    assert second["deid_version"].unique().to_list() != first


def test_conversations_that_left_the_extract_leave_the_corpus(
    run: Run, home: Path, tmp_path: Path
) -> None:
    first = stored(home, StratifiedSample)
    write_home(tmp_path, n=30)
    deployment = Deployment(home_dir=str(home))
    dg.materialize(
        [consented_log_extract, deidentified_corpus],
        instance=dg.DagsterInstance.get(),
        resources={"deployment": deployment},
    )
    corpus = stored(home, DeidentifiedCorpus)
    assert len(corpus) == 58
    gone = first.join(corpus, on="conversation_key", how="anti")["prefix_id"]
    assert len(gone) > 0
    assert (
        stored(home, CandidateCompletions)
        .filter(pl.col("prefix_id").is_in(gone.implode()))
        .is_empty()
    )
    assert [
        len(stored(home, table)) for table in (StratifiedSample, ClassifierScores, RateComparison)
    ] == [0, 0, 0]
    run(home)
    assert len(stored(home, StratifiedSample)) == 29


def test_a_release_without_production_rows_says_what_to_do(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path, rows=[conversation(1, "v2")])
    said = "\n".join(_failing(run, home))
    assert "stratified_sample" in said
    assert "v1" in said
    assert stored(home, CandidateCompletions).is_empty()


def _failing(run: Run, home: Path) -> list[str]:
    said = run(home)
    assert stored(home, RateComparison).is_empty()
    return said


def openai_models(server: ScriptedServer, **changes: object) -> list[dict[str, object]]:
    live = {
        "provider": "openai",
        "base_url": server.url,
        "model": "m",
        "concurrency": 4,
        "max_retries": 1,
    }
    plan = {"sample_size": 30, "floor": 1}
    return [
        {**RECORDED_MODELS[0], **live, "settings": {"seed": 1}},
        {
            "version": "v2",
            "replaces": "v1",
            **live,
            "settings": {"seed": 1, "temperature": 0.5},
            "plan": plan,
            **changes,
        },
        {
            "version": "v3",
            "replaces": "v1",
            **live,
            "settings": {"seed": 1, "temperature": 0.6},
            "plan": plan,
        },
    ]


def test_a_control_that_another_release_paid_for_is_reused(run: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        home = write_home(tmp_path, models=openai_models(server))
        run(home, "v2")
        assert server.requests.total() == 60
        run(home, "v3")
        assert server.requests.total() == 90
    control = stored(home, CandidateCompletions).filter(model_version="v3", arm="control")
    assert control["reused_from"].unique().to_list() == ["v2"]
    assert control["cost_usd"].sum() == 0


def test_a_changed_setting_is_never_taken_for_done(run: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        home = write_home(tmp_path, models=openai_models(server))
        run(home, "v2")
        write_yaml(
            home / "models.yaml",
            {"models": openai_models(server, settings={"seed": 1, "temperature": 0.9})},
        )
        run(home, "v2")
        assert server.requests.total() == 90  # the candidate again, the control not
    assert len(stored(home, CandidateCompletions)) == 60


def test_a_larger_sample_pays_only_for_what_is_new(run: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        home = write_home(tmp_path, models=openai_models(server))
        run(home, "v2", sample_size=10)
        run(home, "v2", sample_size=25, redraw=True)
        assert server.requests.total() == 50
    assert len(stored(home, StratifiedSample)) == 25


def decision(home: Path) -> list[dict[str, object]]:
    return stored(home, ReleaseGate).drop("earlier_sample").to_dicts()


def test_the_size_of_a_sample_is_remembered_by_every_way_to_draw_it_again(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer() as server:
        home = write_home(tmp_path, models=openai_models(server))
        run(home, "v2", sample_size=10)
        decided = decision(home)
        run(home, "v2", only_sample=True)
        run(home, "v2")
        assert server.requests.total() == 20
        for wanted in (25, 30):
            with pytest.raises(BadInputError, match=f"drawn at 10 prefixes, and now {wanted}"):
                run(home, "v2", sample_size=wanted, only_sample=True)
    loaded = load_home(home)
    warehouse = DuckDBFile(loaded.warehouse)
    sample_release(loaded, warehouse, "v2")  # as Dagster does it
    with pytest.raises(BadInputError, match="--sample-size 10"):
        sample_release(loaded, warehouse, "v2", 25)
    assert len(stored(home, StratifiedSample)) == 10
    assert decision(home) == decided


def test_a_plan_of_another_size_is_no_reason_to_draw_without_asking(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer() as server:
        models = openai_models(server)
        home = write_home(tmp_path, models=models)
        run(home, "v2", sample_size=10)
        models[1]["plan"]["sample_size"] = 20
        write_yaml(home / "models.yaml", {"models": models})
        with pytest.raises(BadInputError, match="drawn at 10 prefixes, and now 20 are"):
            run(home, "v2")
        run(home, "v2", sample_size=10)  # to say so once is enough
        run(home, "v2")
        assert server.requests.total() == 20


def test_what_was_decided_stays_marked_until_the_new_sample_is_complete(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer() as server:
        home = write_home(tmp_path, models=openai_models(server))
        run(home, "v2", sample_size=10)
        decided, page = decision(home), (home / "reports" / "v2.html").read_text()
        run(home, "v2", sample_size=25, redraw=True, only_sample=True)
        assert len(stored(home, StratifiedSample)) == 25
        assert decision(home) == decided
        for table in (RateComparison, ReleaseGate, RateForecast):
            assert stored(home, table)["earlier_sample"].unique().to_list() == [10], table
        loaded = load_home(home)
        warehouse = DuckDBFile(loaded.warehouse)
        with pytest.raises(SimPlatformError, match="earlier sample of 10 prefixes"):
            write_report(loaded, "v2")
        for makes in (decide_release, forecast_release):
            with pytest.raises(SimPlatformError, match="earlier sample of 10 prefixes"):
                makes(loaded, warehouse, "v2")
        with pytest.raises(SimPlatformError, match="no outcome of its sample is graded yet"):
            compare_release(loaded, warehouse, "v2", advance=lambda _: None)
        assert (home / "reports" / "v2.html").read_text() == page
        run(home, "v2", max_tokens=30)  # and a run that stops on its way
        assert decision(home) == decided
        run(home, "v2")
        assert server.requests.total() == 50
    assert decision(home) != decided
    for table in (RateComparison, ReleaseGate, RateForecast):
        assert stored(home, table)["earlier_sample"].null_count() == len(stored(home, table))


def test_a_sample_of_before_sizes_were_kept_keeps_its_rows_and_its_size(
    run: Run, tmp_path: Path
) -> None:
    home = write_home(tmp_path, n=30)
    run(home, "v2", sample_size=10)
    loaded, warehouse = load_home(home), DuckDBFile(home / "warehouse.duckdb")
    with warehouse.transaction() as tx:
        tx.execute("update stratified_sample set asked_size = null, planned_size = null")
    before = stored(home, StratifiedSample)
    assert size_of_sample(loaded, warehouse, "v2").wanted == 10
    run(home, "v2")
    assert stored(home, StratifiedSample).equals(before)


def test_a_run_stops_at_its_own_limit_keeps_what_it_paid_for_and_the_next_one_goes_on(
    run: Run, tmp_path: Path
) -> None:
    with ScriptedServer() as server:
        home = write_home(tmp_path, models=openai_models(server))
        said = "\n".join(run(home, "v2", max_tokens=300))
        assert "max_tokens" in said
        sent = server.requests.total()
        assert 0 < sent < 60
        assert stored(home, CandidateCompletions)["status"].to_list() == ["completed"] * sent
        run(home, "v2")
        assert server.requests.total() == 60
    assert len(stored(home, CandidateCompletions)) == 60


def test_what_a_killed_run_left_in_the_journal_is_not_sent_again(run: Run, tmp_path: Path) -> None:
    with ScriptedServer() as server:
        home = write_home(tmp_path, models=openai_models(server))
        run(home, "v2")
        warehouse = DuckDBFile(home / "warehouse.duckdb")
        rows = warehouse.read(CandidateCompletions, {"arm": "candidate"}).head(12).to_dicts()
        with warehouse.transaction() as tx:
            tx.execute("delete from candidate_completions where arm = 'candidate'")
        with Journal(home / "journal" / "v2.candidate.jsonl") as journal:
            for row in rows:
                row["tool_calls"], row["labels"] = (
                    json.loads(row["tool_calls"]),
                    json.loads(row["labels"]),
                )
                journal.append(
                    Outcome(**{name: row[name] for name in Outcome.__dataclass_fields__})
                )
        sent = server.requests.total()
        loaded = load_home(home)
        candidate, _ = loaded.release("v2")
        summary = replay_arm(
            loaded, warehouse, candidate, candidate, "candidate", advance=lambda _: None
        )
        assert (summary.recovered, summary.already_done, server.requests.total() - sent) == (
            12,
            12,
            18,
        )
    assert len(stored(home, CandidateCompletions)) == 60


def test_an_unknown_release_is_named_with_the_ones_there_are(run: Run, tmp_path: Path) -> None:
    home = write_home(tmp_path)
    with pytest.raises(BadInputError, match=r'"v7" is not in the registry \(releases: v2\)'):
        load_home(home).release("v7")


def test_production_is_what_the_version_answered_while_it_was_deployed(
    run: Run, tmp_path: Path
) -> None:
    models = yaml.safe_load(yaml.safe_dump(RECORDED_MODELS))
    models[0]["deployed"] = {"from": "2026-03-01", "until": "2026-04-30"}
    home = write_home(tmp_path, models=models)
    run(home, sample_size=1000)
    weeks = stored(home, StratifiedSample).join(
        stored(home, DeidentifiedCorpus).select("conversation_key", "week"), on="conversation_key"
    )["week"]
    assert {w.month for w in weeks} <= {3, 4}


def test_an_unfinished_corpus_is_no_population(run: Run, home: Path) -> None:
    before = stored(home, StratifiedSample)
    register(dg.DagsterInstance.get(), ("v2",))
    with DuckDBFile(home / "warehouse.duckdb").transaction() as tx:
        tx.execute(
            "delete from deidentified_corpus where conversation_key = (select min(conversation_key)"
            " from deidentified_corpus)"
        )
    result = dg.materialize(
        [stratified_sample],
        partition_key="v2",
        instance=dg.DagsterInstance.get(),
        resources={"deployment": Deployment(home_dir=str(home))},
        raise_on_error=False,
    )
    assert not result.success
    assert stored(home, StratifiedSample).sort("prefix_id").equals(before.sort("prefix_id"))


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("example", "rows_in", "recorded"),
    [("hh_rlhf", 4624, {}), ("tau_bench", 200, {"task_solved": 0.42})],
)
def test_public_logs_run_to_the_end(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    real_data: Path,
    example: str,
    rows_in: int,
    recorded: dict[str, float],
) -> None:
    """Multi-turn conversations and tool calls, converted, through every stage; names are left to
    the tests that load spaCy.
    """
    monkeypatch.setattr(deidentification, "stack_detector", lambda *_: RulesOnly())
    home = tmp_path / example
    shutil.copytree(
        ROOT / "examples" / example,
        home,
        ignore=shutil.ignore_patterns("converted", "*.duckdb*", "dagster_home", "journal"),
    )
    subprocess.run(
        [
            sys.executable,
            home / "convert.py",
            real_data / FOLDERS[example],
            "--to",
            home / "converted",
        ],
        check=True,
        capture_output=True,
    )
    said = [line for line in run(home) if not line.startswith("checks that looked at nothing")]
    assert said == [
        f"release {r} (replaces {load_home(home).by_version[r].replaces})"
        for r in load_home(home).releases
    ]
    coverage = DuckDBFile(home / "warehouse.duckdb").query("from pipeline_coverage")
    assert coverage["n_unaccounted"].unique().to_list() == [0]
    assert coverage.filter(stage="extraction")["n_in"].to_list() == [rows_in]
    rates = {
        r["behavior"]: r["rate"]
        for r in stored(home, RateComparison).filter(arm="recorded").to_dicts()
    }
    assert {b: rates[b] for b in recorded} == pytest.approx(recorded)


def test_a_redrawn_sample_takes_the_scores_of_the_old_one_along(run: Run, home: Path) -> None:
    models = yaml.safe_load(yaml.safe_dump(RECORDED_MODELS))
    models[1]["plan"]["salt"] = "other"
    write_yaml(home / "models.yaml", {"models": models})
    register(dg.DagsterInstance.get(), ("v2",))
    dg.materialize(
        [stratified_sample],
        partition_key="v2",
        instance=dg.DagsterInstance.get(),
        resources={"deployment": Deployment(home_dir=str(home))},
    )
    assert [
        len(stored(home, table)) for table in (StratifiedSample, ClassifierScores, RateComparison)
    ] == [40, 0, 4]
    assert stored(home, RateComparison)["earlier_sample"].to_list() == [40] * 4


def test_a_canary_that_survives_keeps_its_batch_out_of_the_corpus(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules alone know no names."""
    monkeypatch.setattr(deidentification, "stack_detector", lambda *_: RulesOnly())
    monkeypatch.setattr(deidentification_flow, "SHADOWS", 300)
    home = write_home(tmp_path)
    with pytest.raises(SimPlatformError, match="the log assets failed"):
        run(home)
    assert stored(home, DeidentifiedCorpus).is_empty()
    assert stored(home, Canaries).is_empty()
