"""A web server on the loopback that answers as a test tells it to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """One answer; with `cut`, only so many bytes of the promised body are sent."""

    status: int = 200
    body: bytes = b""
    cut: int | None = None


@dataclass
class Web:
    """Answers by path, used up in order, the last one again and again; and the paths that were asked for."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def next(self, path: str) -> Answer:
        self.asked.append(path)
        queue = self.answers.get(path, [Answer(404)])
        return queue.pop(0) if len(queue) > 1 else queue[0]


@contextmanager
def local_web() -> Iterator[Web]:
    """A web server at ``web.url``."""
    state = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = state.next(self.path)
            self.send_response(answer.status)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body[: answer.cut])

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
