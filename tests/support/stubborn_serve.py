"""A stand-in for `embed-index serve` that does not do on SIGHUP what it should.

python stubborn_serve.py STATE_FOLDER KEY_FILE obeys|ignores|dies|takes-both [systemd|variable]
"""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from embed_index.pipeline.secrecy.proof import NONCE_HEADER, prove
from embed_index.pipeline.server.serving_record import ServingRecord, recorded_serving

folder, key_file, behaviour = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
source = sys.argv[4] if len(sys.argv) > 4 else "file"
taken = [key_file.read_text().strip()]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        """Prove to know the newest key."""
        proof = prove(
            taken[-1],
            nonce=self.headers[NONCE_HEADER],
            client=self.client_address,
            server=self.connection.getsockname(),
        )
        self.send_response(200)
        self.send_header("Content-Length", str(len(proof)))
        self.end_headers()
        self.wfile.write(proof.encode())

    def do_GET(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.send_response(200 if given in taken else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def on_hangup(*_: object) -> None:
    with (folder / "hangups").open("a") as file:
        file.write("x")
    if behaviour == "dies":
        os._exit(4)
    if behaviour == "obeys":
        taken.clear()
    if behaviour in ("obeys", "takes-both"):
        taken.append(key_file.read_text().strip())


signal.signal(signal.SIGHUP, on_hangup)
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
record = ServingRecord.of_this_process(
    url=f"http://127.0.0.1:{server.server_port}",
    key_file=None if source == "variable" else key_file,
    key_from_systemd=source == "systemd",
)
with recorded_serving(folder, record):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        signal.pause()
