"""A tracking server that dies in the middle of a run."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_RUN = {"info": {"run_id": "1" * 32, "experiment_id": "1", "status": "RUNNING"}, "data": {}}
# MLflow's client ignores the fields that it does not expect, so one answer serves all requests.
_ANSWER = json.dumps({"experiment": {"experiment_id": "1", "name": "here"}, "run": _RUN}).encode()


@contextmanager
def dying_server(last_words: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Answer MLflow's client until a request holds `last_words`; leave it and all later ones open.

    Yields:
        The address of the server, and the bodies of the requests that it has received.
    """
    received: list[bytes] = []
    is_dead, is_over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if last_words in received[-1]:
                is_dead.set()
            if is_dead.is_set():
                is_over.wait()
                return
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(_ANSWER)))
            self.end_headers()
            self.wfile.write(_ANSWER)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", received
        is_over.set()
        server.shutdown()
        thread.join()
