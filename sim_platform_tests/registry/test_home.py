"""A home folder: what is accepted, its defaults, and errors that name file, key, value and
what is allowed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sim_platform.contracts.errors import BadInputError
from sim_platform.deidentification.policies import load_policy
from sim_platform.registry.home import Home, home_path, load_home
from sim_platform.registry.models import Plan
from sim_platform.registry.schema import holds
from sim_platform_tests.homes import BEHAVIORS, RECORDED_MODELS, write_home, write_yaml

ROOT = Path(__file__).resolve().parents[2]
ALL = {"all": "synthetic conversations made for a test"}
SOURCE = {"reader": "conversations", "path": "logs/*.jsonl"}
TABLE = {
    "reader": "table",
    "path": "t.csv",
    "id": "id",
    "prompt": "q",
    "response": "a",
    "model": "m",
    "timestamp": "t",
}
V1, V2 = RECORDED_MODELS
OPENAI = {"version": "v3", "provider": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}

Refused = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_home(tmp_path / "home", n=1)


@pytest.fixture
def refused(home: Path) -> Refused:
    """refused(file, value) writes one file of a good home and returns the error that this gives."""

    def write(file: str, value: object) -> str:
        write_yaml(home / file, value)
        with pytest.raises(BadInputError) as error:
            load_home(home)
        assert error.value.__cause__ is None
        return str(error.value)

    return write


def models(*changed: dict[str, Any]) -> dict[str, Any]:
    return {"models": list(changed)}


def behavior(**changes: Any) -> dict[str, Any]:
    return {**BEHAVIORS[0], **changes}


def grader(**fields: Any) -> dict[str, Any]:
    return behavior(graders=[fields])


def test_a_good_home_is_read(home: Path) -> None:
    read = load_home(home)
    assert read.releases == ("v2",)
    assert [b.id for b in read.behaviors] == ["apologises", "mentions_weather"]
    candidate, replaced = read.release("v2")
    assert (candidate.version, replaced.version) == ("v2", "v1")
    assert {p.name for p in (read.vault, read.warehouse, read.published)} == {
        "vault.duckdb",
        "warehouse.duckdb",
        "published.duckdb",
    }


@pytest.mark.parametrize(
    "folder", ["data", "examples/llmdrift", "examples/hh_rlhf", "examples/tau_bench"]
)
def test_every_shipped_home_is_good(folder: str) -> None:
    assert load_home(ROOT / folder).releases


def test_what_is_not_given_has_the_documented_default(home: Path) -> None:
    write_yaml(
        home / "models.yaml",
        models(V1, {"version": "v2", "provider": "recorded", "replaces": "v1"}),
    )
    model = load_home(home).by_version["v2"]
    assert model.plan == Plan(
        sample_size=1000,
        strata=[],
        floor=50,
        cut="last_user_turn",
        arms=["candidate", "control", "recorded"],
        salt="r1",
        completions_per_prefix=1,
    )
    expected = ("keep", "model", None, None)
    assert (model.system_prompt, model.measures, model.price, model.deployed) == expected
    assert model.settings.model_dump(exclude_none=True) == {}


@pytest.mark.parametrize(
    ("file", "value", "named"),
    [
        # sources.yaml
        ("sources.yaml", {"sources": [], "consent": ALL}, ["sources.yaml: sources", "at least 1"]),
        (
            "sources.yaml",
            {"sources": [{**SOURCE, "reader": "excel"}], "consent": ALL},
            ['sources[0].reader: "excel"', "allowed: 'conversations', 'table'"],
        ),
        (
            "sources.yaml",
            {"sources": [{"path": "x"}], "consent": ALL},
            ["sources[0].reader: missing"],
        ),
        (
            "sources.yaml",
            {"sources": [{"reader": "conversations"}], "consent": ALL},
            ["sources[0].conversations.path", "required"],
        ),
        (
            "sources.yaml",
            {"sources": [{**SOURCE, "paths": "x"}], "consent": ALL},
            ["sources[0].conversations.paths", "unknown key"],
        ),
        (
            "sources.yaml",
            {"sources": [{**TABLE, "columns": {}}], "consent": ALL},
            ["sources[0].table.columns", "unknown key"],
        ),
        (
            "sources.yaml",
            {"sources": [{k: v for k, v in TABLE.items() if k != "prompt"}], "consent": ALL},
            ["sources[0].table.prompt", "required"],
        ),
        ("sources.yaml", {"sources": [SOURCE]}, ["sources.yaml: consent", "required"]),
        (
            "sources.yaml",
            {"sources": [SOURCE], "consent": {}},
            ["consent", "{ledger: FILE, scope: NAME}", "{all:"],
        ),
        (
            "sources.yaml",
            {"sources": [SOURCE], "consent": {**ALL, "ledger": "c.csv", "scope": "s"}},
            ["consent", "either"],
        ),
        (
            "sources.yaml",
            {"sources": [SOURCE], "consent": {"ledger": "c.csv"}},
            ["consent", "scope"],
        ),
        ("sources.yaml", {"sources": [SOURCE], "consent": {"scope": "s"}}, ["consent", "ledger"]),
        (
            "sources.yaml",
            {"sources": [SOURCE], "consent": {"all": "ok"}},
            ["consent.all", "at least 10", "'ok'"],
        ),
        (
            "sources.yaml",
            {"sources": [SOURCE], "consent": ALL, "exclude": {"temporary": True}},
            ["exclude.temporary", "dictionary", "True"],
        ),
        (
            "sources.yaml",
            {"sources": [SOURCE], "consent": ALL, "excludes": {}},
            ["sources.yaml: excludes", "unknown key"],
        ),
        ("sources.yaml", ["a list"], ["sources.yaml"]),
        ("sources.yaml", None, ["sources.yaml"]),
        # models.yaml
        ("models.yaml", models(), ["models.yaml: models", "at least 1"]),
        (
            "models.yaml",
            models(V1, {**V2, "provider": "azure"}),
            ["models[1].provider", "'openai'", "'local'", "'recorded'", "azure"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "temperature": 1}),
            ["models[1].temperature", "unknown key"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "settings": {"temperature": 9}}),
            ["models[1].settings.temperature", "less than or equal to 2", "9"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "settings": {"top_k": 9}}),
            ["models[1].settings.top_k", "unknown key"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "plan": {"cut": "middle"}}),
            ["models[1].plan.cut", "'last_user_turn'", "'uniform_user_turn'", "middle"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "plan": {"sample_size": 0}}),
            ["models[1].plan.sample_size", "0"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "plan": {"arms": ["control"]}}),
            ["models[1].plan", "arms must include candidate"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "plan": {"strata": ["surface", 'a"b']}}),
            ["models[1].plan.strata[1]", 'a"b'],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "measures": "both"}),
            ["models[1].measures", "'model'", "'system'", "both"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "price": {"input_per_mtok": -1, "output_per_mtok": 1}}),
            ["models[1].price.input_per_mtok", "-1"],
        ),
        ("models.yaml", models(V1, {**V2, "version": "v 2"}), ["models[1].version", "'v 2'"]),
        (
            "models.yaml",
            models({**V1, "deployed": {"from": "soon"}}, V2),
            ["models[0].deployed.from", "soon"],
        ),
        (
            "models.yaml",
            models({**V1, "deployed": {}}, V2),
            ["models[0].deployed.from", "required"],
        ),
        (
            "models.yaml",
            models(V1, {k: v for k, v in OPENAI.items() if k != "base_url"}),
            ["models[1]", "base_url and model"],
        ),
        (
            "models.yaml",
            models(V1, {**OPENAI, "api": "responses", "settings": {"seed": 1, "stop": ["x"]}}),
            ["models[1]", "api responses has no seed and no stop"],
        ),
        (
            "models.yaml",
            models(V1, {**OPENAI, "api_key_env": "not a name"}),
            ["models[1].api_key_env", "environment variable"],
        ),
        (
            "models.yaml",
            models(V1, {**OPENAI, "api_key": "x"}),
            ["models[1].api_key:", "unknown key"],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "replaces": "v2"}),
            ["models[1]", 'replaces itself ("v2")'],
        ),
        (
            "models.yaml",
            models(V1, {**V2, "replaces": "v0"}),
            ['v2 replaces "v0"', "versions: v1, v2"],
        ),
        (
            "models.yaml",
            models({k: v for k, v in V1.items() if k != "deployed"}, V2),
            ["v2 replaces v1", "deployed"],
        ),
        ("models.yaml", models(V1, V2, V2), ['"v2" stands twice']),
        (
            "models.yaml",
            models(V1, {**V2, "challenging": {"lies": {"replaced": 0.1, "candidate": 0.2}}}),
            ['v2: challenging: "lies"', "registered: apologises"],
        ),
        # behaviors
        (
            "behaviors/apologises.yaml",
            behavior(id="apologizes"),
            ["behaviors/apologises.yaml: id", "apologizes", "file name"],
        ),
        (
            "behaviors/apologises.yaml",
            behavior(id="Apologises"),
            ["behaviors/apologises.yaml: id", "'Apologises'"],
        ),
        (
            "behaviors/apologises.yaml",
            behavior(graders=[]),
            ["behaviors/apologises.yaml: graders", "at least 1"],
        ),
        (
            "behaviors/apologises.yaml",
            behavior(undesired="up"),
            ["undesired", "'increase'", "'decrease'", "'either'", "up"],
        ),
        ("behaviors/apologises.yaml", behavior(applies_when={}), ["applies_when", "unknown key"]),
        (
            "behaviors/apologises.yaml",
            grader(kind="oracle"),
            [
                "graders[0]",
                "'regex'",
                "'contains'",
                "'answer_equals'",
                "'recorded_label'",
                "'python'",
                "oracle",
            ],
        ),
        (
            "behaviors/apologises.yaml",
            grader(kind="regex", pattern="(sorry"),
            ["graders[0].regex", "not a regular expression", "unterminated"],
        ),
        (
            "behaviors/apologises.yaml",
            grader(kind="regex", pattern="x", flags="i"),
            ["graders[0].regex.flags", "unknown key"],
        ),
        (
            "behaviors/apologises.yaml",
            grader(kind="contains"),
            ["graders[0].contains", "any or all"],
        ),
        (
            "behaviors/apologises.yaml",
            grader(kind="python"),
            ["graders[0].python.function", "required"],
        ),
    ],
)
def test_a_mistake_names_file_key_value_and_what_is_allowed(
    refused: Refused, file: str, value: object, named: list[str]
) -> None:
    text = refused(file, value)
    assert text.startswith(f"{file}: ")
    for part in named:
        assert part in text


def test_every_mistake_of_a_file_is_named_at_once(refused: Refused) -> None:
    text = refused(
        "models.yaml", models({**V1, "provider": "x"}, {**V2, "plan": {"floor": 0}, "what": 1})
    )
    assert len(text.splitlines()) == 3


def test_mistakes_of_the_registry_and_of_file_names_are_named_together(
    home: Path, refused: Refused
) -> None:
    write_yaml(home / "behaviors" / "apologises.yaml", behavior(id="other"))
    text = refused("models.yaml", models(V1, V1, {**V2, "replaces": "v0"}))
    assert len(text.splitlines()) == 3


def test_no_mistake_shows_more_than_the_value_at_its_key(refused: Refused) -> None:
    """A key pasted into the wrong place must not show its neighbours."""
    text = refused(
        "models.yaml", models(V1, {**OPENAI, "system_prompt": "SECRET PROMPT", "settings": "warm"})
    )
    assert "warm" in text
    assert "SECRET" not in text


def test_a_key_pasted_where_a_variable_name_belongs_is_not_repeated(refused: Refused) -> None:
    assert "sk-proj-0000" not in refused(
        "models.yaml", models(V1, {**OPENAI, "api_key_env": "sk-proj-0000"})
    )
    assert "sk-proj-0000" not in refused(
        "models.yaml", models(V1, {**OPENAI, "api_key": "sk-proj-0000"})
    )


@pytest.mark.parametrize("file", ["sources.yaml", "models.yaml", "behaviors/apologises.yaml"])
def test_what_is_not_yaml_names_its_line(home: Path, file: str) -> None:
    (home / file).write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(BadInputError, match=rf"^{file}: line [23] is not YAML: "):
        load_home(home)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"a: \x00"])
def test_what_is_not_text_is_a_named_mistake(home: Path, content: bytes) -> None:
    (home / "models.yaml").write_bytes(content)
    with pytest.raises(BadInputError, match=r"^models.yaml:"):
        load_home(home)


@pytest.mark.parametrize(
    "content", ["[" * 100_000, "- " * 50_000 + "x", "{a: " * 50_000, "? " * 50_000 + "x"]
)
@pytest.mark.parametrize("file", ["sources.yaml", "models.yaml", "behaviors/apologises.yaml"])
def test_what_is_nested_too_deep_is_refused_before_it_ends_the_process(
    home: Path, file: str, content: str
) -> None:
    (home / file).write_text(content)
    with pytest.raises(BadInputError, match=rf"{file}: line 1 .*nested more than 100 levels"):
        load_home(home)
    with pytest.raises(BadInputError, match=file):
        load_policy(file, home)


@pytest.mark.parametrize("value", ["2026-02-31", "!!int x", "9" * 5_000, "!!float ''"])
def test_a_value_that_its_tag_does_not_allow_is_a_named_mistake(home: Path, value: str) -> None:
    (home / "models.yaml").write_text(f"models: {value}\n")
    with pytest.raises(BadInputError, match=r"models\.yaml: is not YAML: a value is not"):
        load_home(home)


def test_a_tag_in_yaml_runs_nothing(home: Path) -> None:
    (home / "models.yaml").write_text("models: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(BadInputError, match=r"^models.yaml: line 1 is not YAML"):
        load_home(home)


def test_a_grader_is_no_batch_job(home: Path, refused: Refused) -> None:
    write_yaml(home / "behaviors" / "apologises.yaml", grader(kind="judge", model="v3"))
    said = refused("models.yaml", models(V1, V2, {**OPENAI, "provider": "openai_batch"}))
    assert 'behaviors/apologises.yaml: judge: "v3" has provider openai_batch' in said
    assert "provider openai" in said


def test_a_missing_file_folder_or_behaviour_says_what_to_do(home: Path) -> None:
    with pytest.raises(BadInputError, match=r"no such folder. Set SIM_PLATFORM_HOME"):
        load_home(home / "nowhere")
    for file in (home / "behaviors").iterdir():
        file.unlink()
    with pytest.raises(BadInputError, match=r"no behaviour"):
        load_home(home)
    (home / "models.yaml").unlink()
    with pytest.raises(BadInputError, match=r"models\.yaml: missing in"):
        load_home(home)
    (home / "sources.yaml").unlink()
    with pytest.raises(BadInputError, match=r"sources\.yaml: missing in"):
        load_home(home)


def test_a_version_that_is_no_release_is_refused_with_the_releases(home: Path) -> None:
    read = load_home(home)
    with pytest.raises(BadInputError, match=r'"v9" is not in the registry \(releases: v2\)'):
        read.release("v9")
    with pytest.raises(
        BadInputError, match=r'"v1" replaces nothing in the registry \(releases: v2\)'
    ):
        read.release("v1")


def test_a_home_without_releases_is_good(home: Path) -> None:
    write_yaml(home / "models.yaml", models(V1))
    read = load_home(home)
    assert read.releases == ()
    with pytest.raises(BadInputError, match="releases: none"):
        read.release("v1")


def test_configuration_cannot_be_changed_after_it_was_read(home: Path) -> None:
    read = load_home(home)
    with pytest.raises(ValueError, match="frozen"):
        read.models[0].version = "other"  # type: ignore[misc]  # that it is refused is the point
    assert isinstance(read, Home)


def test_the_home_is_the_environment_variable_or_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SIM_PLATFORM_HOME", raising=False)
    assert home_path() == tmp_path / "data"
    monkeypatch.setenv("SIM_PLATFORM_HOME", "elsewhere")
    assert home_path() == tmp_path / "elsewhere"


def test_a_version_that_yaml_reads_as_a_number_is_a_named_mistake(home: Path) -> None:
    (home / "models.yaml").write_text(yaml.safe_dump(models({**V1, "version": 4.5})))
    with pytest.raises(BadInputError, match=r"models\[0\]\.version: .*string \(value: 4\.5\)"):
        load_home(home)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["web", "mobile", ""])
)
metadata = st.dictionaries(st.sampled_from("abc"), scalars, max_size=3)
predicates = st.dictionaries(
    st.sampled_from("abc"), st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=3
)


@given(metadata)
def test_the_empty_predicate_holds_everywhere(facts: dict[str, Any]) -> None:
    assert holds({}, facts)


@given(metadata, metadata)
def test_a_predicate_made_of_the_facts_holds_and_more_facts_change_nothing(
    facts: dict[str, Any], more: dict[str, Any]
) -> None:
    assert holds(facts, facts)
    assert holds(facts, {**more, **facts})


@given(predicates, predicates, metadata)
def test_two_predicates_over_different_keys_hold_together_exactly_when_each_holds(
    p: dict[str, Any], q: dict[str, Any], facts: dict[str, Any]
) -> None:
    q = {k: v for k, v in q.items() if k not in p}
    assert holds({**p, **q}, facts) == (holds(p, facts) and holds(q, facts))


@given(st.sampled_from("abc"), st.lists(scalars, max_size=3), metadata)
def test_a_list_holds_exactly_when_one_of_its_values_does(
    key: str, values: list[Any], facts: dict[str, Any]
) -> None:
    assert holds({key: values}, facts) == any(holds({key: v}, facts) for v in values)


@given(st.sampled_from("abc"), metadata)
def test_an_absent_key_counts_as_null(key: str, facts: dict[str, Any]) -> None:
    facts = {k: v for k, v in facts.items() if k != key}
    assert holds({key: None}, facts)
    assert holds({key: [1, None]}, facts)
    assert not holds({key: "web"}, facts)


FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize("provider", ["openai", "openai_batch", "local", "recorded"])
@pytest.mark.parametrize("api", ["chat_completions", "responses"])
@pytest.mark.parametrize(
    ("tool", "says"),
    [
        (
            {"type": "mcp", "server_url": "https://x.example", "require_approval": "never"},
            "type mcp is run by the endpoint itself",
        ),
        ({"type": "web_search_preview"}, "type web_search_preview is run by the endpoint itself"),
        ({"name": "f"}, "type (none) is run by the endpoint itself"),
        ({"type": "function", "name": "f"}, "has no `function: {name, description, parameters}`"),
        ({"type": "function", "function": {}}, "function has no name"),
        (
            {"type": "function", "function": {"name": "f", "parameters": []}},
            "parameters is not a JSON schema",
        ),
    ],
)
def test_a_tool_that_is_no_function_is_named_with_version_place_and_type(
    refused: Refused, provider: str, api: str, tool: dict[str, Any], says: str
) -> None:
    if api == "responses" and not provider.startswith("openai"):
        return
    version = {**OPENAI, "provider": provider, "api": api, "replaces": "v1"}
    text = refused("models.yaml", models(V1, version | {"settings": {"tools": [FUNCTION, tool]}}))
    assert f"models.yaml: models[1]: v3: settings.tools[1]: {says}" in text


@pytest.mark.parametrize("place", ["extra", "extra_body", "tools", "body", "web_search_options"])
def test_a_tool_can_be_written_nowhere_else(refused: Refused, place: str) -> None:
    hosted = {place: {"tools": [{"type": "mcp"}]}}
    assert f"models[1].{place}: unknown key" in refused("models.yaml", models(V1, OPENAI | hosted))
    inside = {"settings": hosted if place != "tools" else {"extra": {}}}
    assert "unknown key" in refused("models.yaml", models(V1, OPENAI | inside))
