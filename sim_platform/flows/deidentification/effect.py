"""Whether de-identification looks like behaviour: recorded responses graded as they stand in the
log and as they stand in the corpus.

Belongs here: drawing them, grading both texts, the paired counts. Does not: graders (grading),
formulas (estimation). Raw text is read from the vault, graded in memory and forgotten; only counts
leave. Graders that are asked (judge, moderation) are left out: raw text goes to nobody.
"""

import polars as pl

from sim_platform.contracts.errors import SimPlatformError
from sim_platform.contracts.tables.deidentification import (
    DeidentificationEffect,
    DeidentifiedCorpus,
)
from sim_platform.contracts.tables.extraction import ConsentedLogExtract
from sim_platform.contracts.tables.schema import frame, table_name
from sim_platform.deidentification.deidentify import keyed_hash
from sim_platform.estimation.paired import difference, mcnemar
from sim_platform.flows.grading.recorded import RESPONSES, responses_of
from sim_platform.flows.grading.scoring import asks
from sim_platform.flows.vault import vault_key
from sim_platform.grading.scores import scores
from sim_platform.registry.home import Home
from sim_platform.warehouse.duckdb_file import DuckDBFile

SAMPLE = 1_000  # conversations
PAGE = 500


def measure_effect(
    home: Home, vault: DuckDBFile, warehouse: DuckDBFile, release: str, sample: int = SAMPLE
) -> pl.DataFrame:
    """Rows of DeidentificationEffect for one release: the shift of each behaviour's rate on a
    random sample of consented conversations of the version that it replaces.

    The sample are the conversations with the smallest keyed hash: the same until the log changes.
    Conversations in quarantine have no second text and are not in it.

    Raises:
        SimPlatformError: nothing is de-identified yet.
    """
    candidate, replaced = home.release(release)
    secret = vault_key(vault)
    with vault.reading() as tx:
        ids = (
            tx.query(
                "select conversation_id from consented_log_extract where model_version = $v",
                {"v": replaced.version},
            )
            if table_name(ConsentedLogExtract) in tx.tables()
            else pl.DataFrame(schema={"conversation_id": pl.String})
        )
    done = warehouse.read(
        DeidentifiedCorpus,
        {"model_version": replaced.version},
        columns=["conversation_key", "deid_version"],
    )
    keyed = ids.with_columns(
        conversation_key=pl.Series(
            [keyed_hash(secret, "conversation", c) for c in ids["conversation_id"]], dtype=pl.String
        )
    )
    drawn = keyed.join(done, on="conversation_key").sort("conversation_key").head(sample)
    if drawn.is_empty():
        raise SimPlatformError(
            f"{release}: {replaced.version} has no de-identified conversation yet; run"
            f" `sim-platform run {release}` first"
        )
    behaviors = [b for b in home.graded if not asks(b)]
    pairs = []
    for page in drawn.iter_slices(PAGE):
        raw = vault.query(
            "select conversation_id, messages, metadata, labels from consented_log_extract where"
            " conversation_id in (select unnest($ids))",
            {"ids": page["conversation_id"].to_list()},
        ).join(page, on="conversation_id")
        new = warehouse.query(
            "select conversation_key, messages, metadata, labels from deidentified_corpus where"
            " conversation_key in (select unnest($keys))",
            {"keys": page["conversation_key"].to_list()},
        )
        graded = [
            scores(
                pl.DataFrame(
                    [
                        r
                        for row in rows.to_dicts()
                        for r in responses_of(row, every=candidate.plan.cut == "uniform_user_turn")
                    ],
                    schema=RESPONSES,
                ),
                behaviors,
                release=release,
                home=home,
            )
            for rows in (raw, new)
        ]
        pairs.append(
            graded[0]
            .join(graded[1], on=["behavior", "prefix_id", "k"], suffix="_new")
            .select("behavior", "applies", "applies_new", "label", "label_new")
        )
    counted = pl.concat(pairs)
    return frame(
        DeidentificationEffect,
        [
            _effect(counted.filter(behavior=b.id), b.id, release, drawn["deid_version"][0])
            for b in behaviors
        ],
    )


def _effect(pairs: pl.DataFrame, behavior: str, release: str, version: str) -> dict[str, object]:
    both = pairs.filter(pl.col("label").is_not_null() & pl.col("label_new").is_not_null())
    n = len(both)
    a, b, c = (
        int(both.select((new & old).sum()).item())
        for new, old in (
            (pl.col("label_new"), pl.col("label")),
            (pl.col("label_new"), ~pl.col("label")),
            (~pl.col("label_new"), pl.col("label")),
        )
    )
    shift = difference(a, b, c, n - a - b - c) if n else None
    return {
        "model_version": release,
        "behavior": behavior,
        "deid_version": version,
        "n": n,
        "n_missing": int((pairs["applies"] | pairs["applies_new"]).sum()) - n,
        "rate_raw": (a + c) / n if n else None,
        "rate_deidentified": (a + b) / n if n else None,
        "n_appeared": b,
        "n_vanished": c,
        "shift": float(shift.estimate) if shift else None,
        "shift_low": float(shift.low) if shift else None,
        "shift_high": float(shift.high) if shift else None,
        "p": float(mcnemar(b, c)) if n else None,
    }
