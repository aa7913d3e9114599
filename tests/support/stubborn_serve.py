"""A stand-in for `embed-index serve` that does not do on SIGHUP what it should.

python stubborn_serve.py STATE_FOLDER KEY_FILE obeys|ignores|dies|takes-all [systemd|variable]
"""

import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from embed_index.jobs.serving.served_keys import ServedKeys
from embed_index.pipeline.secrecy.key_file import read_key_file
from embed_index.pipeline.secrecy.keyring import HashedKey
from embed_index.pipeline.secrecy.proof import NONCE_HEADER
from embed_index.pipeline.server.admission import Admission
from embed_index.pipeline.server.serving_record import ServingRecord, recorded_serving

folder, key_file, behaviour = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
source = sys.argv[4] if len(sys.argv) > 4 else "file"
credential = read_key_file(key_file)
keys = ServedKeys(
    folder,
    read_key=lambda: credential if source == "systemd" else read_key_file(key_file),
    from_systemd=source == "systemd",
)
admission = Admission()
ever: list[HashedKey] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_OPTIONS(self) -> None:
        """Prove to know the keys."""
        proof = admission.prove(
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
        is_open = self.path == "/ready" or admission.find(given.encode()) is not None
        self.send_response(200 if is_open else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


def take_keys() -> None:
    taken = keys.read()
    if taken.is_credential_old:
        os._exit(0)
    if behaviour == "takes-all":
        ever.extend(taken.keyring.hashed)
        admission.take(ever)
        return
    admission.take(taken.keyring.hashed)
    if taken.until is not None:
        timer = threading.Timer(max(0.0, taken.until - time.time()), take_keys)
        timer.daemon = True
        timer.start()


def on_hangup(*_: object) -> None:
    with (folder / "hangups").open("a") as file:
        file.write("x")
    if behaviour == "dies":
        os._exit(4)
    if behaviour != "ignores":
        take_keys()


signal.signal(signal.SIGHUP, on_hangup)
take_keys()
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
record = ServingRecord.of_this_process(
    url=f"http://127.0.0.1:{server.server_port}",
    key_file=None if source == "variable" else key_file,
    key_from_systemd=source == "systemd",
)
with recorded_serving(folder, record):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        signal.pause()
