import polars as pl

from sim_platform.reporting.latency import arm_rows, code_rows, latency_png


def outcomes(
    *seconds: float, arm: str = "candidate", status: str = "completed", reason: str | None = None
) -> pl.DataFrame:
    same = {
        "arm": arm,
        "status": status,
        "reason": reason,
        "prompt_tokens": 2,
        "completion_tokens": 1,
        "cost_usd": 0.5,
    }
    return pl.DataFrame(
        [{**same, "latency_s": s} for s in seconds], schema_overrides={"reason": pl.String}
    )


def test_percentiles_are_of_what_was_sent_and_counts_of_everything() -> None:
    both = pl.concat(
        [
            outcomes(*(n / 100 for n in range(1, 102)), 0.0, 0.0),
            outcomes(0.0, arm="control", status="failed", reason="server_error"),
        ]
    )
    candidate, control = arm_rows(both)
    assert candidate == {
        "arm": "candidate",
        "outcomes": 103,
        "prompt_tokens": 206,
        "completion_tokens": 103,
        "cost_usd": 51.5,
        "p50 s": 0.51,
        "p90 s": 0.91,
        "p99 s": 1.0,
    }
    assert (control["outcomes"], control["p50 s"]) == (1, None)
    assert [tuple(row.values()) for row in code_rows(both)] == [
        ("candidate", "completed", None, 103),
        ("control", "failed", "server_error", 1),
    ]


def test_one_answer_is_enough_for_a_picture_and_none_makes_none() -> None:
    assert (latency_png(outcomes(0.2)) or b"").startswith(b"\x89PNG")
    assert latency_png(outcomes(0.0, 0.0)) is None
