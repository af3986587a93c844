"""Web server of the search page: Starlette on uvicorn.

It answers this machine alone unless told otherwise, serves nothing but pictures of the index, sends every page with a
content security policy that allows no script, and refuses what it cannot answer soon. Where the page of another site
makes a browser call this server by a name of its own (DNS rebinding), the name in the request gives it away.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_to_bytes

from mm_kptm.data.images.folders import inside
from mm_kptm.errors import UserError, notice
from mm_kptm.suites.search.page import Question, answer_page, error_page, style
from mm_kptm.suites.search.query import Searcher

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

AT_ONCE, WAITING = 2, 64  #: queries that are computed at once, and that wait; more are refused
CONNECTIONS, BACKLOG = 512, 256  #: connections open at once, and not yet accepted
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; style-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
#: What browsers show; other kinds are shown by their thumbnail.
KINDS = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".gif": "image/gif", ".webp": "image/webp",
    ".bmp": "image/bmp",
}  # fmt: skip
Result = TypeVar("Result")


class _Busy(Exception):
    """More queries wait than are answered soon."""


class _Gate:
    """Lets some queries be computed at once and some wait."""

    def __init__(self) -> None:
        self._inside = 0
        self._free = asyncio.Semaphore(AT_ONCE)

    async def run(self, work: Callable[[], Result]) -> Result:
        """The result of ``work`` in a thread; :class:`_Busy` where too many wait."""
        from starlette.concurrency import run_in_threadpool

        if self._inside >= AT_ONCE + WAITING:
            raise _Busy
        self._inside += 1
        try:
            async with self._free:
                return await run_in_threadpool(work)
        finally:
            self._inside -= 1


def application(searcher: Searcher, *, names: Sequence[str] = ()) -> Starlette:
    """The ASGI application of a searcher.

    Args:
        searcher: an open index.
        names: of this machine, by which others may call it; its addresses and ``localhost`` are known.
    """
    from starlette.applications import Starlette
    from starlette.convertors import Convertor, register_url_convertor
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.routing import Route

    class AnyName(Convertor[str]):
        """The rest of an address, line breaks included, which names of files may have."""

        regex = "(?s:.*)"

        def convert(self, value: str) -> str:
            return value

        def to_string(self, value: str) -> str:
            return value

    register_url_convertor("any_name", AnyName())

    gate = _Gate()

    async def page(request: Request) -> Response:
        text = ""
        try:
            question = Question.read(request.scope["query_string"])
            text = question.text or ""
            content = await gate.run(lambda: _answer(searcher, question))
        except _Busy:
            busy = error_page("Many queries are being answered; try again in a moment", text=text)
            return HTMLResponse(busy, 503, {"retry-after": "1"})
        except UserError as error:
            return HTMLResponse(error_page(str(error), text=text), 400)
        return HTMLResponse(content, headers={"cache-control": "no-store"})

    async def css(request: Request) -> Response:
        return Response(style(), media_type="text/css", headers={"cache-control": "max-age=300"})

    async def thumbnail(request: Request) -> Response:
        generation = searcher.generation
        row = generation.row(_name(request, "/thumbnail/"))
        return _none() if row is None else _image(request, generation.thumbnails[row], generation.digests[row])

    async def picture(request: Request) -> Response:
        generation, name = searcher.generation, _name(request, "/picture/")
        row = generation.row(name)
        if row is None:
            return _none()
        kind = KINDS.get(Path(name).suffix.lower())
        if kind is None:
            return _image(request, generation.thumbnails[row], generation.digests[row])
        return await _original(Path(generation.facts.pictures), name, kind)

    async def nothing(request: Request) -> Response:
        return Response(status_code=204)

    async def failed(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        said = {404: "There is no such page", 405: "The page can only be read"}.get(status, "Something went wrong")
        return HTMLResponse(error_page(said), status, getattr(error, "headers", None))

    def _none() -> Response:
        return PlainTextResponse("no such picture\n", 404)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/style.css", css),
            Route("/thumbnail/{name:any_name}", thumbnail),
            Route("/picture/{name:any_name}", picture),
            Route("/favicon.ico", nothing),
        ],
        middleware=[Middleware(_Guard, names=frozenset(name.lower() for name in names))],
        exception_handlers={404: failed, 405: failed, 500: failed},
    )


class _Guard:
    """ASGI middleware: refuses requests by an unknown name of this machine, and adds the headers of every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]], names: frozenset[str]) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = [
                    (name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there
                ]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not _is_own(hosts[0], self.names):
            from starlette.responses import PlainTextResponse

            said = "this server was called by a name that it does not know; start it with --name to add one\n"
            return await PlainTextResponse(said, 400)(scope, receive, guarded)
        return await self.app(scope, receive, guarded)


def serve(searcher: Searcher, *, host: str = "127.0.0.1", port: int = 8642, names: Sequence[str] = ()) -> None:
    """Serve the page until the process is interrupted.

    Args:
        searcher: an open index.
        host: address to listen at; another one than that of the loopback lets other machines in.
        port: 0 takes a free one.
        names: see :func:`application`.

    Raises:
        UserError: the address or port cannot be had, or the packages of the extra ``search`` are missing.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn
    except ImportError:
        raise UserError("the page needs starlette and uvicorn; `pip install mm-kptm[search]`") from None
    with _listening(host, port) as listener:
        address, taken = listener.getsockname()[:2]
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            notice(f"the page is open to every machine that reaches {address}, without a password")
        shown = f"[{address}]" if ":" in address else address
        print(f"http://{shown}:{taken}/  (stop with Ctrl-C)", flush=True)
        server = uvicorn.Server(configuration(searcher, names=names))
        server.run(sockets=[listener])


def configuration(searcher: Searcher, *, names: Sequence[str] = ()) -> Any:
    """Configuration of uvicorn for the page."""
    import uvicorn

    return uvicorn.Config(
        application(searcher, names=names),
        http="h11",
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        backlog=BACKLOG,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=16 * 1024,
    )


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise UserError(
            f"{host}, port {port}, cannot be listened at: {error.strerror}; name another --port, or 0 for a free one"
        ) from None
    return listener


def _answer(searcher: Searcher, question: Question) -> str:
    generation = searcher.refresh()
    if question.like is not None:
        return answer_page(generation, question, searcher.like(question.like, question.k))
    if question.text is None:
        return answer_page(generation, question, None)
    hits = searcher.by_text(question.text, question.k)
    return answer_page(generation, question, hits, searcher.model.facts(question.text))


def _name(request: Request, prefix: str) -> str:
    """The name of a picture behind a prefix of the address, any bytes as the file system has them."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    return os.fsdecode(unquote_to_bytes(raw.partition(b"?")[0]).removeprefix(prefix.encode()))


def _image(request: Request, content: bytes, digest: Any) -> Response:
    from starlette.responses import Response

    tag = f'"{digest.tobytes().hex()[:32]}"'
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/jpeg", headers=headers)


async def _original(folder: Path, name: str, kind: str) -> Response:
    from starlette.responses import FileResponse, PlainTextResponse

    try:
        path = inside(folder, name)
        if not path.is_file():
            raise UserError("gone")
    except (UserError, OSError):
        return PlainTextResponse("this picture is no longer in the folder\n", 404)
    headers = {"cache-control": "private, no-cache", "content-security-policy": "default-src 'none'; sandbox"}
    return FileResponse(path, media_type=kind, headers=headers)


def _is_own(host: str, names: frozenset[str]) -> bool:
    """Whether a Host header names this machine: an address, ``localhost`` or one of ``names``, with any port."""
    name, _, port = host.rpartition(":") if not host.endswith("]") and ":" in host else (host, "", "")
    if port and not port.isdigit():
        return False
    name = name.lower()
    if name == "localhost" or name in names:
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]") if name.startswith("[") else name)
    except ValueError:
        return False
    return True
