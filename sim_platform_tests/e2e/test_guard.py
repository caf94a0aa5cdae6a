"""`sim-platform ui`: who may ask Dagster's webserver, by real requests to the real server."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from sim_platform_tests.e2e.servers import (
    Servers,
    living,
    make_dagster_home,
    opened_address,
    sim_platform,
    stop,
)
from sim_platform_tests.homes import without_models, write_home

pytestmark = pytest.mark.e2e

READ = "{assetNodes{assetKey{path}}}"
START = (
    "mutation{launchPartitionBackfill(backfillParams:{assetSelection:[{path:"
    '["stratified_sample"]}],partitionNames:["v2"]}){__typename}}'
)
FOREIGN = ["https://attacker.example", "null", "http://127.0.0.1:1", "http://localhost:8888"]


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: str
    headers: HTTPMessage


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The command as a person starts it, with its daemon."""
    home = without_models(write_home(tmp_path_factory.mktemp("guarded"), n=4))
    make_dagster_home(home)
    log = home / "ui.log"
    process = sim_platform(home, "ui", "--port", "0", log=log)
    try:
        yield Servers(*opened_address(log), home, {log: process})
    finally:
        stop(process)


def ask(
    ui: Servers, path: str, body: str | None = None, *, token: bool = True, **headers: str
) -> Answer:
    """One request, with the cookie of the token unless told otherwise."""
    host = ui.url.removeprefix("http://")
    cookie = {"Cookie": f"sim_platform_{host.partition(':')[2]}={ui.token}"} if token else {}
    connection = HTTPConnection(host, timeout=60)
    try:
        connection.request(
            "GET" if body is None else "POST",
            path,
            body,
            {"Content-Type": "application/json", **cookie}
            | {name.replace("_", "-"): value for name, value in headers.items()},
        )
        answer = connection.getresponse()
        return Answer(answer.status, answer.read().decode(), answer.headers)
    finally:
        connection.close()


def graphql(ui: Servers, query: str, **headers: str) -> Answer:
    return ask(ui, "/graphql", json.dumps({"query": query}), **headers)


def test_the_address_that_was_printed_opens_the_page_and_leaves_no_token_in_it(ui: Servers) -> None:
    answer = ask(ui, f"/assets/rate_comparison?view=checks&token={ui.token}", token=False)
    assert (answer.status, answer.headers["location"]) == (
        303,
        "/assets/rate_comparison?view=checks",
    )
    assert "httponly; path=/; samesite=strict" in answer.headers["set-cookie"].lower()
    page = ask(ui, "/assets/rate_comparison?view=checks")
    assert page.status == 200
    assert page.headers["x-frame-options"] == "SAMEORIGIN"
    assert "rate_comparison" in graphql(ui, READ, Origin=ui.url).body


@pytest.mark.parametrize("path", ["//attacker.example/", "/\\attacker.example/"])
def test_the_way_in_leads_to_no_other_site(ui: Servers, path: str) -> None:
    assert ask(ui, f"{path}?token={ui.token}").headers["location"] == "/attacker.example/"


@pytest.mark.parametrize("path", ["/", "/graphql", "/server_info", "/logs/x/y/out", "/vendor/a.js"])
def test_without_the_token_nothing_is_shown_nor_started(ui: Servers, path: str) -> None:
    for wrong in ("", "x", ui.token[:-1], f"{ui.token}x", "ä"):
        answer = ask(ui, f"{path}?token={quote(wrong)}", token=False)
        assert (answer.status, ui.token in answer.body) == (401, False)
    assert ask(ui, path, json.dumps({"query": START}), token=False).status == 401
    assert ui.backfills() == []


@pytest.mark.parametrize("host", ["attacker.example", "localhost", "127.0.0.1:1", "[::1]:80", ""])
def test_a_foreign_host_is_refused_also_with_the_token(ui: Servers, host: str) -> None:
    assert graphql(ui, READ, Host=host).status in (400, 421)


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_origin_is_refused_also_with_the_token(ui: Servers, origin: str) -> None:
    assert graphql(ui, START, Origin=origin).status == 403
    assert ask(ui, f"/graphql?query={quote(START)}", Origin=origin).status == 403
    assert ui.backfills() == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_embed_nothing_of_it(ui: Servers, site: str) -> None:
    for mode, kind in (("no-cors", "image"), ("navigate", "iframe"), ("cors", "empty")):
        there = {"Sec_Fetch_Site": site, "Sec_Fetch_Mode": mode, "Sec_Fetch_Dest": kind}
        assert ask(ui, "/", **there).status == 403


@pytest.mark.parametrize("query", [START, READ, "not graphql"])
def test_nothing_is_asked_of_graphql_by_get(ui: Servers, query: str) -> None:
    for path in ("/graphql", "/graphql/", "/%67raphql"):
        for accepted in ("application/json", "text/html"):
            asked = ask(ui, f"{path}?query={quote(query)}", Accept=accepted)
            assert asked.status == 405
    assert ui.backfills() == []


def test_a_websocket_goes_through_the_same_door(ui: Servers) -> None:
    address = f"{ui.url.replace('http', 'ws')}/graphql"
    cookie = f"sim_platform_{ui.url.rpartition(':')[2]}={ui.token}"
    refused = [
        {"origin": ui.url},
        {"origin": "https://attacker.example", "additional_headers": {"Cookie": cookie}},
        {"additional_headers": {"Cookie": f"{cookie[:-1]}"}},
    ]
    for given in refused:
        with (
            pytest.raises(InvalidStatus) as error,
            connect(address, subprotocols=["graphql-ws"], **given),
        ):
            pass
        assert error.value.response.status_code == 403
    with connect(
        address,
        subprotocols=["graphql-ws"],
        origin=ui.url,
        additional_headers={"Cookie": cookie},
    ) as socket:
        socket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(socket.recv(timeout=30))["type"] == "connection_ack"


def test_the_daemon_works_beside_it_and_starts_what_the_page_asks_for(ui: Servers) -> None:
    ui.wait_for("the sensor's partition keys", lambda: ui.partition_keys() == ["v2"])


def test_the_token_is_in_no_command_line_and_in_no_file_of_the_home(ui: Servers) -> None:
    (log,) = ui.processes
    for pid in living("session", ui.processes[log].pid):
        assert ui.token not in Path(f"/proc/{pid}/cmdline").read_text()
    found = []
    for file in ui.home.rglob("*"):
        with suppress(FileNotFoundError):  # SQLite's beside a database go meanwhile
            if file.is_file() and file != log and ui.token.encode() in file.read_bytes():
                found.append(file)
    assert found == []
    assert log.read_text().count(ui.token) == 1


def test_a_port_in_use_is_bad_input(ui: Servers, tmp_path: Path) -> None:
    port = ui.url.rpartition(":")[2]
    log = tmp_path / "second.log"
    second = sim_platform(ui.home, "ui", "--port", port, log=log)
    assert second.wait(60) == 2
    assert f"error: port {port} of 127.0.0.1 cannot be had" in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_daemon_ends_with_the_page_however_that_ends(
    sent: signal.Signals, tmp_path: Path
) -> None:
    home = without_models(write_home(tmp_path / "home", n=4))
    make_dagster_home(home)
    log = tmp_path / "ui.log"
    process = sim_platform(home, "ui", "--port", "0", log=log)

    def daemons() -> list[int]:
        found = []
        for pid in living("session", process.pid):
            with suppress(OSError):  # it ended meanwhile
                command = Path(f"/proc/{pid}/cmdline").read_text()
                found += [pid] if "orchestration.daemon" in command else []
        return found

    try:
        opened_address(log)
        assert len(daemons()) == 1
        time.sleep(5)  # so that it works already
        os.kill(process.pid, sent)
        ended = process.wait(90)
        # after a SIGKILL, Dagster's code servers end by themselves a while after the last request
        left = daemons if sent == signal.SIGKILL else lambda: living("session", process.pid)
        deadline = time.monotonic() + 60
        while left() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert (ended, left()) == (-9 if sent == signal.SIGKILL else 130, []), log.read_text()
        assert "Traceback" not in log.read_text()
        assert "Fatal" not in log.read_text()
    finally:
        stop(process)
