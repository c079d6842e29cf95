"""A child process that serves: started, waited for, stopped. It knows nothing of what it runs."""

import ctypes
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

CACHE = pathlib.Path(os.environ["SERVICES_CACHE"])
TOP = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent():
    """The kernel ends the child when this process is gone, however it went."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    """A TCP port of the loopback interface that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check, timeout, what):
    """Calls `check` until it gives something true and returns that; the error of the last call explains a time-out."""
    end, trouble, value = time.monotonic() + timeout, None, None
    while True:
        try:
            value, trouble = check(), None
            if value:
                return value
        except (AssertionError, OSError, LookupError, ValueError) as error:
            trouble = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}; last: {trouble or value!r}"[:4000])
        time.sleep(0.25)


def fetch(url, method="GET", body=None, headers=None, timeout=10):
    """Status, headers and text of a URL; every HTTP status is an answer, only a broken connection is an error."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


class Server:
    """One process with its output in a file."""

    def __init__(self, name, argv, folder, env=None, cwd=None):
        self.name, self.argv, self.cwd = name, [str(arg) for arg in argv], cwd
        self.env = {**os.environ, **(env or {})}
        self.log_path = pathlib.Path(folder) / f"{name}.log"
        self.process = None

    def start(self):
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, cwd=self.cwd, preexec_fn=_die_with_parent
            )
        return self

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def tail(self, lines=40):
        return "\n".join(self.log.splitlines()[-lines:])

    def assert_alive(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")

    def wait_for(self, check, timeout, what):
        """Like `eventually`, but gives up at once when the process is gone."""

        def alive_and_ready():
            self.assert_alive()
            return check()

        try:
            return eventually(alive_and_ready, timeout, f"{self.name}: {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- end of its log ---\n{self.tail()}") from None

    def wait_for_port(self, port, timeout=60):
        def connects():
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True

        self.wait_for(connects, timeout, f"port {port}")
        return self

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, timeout):
        """The exit status."""
        return self.process.wait(timeout)

    def stop(self, timeout=20):
        """Asks, waits, insists. Returns the exit status."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout)
        return self.process.returncode
