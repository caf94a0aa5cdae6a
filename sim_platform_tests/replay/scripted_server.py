"""A Chat Completions server that misbehaves by schedule, for tests: loopback only, one
thread, raw asyncio.

Belongs here: faults and counting. Does not: anything a real model does.
"""

import asyncio
import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

Fault = str
"""ok, an HTTP status ("500"), "429 after 0.2", or one of: empty, not_json, no_choices,
null_content, reset, reset_in_body, slow, drip, length, content_filter,
tool_call, refusal; huge, huge_chunked, huge_zipped: a body of 100 MB, announced, in chunks, or in
100 kB of gzip.
"""


def completion(
    content: str | None, finish_reason: str = "stop", **message: object
) -> dict[str, Any]:
    return {
        "id": "c-1",
        "object": "chat.completion",
        "model": "served-name",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": content, **message},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


TOOL_CALL = {
    "id": "call-1",
    "type": "function",
    "function": {"name": "delete_everything", "arguments": '{"really": true}'},
}


def _key(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"] if "messages" in body else body["input"]
    return content if isinstance(content, str) else json.dumps(content)


class ScriptedServer:
    """Answers "echo: <last message>", or what `answer` makes of the request's body. `schedule`
    gives, by last message, the fault of its first, second ... request; after the last one, and for
    the rest, `always`.
    """

    def __init__(
        self,
        schedule: Mapping[str, Sequence[Fault]] | None = None,
        always: Fault = "ok",
        error_body: object = None,
        answer: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    ) -> None:
        self.schedule, self.always, self.error_body = schedule or {}, always, error_body
        self.answer = answer or (lambda body: completion(f"echo: {_key(body)}"))
        self.requests: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.authorization: set[str] = set()
        self.most_in_flight = self._in_flight = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024), self._loop
        ).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:])
                }
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.authorization.add(headers.get("authorization", ""))
                self._in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self._in_flight)
                try:
                    if not await self._answer(body, writer):
                        return
                finally:
                    self._in_flight -= 1
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        key = _key(body)
        turn = self.requests[key]
        self.requests[key] += 1
        self.bodies.append(body)
        faults = self.schedule.get(key, ())
        fault = faults[turn] if turn < len(faults) else self.always
        if fault in ("reset", "reset_in_body"):
            if fault == "reset_in_body":
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length:"
                    b' 500\r\n\r\n{"choices": ['
                )
                await writer.drain()
                await asyncio.sleep(0.02)
            writer.transport.abort()
            return False
        if fault == "slow":
            await asyncio.sleep(30)
        if fault == "drip":
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n"
            )
            for _ in range(1000):
                writer.write(b" ")
                await asyncio.sleep(0.05)
        if fault.startswith("huge"):
            return await self._answer_hugely(fault, writer)
        if fault[0].isdigit():
            status, _, after = fault.partition(" after ")
            extra = f"retry-after: {after}\r\n" if after else ""
            self._write(
                writer,
                int(status),
                json.dumps(
                    self.error_body
                    or {"error": {"message": f"no: {key}", "type": "fault", "code": None}}
                ),
                extra,
            )
            return True
        reply: dict[str, str] = {
            "empty": "",
            "not_json": "<html>" + key,
            "no_choices": '{"error": "busy"}',
            "null_content": json.dumps(completion(None)),
            "length": json.dumps(completion("cut o", "length")),
            "content_filter": json.dumps(completion("", "content_filter")),
            "tool_call": json.dumps(completion(None, "tool_calls", tool_calls=[TOOL_CALL])),
            "refusal": json.dumps(completion(None, refusal="I would rather not.")),
        }
        self._write(writer, 200, reply[fault] if fault in reply else json.dumps(self.answer(body)))
        return True

    @staticmethod
    async def _answer_hugely(fault: Fault, writer: asyncio.StreamWriter) -> bool:
        part, parts = bytes(2**20), 100
        extra = (
            "transfer-encoding: chunked"
            if fault == "huge_chunked"
            else f"content-length: {len(part) * parts}"
        )
        if fault == "huge_zipped":
            packer = zlib.compressobj(wbits=31)
            body = b"".join(packer.compress(part) for _ in range(parts)) + packer.flush()
            part, parts, extra = body, 1, f"content-encoding: gzip\r\ncontent-length: {len(body)}"
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{extra}\r\n\r\n".encode()
        )
        for _ in range(parts):
            writer.write(b"%x\r\n%s\r\n" % (len(part), part) if fault == "huge_chunked" else part)
            await writer.drain()
        return False

    @staticmethod
    def _write(writer: asyncio.StreamWriter, status: int, text: str, extra: str = "") -> None:
        body = text.encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{extra}content-length:"
            f" {len(body)}\r\n\r\n".encode()
            + body
        )
