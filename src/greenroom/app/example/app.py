"""A small web application: one page, which says which commit it is."""

import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TITLE = "The shop"
COLOUR = "#7a5c2e"
COMMIT = Path("COMMIT").read_text(encoding="utf-8").strip()  # written by the build, see Procfile

PAGE = f"""<!doctype html>
<title>{TITLE}</title>
<body style="font-family: sans-serif; margin: 20vh auto; max-width: 30em; text-align: center">
<h1 style="color: {COLOUR}">{TITLE}</h1>
<p>This is commit <code>{COMMIT}</code>
""".encode()


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = (
        True  # head and body are two writes; the second would wait for the first's acknowledgement
    )

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{TITLE} ({COMMIT[:7]}) listens on port {server.server_port}", flush=True)
    server.serve_forever()
