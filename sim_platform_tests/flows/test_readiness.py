"""Keys, addresses, models and the environment are looked at before anything is extracted."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sim_platform.contracts.errors import BadInputError
from sim_platform.flows.readiness import connections
from sim_platform.orchestration import runs
from sim_platform.registry.home import load_home
from sim_platform_tests.homes import BEHAVIORS, RECORDED_MODELS, write_home, write_yaml
from sim_platform_tests.test_cli import sim_platform

Run = Callable[..., list[str]]
LIVE = {"provider": "openai", "base_url": "http://127.0.0.1:9/v1", "model": "m"}


@contextmanager
def models_server(status: int, body: object, seen: list[str] | None = None) -> Iterator[str]:
    """Answers every GET so; its address has a query and a password that nobody may show."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if seen is not None:
                seen.append(f"{self.path} {self.headers.get('authorization')}")
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://user:hunter2@127.0.0.1:{server.server_port}/v1?api-version=secret-9"
    finally:
        server.shutdown()
        server.server_close()


def home_with(path: Path, **candidate: Any) -> Path:
    v2 = {"version": "v2", "replaces": "v1", **LIVE, **candidate}
    return write_home(path, n=2, models=[RECORDED_MODELS[0], v2])


def extracted(home: Path) -> bool:
    return any(home.glob("*.duckdb"))


@pytest.mark.parametrize("whose", ["candidate", "control", "judge"])
def test_a_key_that_is_missing_is_named_before_anything_is_extracted(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    monkeypatch.delenv("KEY_OF_A_TEST", raising=False)
    keyed = {**LIVE, "api_key_env": "KEY_OF_A_TEST"}
    of = {name: keyed if name == whose else LIVE for name in ("candidate", "control", "judge")}
    models = [
        {"version": "v1", "deployed": {"from": "2026-01-01"}, **of["control"]},
        {"version": "v2", "replaces": "v1", **of["candidate"]},
        {"version": "judge", **of["judge"]},
    ]
    home = write_home(tmp_path, n=2, models=models)
    judged = {**BEHAVIORS[0], "graders": [{"kind": "judge"}]}
    write_yaml(home / "behaviors" / "apologises.yaml", judged)
    with pytest.raises(BadInputError, match="KEY_OF_A_TEST"):
        run(home, "v2")
    assert not extracted(home)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("ALL_PROXY", "socks5://user:hunter2@127.0.0.1:9", "names a SOCKS proxy"),
        ("SSL_CERT_FILE", "/no/such/hunter2.pem", "cannot be read as certificates"),
        ("HTTPS_PROXY", "nonsense://hunter2", "is no address that can be used"),
    ],
)
def test_an_environment_that_no_client_can_use_is_named_before_anything_is_extracted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)  # as where it is not installed
    monkeypatch.setenv(variable, value)
    home = home_with(tmp_path)
    with pytest.raises(BadInputError, match=said) as error:
        runs.run_releases(load_home(home), ["v2"], None, say=print)
    assert variable in str(error.value)
    assert "hunter2" not in str(error.value)
    assert not extracted(home)


@pytest.mark.parametrize(
    ("status", "body", "is_ready", "said"),
    [
        (200, {"data": [{"id": "m"}, {"id": "other-name"}]}, True, 'has model "m"'),
        (200, {"data": [{"id": "other-name"}]}, False, 'does not list model "m" among its 1'),
        (401, {"error": "quoted text"}, False, "refuses the key (KEY_OF_A_TEST): answered 401"),
        (404, b"<html>quoted text", False, "has no list of models (answered 404): check base_url"),
        (307, b"", False, "answered 307"),
        (200, b"quoted text", False, "has no list of models (answered 200)"),
        (200, {"data": "quoted text"}, False, "has no list of models"),
    ],
)
def test_check_connect_says_what_an_endpoint_answers_and_nothing_that_is_secret(
    tmp_path: Path, status: int, body: object, is_ready: bool, said: str
) -> None:
    seen: list[str] = []
    with models_server(status, body, seen) as url:
        home = home_with(tmp_path, base_url=url, api_key_env="KEY_OF_A_TEST")
        done = sim_platform(home, "check", "--connect", KEY_OF_A_TEST="sk-1")
    assert done.returncode == (0 if is_ready else 1)
    assert seen == ["/v1/models?api-version=secret-9 Bearer sk-1"]
    printed = done.stdout + done.stderr
    assert said in printed
    assert "v2 at 127.0.0.1:" in printed
    for secret in ("secret-9", "hunter2", "sk-1", "quoted text", "other-name"):
        assert secret not in printed
    assert not extracted(home)


def test_an_endpoint_that_does_not_answer_takes_a_bounded_time(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        loaded = load_home(home_with(tmp_path, base_url=url))
        (found,) = connections(loaded, loaded.releases, seconds=0.3)
    assert (found["is_ready"], found["says"][:27]) == (False, "did not answer within 0.3 s")
    (found,) = connections(load_home(home_with(tmp_path)), ["v2"])
    assert found["says"] == "cannot be reached: check base_url and network"
    recorded = load_home(write_home(tmp_path / "recorded", n=2))
    assert connections(recorded, recorded.releases) == []
