# %% [markdown]
# # Sampling in a service
#
# One model answers any number of threads at once: each sample is a function of the weights, its
# seed and its number. The server is Python's own; it answers `/sample?seed=3&n=16` with a PNG.
#
#     python examples/service.py

# %%
import io
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse

import trilemma as tl

run = tl.train("vae", "name:digits", steps=100, batch=128, quiet=True)


# %%
class Handler(BaseHTTPRequestHandler):
    """Answers with a picture, or with the sentence that says why not."""

    def do_GET(self) -> None:
        """Draw what was asked for."""
        asked = parse_qs(urlparse(self.path).query)
        status, kind, body = 200, "image/png", io.BytesIO()
        try:
            n, seed = (int(asked.get(name, ["16"])[0]) for name in ("n", "seed"))
            run.sample(n, seed=seed).picture().save(body, format="PNG")
        except (tl.BadInput, ValueError) as error:
            status, kind, body = 400, "text/plain", io.BytesIO(str(error).encode())
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(body.getvalue())

    def log_message(self, *_: object) -> None:
        """Say nothing of each request."""


# %%
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_port}/sample?n=16&seed="


def answer(seed: int) -> bytes:
    """Ask the service for a picture."""
    with urllib.request.urlopen(f"{address}{seed}") as response:
        return response.read()


with ThreadPoolExecutor(4) as pool:
    answers = list(pool.map(answer, [1, 2, 1]))
print(f"{len(answers)} pictures; the same seed gives the same one: {answers[0] == answers[2]}")
server.shutdown()
