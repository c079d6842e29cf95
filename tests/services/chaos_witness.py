"""What agents said, kept beyond their death: result lines and messages. It judges nothing but whether two sayings of one
thing are the same."""

import http.server
import json
import threading

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from hook import Hook
from server import fetch

# Most bytes of a result log that are read at once.
ALL_LINES = 10_000_000


def key(line):
    """What a result line is about."""
    window = line["window"]
    region = line.get("segment", {}).get("region", "")
    return (line["type"], window["name"], window["start"], line.get("version", ""), region, line.get("subject", ""), line.get("metric", ""), line["revision"])


class Witness:
    """All windows and measurements, by what they are about; said twice they must say the same."""

    def __init__(self, ignore=()):
        """`ignore` names keys of window lines that depend on when they are said."""
        self.lines, self.contradictions, self.ignore = {}, [], ignore
        self.lock = threading.Lock()

    def hear(self, text):
        line = json.loads(text)
        if line["type"] not in ("window", "measurement"):
            return
        text = self.normal(text)
        with self.lock:
            known = self.lines.setdefault(key(line), text)
            if known != text:
                self.contradictions.append((known, text))

    def normal(self, text):
        """A line without what is ignored; as it is where nothing is."""
        # Whether labels are on their way or being read again after a hand-over is not in the records.
        text = text.replace('"reason":"labels are being read again"', '"reason":"awaiting_labels"')
        if not self.ignore or not text.startswith('{"type":"window"'):
            return text
        line = json.loads(text)
        return json.dumps({name: value for name, value in line.items() if name not in self.ignore}, separators=(",", ":"))

    def ask(self, agent):
        """Takes what an agent shows; an agent that does not answer shows nothing."""
        try:
            status, _, text = fetch(f"{agent.url}/api/v1/windows?limit={ALL_LINES}", timeout=30)
        except OSError:
            return
        if status == 200:
            for line in text.splitlines():
                self.hear(line)


class Receiver:
    """An OTLP receiver of logs: hands the lines of `drift.window.closed` to the witness."""

    def __init__(self, witness):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                if self.path == "/v1/logs":
                    for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                        for scope in resource.scope_logs:
                            for record in scope.log_records:
                                for line in record.body.string_value.splitlines():
                                    witness.hear(line)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class Messages(Hook):
    """A receiver of webhooks that knows when two of them are the same message."""

    def by_id(self):
        """The bodies under each id; more than one body is one too many."""
        bodies = {}
        for request in self.accepted:
            bodies.setdefault(request["headers"]["webhook-id"], set()).add(request["body"])
        return bodies
