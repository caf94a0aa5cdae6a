"""A real HTTP server with /files and /batches (and chat completions), as the Batch API has them:
loopback only.

Belongs here: that API, and its faults. Does not: anything a real model does.
"""

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from sim_platform_tests.replay.scripted_server import completion


class BatchServer:
    """Batches stay `in_progress` until `finish`. `on_create` runs when a batch is stored and before
    its maker hears of it: return False to answer nothing at all.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()  # requests by custom_id, in all batches
        self.online: list[dict[str, Any]] = []
        self.deleted: list[str] = []
        self.on_create: Callable[[], bool] = lambda: True
        self.before_create: Callable[[], bool] = lambda: True
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def finish(
        self,
        status: str = "completed",
        answer: Callable[[int, dict[str, Any]], dict[str, Any] | None] | None = None,
        errors: list[str] | None = None,
    ) -> None:
        """Ends every batch that is in progress: `answer` gives a line's response (or error), None
        for a line that expired.
        """
        for batch in [b for b in self.batches.values() if b["status"] == "in_progress"]:
            batch |= {
                "status": status,
                "errors": {"object": "list", "data": [{"code": code} for code in errors or []]},
            }
            if status == "failed":
                continue
            good, bad = [], []
            for n, text in enumerate(self.files[batch["input_file_id"]].decode().splitlines()):
                line = json.loads(text)
                said = (answer or self.answered)(n, line)
                row = {
                    "id": f"r{n}",
                    "custom_id": line["custom_id"],
                    "response": said,
                    "error": None,
                }
                if said is None:
                    row["error"] = {"code": "batch_expired", "message": "too late"}
                (good if said and said["status_code"] == 200 else bad).append(json.dumps(row))
            for name, lines in (("output_file_id", good), ("error_file_id", bad)):
                if lines:
                    batch[name] = f"{name}-{batch['id']}"
                    self.files[batch[name]] = "\n".join(lines).encode() + b"\n"
            batch["request_counts"] = {
                "total": len(good) + len(bad),
                "completed": len(good),
                "failed": len(bad),
            }

    @staticmethod
    def answered(n: int, line: dict[str, Any]) -> dict[str, Any]:
        return {
            "status_code": 200,
            "request_id": f"req-{n}",
            "body": completion(f"batch: {line['body']['messages'][-1]['content']}"),
        }


def _handler(server: BatchServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def _send(self, value: Any, status: int = 200) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.close()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/files":
                boundary = b"--" + self.headers["content-type"].split("boundary=")[1].encode()
                parts = [part.split(b"\r\n\r\n", 1) for part in body.split(boundary)[1:-1]]
                content = next(text for head, text in parts if b"filename=" in head)[:-2]
                name = f"file-{len(server.files)}"
                server.files[name] = content
                self._send(
                    {
                        "id": name,
                        "object": "file",
                        "bytes": len(content),
                        "created_at": 1,
                        "filename": "f",
                        "purpose": "batch",
                        "status": "processed",
                    }
                )
            elif self.path == "/v1/batches":
                if not server.before_create():
                    return self._hang_up()
                asked = json.loads(body)
                name = f"batch-{len(server.batches)}"
                made = {
                    "id": name,
                    "object": "batch",
                    "created_at": 1,
                    "status": "in_progress",
                    **asked,
                }
                server.batches[name] = made
                server.asked.update(
                    json.loads(line)["custom_id"]
                    for line in server.files[asked["input_file_id"]].decode().splitlines()
                )
                if not server.on_create():
                    return self._hang_up()
                self._send(made)
            else:
                asked = json.loads(body)
                server.online.append(asked)
                self._send(completion(f"online: {asked['messages'][-1]['content']}"))
            return None

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            place = path.removeprefix("/v1/").split("/")
            if place[0] == "files":
                self._send(server.files[place[1]])
            elif len(place) == 2:
                self._send(server.batches[place[1]])
            else:  # newest first, one a page, as a long list would come
                names = [*reversed(server.batches)]
                after = dict(pair.split("=") for pair in query.split("&") if pair).get("after")
                rest = names[names.index(after) + 1 :] if after else names
                self._send(
                    {
                        "object": "list",
                        "data": [server.batches[n] for n in rest[:1]],
                        "has_more": len(rest) > 1,
                    }
                )

        def do_DELETE(self) -> None:
            name = self.path.rpartition("/")[2]
            server.deleted.append(name)
            self._send({"id": name, "object": "file", "deleted": True})

    return Handler
