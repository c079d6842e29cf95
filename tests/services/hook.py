"""A webhook receiver: keeps every request, and may refuse the first ones to see them come again."""

import base64
import http.server
import json
import os
import threading


class Hook:
    def __init__(self, refuse=0):
        self.requests, self.refuse = [], refuse
        self.secret = "whsec_" + base64.b64encode(os.urandom(24)).decode()
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status = 503 if len(hook.requests) < hook.refuse else 204
                hook.requests.append({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body, "status": status})
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"

    @property
    def accepted(self):
        return [request for request in self.requests if request["status"] == 204]

    @staticmethod
    def payload(request):
        return json.loads(request["body"])

    def start(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
