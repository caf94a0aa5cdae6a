"""The guard in front of Dagster's webserver, which by itself asks nobody who they are: any page
open in the operator's browser, and any user of the machine, could start paid runs.

Belongs here: which requests pass. Does not: the webserver and its processes (webserver).

A request passes when its Host is this server (a foreign name that resolves to this machine is not),
its Origin, where it has one, is this server's own page, it is no GraphQL by GET (a link or an
image would run it), and it carries the token of this start: once in the address, from then on in a
cookie that no script reads and no other site sends. WebSockets go through the same door.
"""

import hmac
from dataclasses import dataclass
from urllib.parse import urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

TOKEN = "token"
POLICY_VIOLATION = 1008  # of a WebSocket (RFC 6455, section 7.4.1)


@dataclass(frozen=True)
class Guard:
    """An ASGI app in front of another one, for a server on the loopback interface.

    Args:
        port: where this server listens; a Host or Origin with another one is foreign.
        token: what the operator's browser has to know. It is in no log and no error.
    """

    app: ASGIApp
    port: int
    token: str

    @property
    def hosts(self) -> set[str]:
        """What Host may say."""
        return {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}

    @property
    def cookie(self) -> str:
        """Its name: browsers keep one set of cookies for all ports of a machine."""
        return f"sim_platform_{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        asked = HTTPConnection(scope)
        answer = self.refusal(asked)
        if answer is None and _is_read(asked) and TOKEN in asked.query_params:
            answer = self._entered(asked)
        if answer is None:
            await self.app(scope, receive, _unframed(send))
        elif scope["type"] == "websocket":
            await WebSocketClose(POLICY_VIOLATION)(scope, receive, send)
        else:
            await answer(scope, receive, _unframed(send))

    def refusal(self, asked: HTTPConnection) -> Response | None:
        """What is said to a request that may not pass."""
        headers = asked.headers
        if len(hosts := headers.getlist("host")) != 1 or hosts[0] not in self.hosts:
            return _said(421, f"This is the user interface of {min(self.hosts)} and no other host.")
        if any(origin != f"http://{hosts[0]}" for origin in headers.getlist("origin")) or (
            headers.get("sec-fetch-site") in ("cross-site", "same-site")
            and (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
            != ("navigate", "document")
        ):
            return _said(403, "Requests of other sites are refused.")
        is_graphql = asked.scope["path"].startswith("/graphql") and "query" in asked.query_params
        if is_graphql and _is_read(asked):
            return _said(405, "GraphQL is asked by POST only.", allow="POST")
        known = [asked.cookies.get(self.cookie, ""), *asked.query_params.getlist(TOKEN)]
        if not any(hmac.compare_digest(one.encode(), self.token.encode()) for one in known):
            return _said(
                401,
                "This page wants the token of this start: open the address with ?token=… that"
                " `sim-platform ui` printed.",
            )
        return None

    def _entered(self, asked: HTTPConnection) -> Response:
        """The same page without the token in its address, and the token in a cookie."""
        rest = urlencode([(k, v) for k, v in asked.query_params.multi_items() if k != TOKEN])
        path = "/" + asked.scope["path"].lstrip("/\\")  # //host would be another site
        answer = RedirectResponse(f"{path}?{rest}" if rest else path, status_code=303)
        answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict")
        answer.headers["cache-control"] = "no-store"
        answer.headers["referrer-policy"] = "no-referrer"
        return answer


def _is_read(asked: HTTPConnection) -> bool:
    return asked.scope.get("method") in ("GET", "HEAD")  # a WebSocket has no method


def _said(status: int, text: str, **headers: str) -> Response:
    return PlainTextResponse(f"{text}\n", status, {"cache-control": "no-store", **headers})


def _unframed(send: Send) -> Send:
    """No other page may show this one in a frame and borrow its clicks."""

    async def with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["x-frame-options"] = "SAMEORIGIN"
        await send(message)

    return with_header
