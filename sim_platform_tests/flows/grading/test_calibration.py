"""Graders against people: files, drawings, labels that come back, and the rates that
can be trusted.
"""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from benchmarks import calibration as benchmark
from sim_platform.commands.main import app
from sim_platform.contracts.tables.estimation import ReleaseGate
from sim_platform.contracts.tables.grading import (
    Calibration,
    ClassifierScores,
    HumanLabels,
    LabelDraws,
)
from sim_platform.estimation import judge
from sim_platform.estimation.four_rates import four_rates
from sim_platform.flows.grading.calibration import calibrate, calibrate_release, drift
from sim_platform.grading.calibration import Confusion
from sim_platform.grading.labels import Columns, read_labels
from sim_platform.registry.home import load_home
from sim_platform.warehouse.duckdb_file import DuckDBFile
from sim_platform_tests.homes import BEHAVIORS, write_home, write_yaml

Run = Callable[..., list[str]]
KEYS = ["n", "tp", "fp", "fn", "tn", "precision", "recall", "specificity", "abstained"]


def sim_platform(home: Path, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(
        app, list(arguments), env={"SIM_PLATFORM_HOME": str(home), "COLUMNS": "200"}
    )
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def warehouse(home: Path) -> DuckDBFile:
    return DuckDBFile(home / "warehouse.duckdb")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_home(tmp_path, n=2)


def rows_of(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_calibrate_prints_the_promised_keys_with_exact_limits(home: Path) -> None:
    said = (
        [("sorry", 1)] * 8
        + [("sorry", 0)] * 2
        + [("fine", 1)] * 1
        + [("fine", 0)] * 9
        + [("fine", "")]
    )
    file = rows_of(
        home, *({"response": f"{text} {i}", "label": label} for i, (text, label) in enumerate(said))
    )
    found = json.loads(
        sim_platform(home, "calibrate", "--behavior", "apologises", "--labels", str(file), "--json")
    )
    assert list(found) == KEYS
    assert [found[k] for k in ("n", "tp", "fp", "fn", "tn", "abstained")] == [20, 8, 2, 1, 9, 0]
    assert found["precision"] == pytest.approx(
        {"estimate": 0.8, "low": 0.4439045, "high": 0.9747893}, abs=1e-6
    )


@pytest.mark.parametrize(("label", "share"), [(0, "recall"), (1, "specificity")])
def test_labels_of_one_kind_leave_a_share_of_nothing_unbounded_and_not_zero(
    home: Path, label: int, share: str
) -> None:
    file = rows_of(
        home, {"response": "sorry", "label": label}, {"response": "fine", "label": label}
    )
    found = json.loads(
        sim_platform(home, "calibrate", "--behavior", "apologises", "--labels", str(file), "--json")
    )
    assert found[share] == {"estimate": None, "low": 0.0, "high": 1.0}


def test_items_that_the_behaviour_does_not_apply_to_are_abstained_on_and_explained(
    home: Path,
) -> None:
    file = rows_of(
        home,
        {"response": "the weather", "label": 1, "surface": "web"},
        {"response": "weather", "label": 1, "surface": "mobile"},
    )
    found = calibrate(load_home(home), "mentions_weather", file, Columns())
    assert (found["n"], found["abstained"], found["detail"]["abstained_by_reason"]) == (
        1,
        1,
        {"not_applicable": 1},
    )


def test_an_unknown_behaviour_and_unknown_ids_are_refused_by_name(home: Path) -> None:
    assert 'there is no behaviour "nix"' in sim_platform(
        home, "calibrate", "--behavior", "nix", "--labels", "x", code=2
    )
    file = rows_of(home, {"item_id": "abc", "label": 1})
    assert "1 rows have neither a response nor the item id" in sim_platform(
        home, "calibrate", "--behavior", "apologises", "--labels", str(file), code=2
    )


def test_a_drift_of_recall_is_seen_and_sameness_is_not_called_drift() -> None:
    assert (
        drift(Confusion(tp=90, fn=10, fp=5, tn=95), Confusion(tp=60, fn=40, fp=5, tn=95))["recall"]
        < 1e-4
    )
    assert drift(Confusion(tp=9, fn=1), Confusion(tp=9, fn=1)) == {"precision": 1.0, "recall": 1.0}


BUILT: list[Path] = []


@pytest.fixture
def ran(run: Run, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home after one run: made once, copied for each test."""
    if not BUILT:
        BUILT.append(write_home(tmp_path_factory.mktemp("ran") / "home", n=60))
        run(BUILT[0], sample_size=1000)
    return Path(shutil.copytree(BUILT[0], tmp_path / "home"))


def labelled(
    home: Path, folder: Path, say: Callable[[str], str], behavior: str = "apologises"
) -> Path:
    file = folder / "out.csv"
    sim_platform(home, "labels", "export", "v2", "--to", str(file), "--behavior", behavior)
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    for i, row in enumerate(rows):
        row["label"], row["annotator"] = say(row["response"]), f"a{i}"
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return file


def test_what_people_get_tells_neither_arm_nor_flag_and_a_tenth_stands_twice(
    ran: Path, tmp_path: Path
) -> None:
    file = labelled(ran, tmp_path, lambda text: "")
    rows = list(csv.DictReader(file.read_text().splitlines(keepends=True)))
    assert set(rows[0]) == {
        "item_id",
        "behavior",
        "definition",
        "prompt",
        "response",
        "tool_calls",
        "label",
        "annotator",
        "grader_hash",
    }
    draws = warehouse(ran).read(LabelDraws)
    assert len(rows) == len(draws) + draws["is_double"].sum() > len(draws)
    assert draws.group_by("label_stratum").agg(pl.col("label_probability").max())[
        "label_probability"
    ].to_list() == [1.0, 1.0]
    assert file.stat().st_mode & 0o077 == 0


def test_labels_come_back_and_give_the_four_rates(ran: Path, tmp_path: Path) -> None:
    file = labelled(ran, tmp_path, lambda text: "1" if "Sorry" in text else "0")
    found = json.loads(
        sim_platform(
            ran,
            "labels",
            "import",
            "v2",
            "--behavior",
            "apologises",
            "--labels",
            str(file),
            "--json",
        )
    )
    assert found["imported"] == len(warehouse(ran).read(HumanLabels))
    assert (
        found["agreement"]["apologises"]["n_agree"]
        == found["agreement"]["apologises"]["n_items"]
        > 0
    )
    rates = {row["arm"]: row for row in calibrate_release(load_home(ran), "v2").to_dicts()}
    candidate = rates["candidate"]
    assert candidate["apparent"] == pytest.approx(candidate["verified"])
    assert candidate["verified"] == pytest.approx(candidate["corrected"])
    assert candidate["corrected_low"] < candidate["corrected"] < candidate["corrected_high"]
    assert candidate["status"] == "trusted"
    assert candidate["bound"] >= candidate["verified_high"] - 1e-12
    again = json.loads(
        sim_platform(ran, "calibrate", "--behavior", "apologises", "--labels", str(file), "--json")
    )
    assert (again["fp"], again["fn"], again["abstained"]) == (0, 0, 0)


def test_a_run_after_the_import_keeps_the_calibration_table(
    run: Run, ran: Path, tmp_path: Path
) -> None:
    file = labelled(ran, tmp_path, lambda text: "1" if "Sorry" in text else "0")
    sim_platform(ran, "labels", "import", "v2", "--behavior", "apologises", "--labels", str(file))
    run(ran, sample_size=1000)
    assert warehouse(ran).read(Calibration)["arm"].to_list() == ["candidate", "recorded"]
    (decision,) = warehouse(ran).read(ReleaseGate, {"behavior": "apologises"}).to_dicts()
    assert "corrected for people's labels" in decision["reason"]


def test_an_export_of_all_behaviours_comes_back_by_its_column_and_as_label_studio_gives_it(
    ran: Path, tmp_path: Path
) -> None:
    exported = tmp_path / "all.labelstudio.json"
    sim_platform(
        ran,
        "labels",
        "export",
        "v2",
        "--to",
        str(exported),
        "--flags",
        "9",
        "--near-misses",
        "0",
        "--rest",
        "9",
    )
    tasks = json.loads(exported.read_text())
    assert {task["data"]["behavior"] for task in tasks} == {"apologises", "mentions_weather"}
    # or the tools do not show it
    assert all(
        isinstance(message["content"], str) for task in tasks for message in task["data"]["prompt"]
    )
    for i, task in enumerate(tasks):
        said = {
            "from_name": "label",
            "to_name": "response",
            "type": "choices",
            "value": {"choices": ["yes" if "orry" in task["data"]["response"] else "no"]},
        }
        task |= {
            "id": i,
            "annotations": [
                {
                    "completed_by": {"email": f"person-{i}@example.org"},
                    "was_cancelled": i == 0,
                    "result": [said] if i else [],
                }
            ],
        }
    exported.write_text(json.dumps(tasks))
    part = json.loads(
        sim_platform(
            ran,
            "labels",
            "import",
            "v2",
            "--behavior",
            "apologises",
            "--labels",
            str(exported),
            "--json",
        )
    )
    found = json.loads(
        sim_platform(ran, "labels", "import", "v2", "--labels", str(exported), "--json")
    )
    assert (found["imported"], found["abstained"], found["left_out"]) == (len(tasks), 1, 0)
    assert part["imported"] + part["left_out"] == found["imported"]
    assert set(found["agreement"]) == {"apologises", "mentions_weather"}
    assert len(warehouse(ran).read(HumanLabels)) == len(tasks)


@pytest.mark.parametrize("breakage", ["unknown id", "other hash"])
def test_labels_that_do_not_fit_are_refused_as_a_whole(
    ran: Path, tmp_path: Path, breakage: str
) -> None:
    file = labelled(ran, tmp_path, lambda text: "1")
    rows = list(csv.DictReader(file.read_text().splitlines(keepends=True)))
    match breakage:
        case "unknown id":
            rows[3]["item_id"] = "nobody"
        case "other hash":
            rows[3]["grader_hash"] = "0" * 64
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    said = sim_platform(
        ran, "labels", "import", "v2", "--behavior", "apologises", "--labels", str(file), code=2
    )
    assert "line" in said
    assert warehouse(ran).read(HumanLabels).is_empty()


def test_repeats_stand_far_apart_and_one_that_differs_abstains_and_is_counted(
    ran: Path, tmp_path: Path
) -> None:
    file = labelled(ran, tmp_path, lambda text: "1")
    rows = list(csv.DictReader(file.read_text().splitlines(keepends=True)))
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row["item_id"], []).append(place)
    again = {item: p for item, p in places.items() if len(p) == 2}
    assert len(again) > 1
    assert min(b - a for a, b in again.values()) >= len(places) // 2 - 1
    changed = next(iter(again.values()))[1]
    for row in rows:
        row["annotator"] = "ann"
    rows[changed]["label"] = "0"
    with file.open("w", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    taken = ["labels", "import", "v2", "--behavior", "apologises", "--labels", str(file)]
    found = json.loads(sim_platform(ran, *taken, "--json"))
    agreed = found["agreement"]["apologises"]
    assert (agreed["n_items"], agreed["n_repeats"]) == (0, len(again))
    assert agreed["n_alike"] == len(again) - 1
    assert agreed["self_agreement"] == pytest.approx(1 - 1 / len(again))
    assert (found["imported"], found["abstained"]) == (len(places), 1)
    stored = warehouse(ran).read(HumanLabels)
    (abstained,) = stored.filter(pl.col("label").is_null())["item_id"]
    assert abstained == rows[changed]["item_id"]
    assert f"again by the same person {len(again)}, alike {len(again) - 1}" in " ".join(
        sim_platform(ran, *taken).split()
    )


SCHEMA = {
    "label": pl.Boolean,
    "human": pl.Boolean,
    "label_probability": pl.Float64,
    "label_stratum": pl.String,
}


def cell(
    tp: int, fp: int, fn: int, tn: int, unlabelled: int = 0, probability: float = 1.0
) -> pl.DataFrame:
    """Outcomes of one arm; the negatives were labelled with a probability."""
    rows: list[tuple[object, ...]] = [(True, True, 1.0, "flag")] * tp + [
        (True, False, 1.0, "flag")
    ] * fp
    rows += (
        [(False, True, probability, "rest")] * fn
        + [(False, False, probability, "rest")] * tn
        + [(False, None, None, None)] * unlabelled
    )
    return placed(rows)


def placed(rows: Sequence[tuple[object, ...]]) -> pl.DataFrame:
    """Every outcome a prefix and a user of its own."""
    return (
        pl.DataFrame(rows, schema=SCHEMA, orient="row")
        .with_row_index("code")
        .with_columns(weight=1.0, stratum=0, cluster="code")
    )


def test_twelve_false_flags_of_thirteen_are_judge_limited() -> None:
    found = four_rates(cell(tp=1, fp=12, fn=0, tn=200, unlabelled=9787, probability=0.02))
    assert found["status"] == "judge-limited"
    assert found["apparent"] == pytest.approx(13 / 10000)
    assert found["verified"] == pytest.approx(1 / 10000)
    assert float(str(found["corrected_low"])) < 1 / 10000 < float(str(found["corrected_high"]))


def test_one_known_positive_and_a_grader_that_may_miss_most_are_not_trusted() -> None:
    one = four_rates(cell(tp=1, fp=0, fn=0, tn=200, unlabelled=800, probability=0.2))
    assert one["status"] == "verified only: 1 known positives; 10 are the least"
    # all that are known were found because they were flagged: 500 of 49,975 others say little
    rare = four_rates(cell(tp=25, fp=0, fn=0, tn=500, unlabelled=49475, probability=500 / 49975))
    assert "0 of 25 known positives were found among 500 unflagged" in str(rare["status"])
    poor = four_rates(cell(tp=21, fp=0, fn=79, tn=900))
    assert str(poor["status"]).startswith("not trusted: sensitivity 0.1")
    assert four_rates(cell(tp=90, fp=0, fn=10, tn=900))["status"] == "trusted"


def test_missed_occurrences_in_sampled_negatives_raise_the_corrected_rate_and_the_bound() -> None:
    found = four_rates(cell(tp=40, fp=5, fn=2, tn=98, unlabelled=855, probability=100 / 955))
    assert found["verified"] == pytest.approx(0.04)
    assert found["corrected"] == pytest.approx(0.04 + 2 / 100 * 0.955)
    assert float(str(found["bound"])) > float(str(found["corrected"]))


def test_labels_that_are_still_missing_do_not_move_the_rates() -> None:
    """Of the near misses half came back, of the rest all: what came back stands for what did not,
    stratum by stratum.
    """
    near = [(False, True, 1.0, "near_miss")] * 20 + [(False, False, 1.0, "near_miss")] * 60
    rest = [(False, False, 0.1, "rest")] * 80
    flags = [(True, True, 1.0, "flag")] * 40
    missing = [(False, None, 1.0, "near_miss")] * 80 + [(False, None, None, None)] * 720
    found = four_rates(placed([*flags, *near, *rest, *missing]))
    assert found["verified"] == pytest.approx(0.04)
    # 160 near misses, a quarter of them occurrences
    assert found["corrected"] == pytest.approx(0.04 + 0.04)
    nobody = placed([*flags, *rest, *missing])
    assert (
        "none of the drawn unflagged outcomes of near_miss was labelled"
        in json.loads(str(four_rates(nobody)["refused"]))["bound"]
    )


def test_the_prediction_powered_rate_is_not_given_because_its_condition_chooses_the_samples() -> (
    None
):
    """Given where 15 missed occurrences were found, it stood where by chance many were."""
    many = four_rates(cell(tp=300, fp=60, fn=40, tn=600, unlabelled=3000, probability=640 / 3640))
    assert many.get("ppi") is None
    shown = benchmark.powered(4000)
    assert shown["mean"] == pytest.approx(0.1, rel=0.01)
    assert shown["mean_where_shown"] > 0.108


def test_without_labelled_negatives_the_bound_and_the_corrected_rate_are_refused_by_name() -> None:
    refused = json.loads(str(four_rates(cell(tp=40, fp=5, fn=0, tn=0, unlabelled=955))["refused"]))
    assert "nothing bounds what the grader missed" in refused["bound"]
    assert "the sensitivity is unknown" in refused["corrected"]


def test_the_refusal_rule_on_public_data_is_corrected_to_intervals_that_hold_the_human_rates(
    home: Path, real_data: Path
) -> None:
    """Four model versions, the sensitivity of each from the other three."""
    from benchmarks.grading import REFUSES  # the same pattern as the documented figures

    write_yaml(
        home / "behaviors" / "refuses.yaml",
        {**BEHAVIORS[0], "id": "refuses", "graders": [{"kind": "regex", "pattern": REFUSES}]},
    )
    file = real_data / "llmdrift" / "SENSITIVEQ_EVAL.csv"
    found = calibrate(
        load_home(home),
        "refuses",
        file,
        Columns(
            label="Response Rate",
            response="answer",
            prompt="query",
            stratum="model",
            is_inverted=True,
        ),
    )
    assert found["n"] == 400
    tables = found["detail"]["by_stratum"]
    assert len(tables) == 4
    for name, mine in tables.items():
        others = [t for other, t in tables.items() if other != name]
        tp, fn, tn, fp = (sum(t[c] for t in others) for c in ("tp", "fn", "tn", "fp"))
        interval = judge.rogan_gladen(mine["tp"] + mine["fp"], mine["n"], tp, tp + fn, tn, tn + fp)
        assert interval.low <= (mine["tp"] + mine["fn"]) / mine["n"] <= interval.high, name


def test_a_trained_grader_beats_the_rule_on_a_public_proposition_and_grades_in_the_home(
    home: Path, real_data: Path, tmp_path: Path
) -> None:
    source = real_data / "openai_rbr_gold" / "train.jsonl"
    lines = source.read_text().splitlines()
    train, test = tmp_path / "train.jsonl", tmp_path / "test.jsonl"
    train.write_text("\n".join(lines[:230]) + "\n")
    test.write_text("\n".join(lines[230:]) + "\n")
    columns = [
        "--label",
        "propositions.gentle_encouragement_for_help",
        "--response",
        "completion",
        "--prompt",
        "prompt",
    ]
    rule = {
        **BEHAVIORS[0],
        "id": "encourages",
        "graders": [
            {"kind": "regex", "pattern": r"\b(?:encourage|consider|reach out|talk to|seek)\b"}
        ],
    }
    write_yaml(home / "behaviors" / "encourages.yaml", rule)
    read = Columns(label=columns[1], response="completion", prompt="prompt")
    by_rule = calibrate(load_home(home), "encourages", test, read)
    write_yaml(
        home / "behaviors" / "encourages.yaml",
        {**rule, "graders": [{"kind": "classifier", "file": "graders/encourages.json"}]},
    )
    assert "train-grader" in load_home(home).not_graded["encourages"]
    card = json.loads(
        sim_platform(
            home,
            "train-grader",
            "--behavior",
            "encourages",
            "--labels",
            str(train),
            *columns,
            "--json",
        )
    )
    assert card["labels"]["n"] == 230
    assert (home / "graders" / "encourages.card.json").exists()
    by_model = calibrate(load_home(home), "encourages", test, read)
    assert by_model["detail"]["auc"] > by_rule["detail"]["auc"]
    assert len(by_model["detail"]["reliability_curve"]) > 3
    assert len(read_labels(test, read)) == by_model["n"] == 121


def test_labels_that_trained_the_grader_are_counted_and_said_to_flatter_it(
    home: Path, tmp_path: Path
) -> None:
    write_yaml(
        home / "behaviors" / "apologises.yaml",
        {**BEHAVIORS[0], "graders": [{"kind": "classifier", "file": "graders/a.json"}]},
    )
    rows = [
        {
            "response": f"{'Sorry, I cannot say' if i % 2 else 'Here is something'} {i}",
            "prompt": f"q{i}",
            "label": i % 2,
        }
        for i in range(60)
    ]
    file = rows_of(tmp_path, *rows)
    sim_platform(home, "train-grader", "--behavior", "apologises", "--labels", str(file))

    def warned(labels: Path) -> str:
        return (
            CliRunner()
            .invoke(
                app,
                ["calibrate", "--behavior", "apologises", "--labels", str(labels), "--json"],
                env={"SIM_PLATFORM_HOME": str(home)},
            )
            .stderr
        )

    assert "60 of the labels trained the grader" in warned(file)
    others = [{**row, "prompt": f"another {row['prompt']}"} for row in rows]
    assert "10 of the labels trained the grader" in warned(
        rows_of(tmp_path, *rows[:10], *others[10:])
    )
    assert warned(rows_of(tmp_path, *others)) == ""


@pytest.mark.parametrize("features", ["tfidf", pytest.param("minilm", marks=pytest.mark.model)])
def test_scores_of_a_trained_grader_make_near_misses(
    features: str, run: Run, tmp_path: Path
) -> None:
    home = write_home(tmp_path / "h", n=60)
    rows = (
        {
            "response": f"{'Sorry, I cannot say' if i % 2 else 'Here is something'} {i}",
            "prompt": f"q{i}",
            "label": i % 2,
        }
        for i in range(60)
    )
    file = rows_of(tmp_path, *rows)
    write_yaml(
        home / "behaviors" / "apologises.yaml",
        {**BEHAVIORS[0], "graders": [{"kind": "classifier", "file": "graders/a.json"}]},
    )
    assert f"features {features}" in sim_platform(
        home,
        "train-grader",
        "--behavior",
        "apologises",
        "--labels",
        str(file),
        "--features",
        features,
    )
    assert json.loads((home / "graders" / "a.card.json").read_text())["features"] == features
    run(home, sample_size=1000)
    scores = warehouse(home).read(ClassifierScores, {"behavior": "apologises"})
    assert scores["score"].null_count() == 0
    sim_platform(
        home,
        "labels",
        "export",
        "v2",
        "--to",
        str(tmp_path / "o.jsonl"),
        "--behavior",
        "apologises",
    )
    assert set(warehouse(home).read(LabelDraws)["label_stratum"]) == {"flag", "near_miss", "rest"}
