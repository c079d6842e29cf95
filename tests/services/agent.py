"""One `driftline run`: its configuration, its process, its HTTP surface."""

import json
import os
import pathlib
import re
import signal

import yaml

from server import Server, fetch, free_port

BINARY = pathlib.Path(os.environ["DRIFTLINE_BIN"])

# Generous, because two cores may be shared with a broker, a browser and a scraper.
PATIENCE = 120


def car_loan_model(baseline):
    return {
        "name": "car_loan",
        "baseline": str(baseline),
        "task": "binary",
        "positive_class": "1",
        "windows": [{"name": "7d", "size": "7d"}],
        "lateness": "1h",
        "min_samples": 500,
        "labels": {"horizon": "45d"},
    }


class Agent:
    """Built, then adjusted through `config` and `rules`, then started; may be stopped and started again."""

    def __init__(self, folder, broker, baseline, environment=None):
        self.folder, self.port = folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        name = folder.name
        self.predictions, self.labels = f"{name}.predictions", f"{name}.labels"
        broker.create(self.predictions, self.labels)
        self.config = {
            "version": 1,
            "kafka": {
                "bootstrap_servers": [broker.address],
                "group_id": f"driftline-{name}",
                "topics": {"predictions": [self.predictions], "labels": [self.labels]},
                "start": "earliest",
                # Static membership: a killed agent takes its partitions back at once when it returns.
                "librdkafka": {"group.instance.id": name, "session.timeout.ms": "10000"},
            },
            "models": [car_loan_model(baseline)],
            "state": {"path": str(folder / "state")},
            "http": {"listen": f"127.0.0.1:{self.port}"},
        }
        self.rules, self.arguments = None, []
        self.environment = {"RUST_BACKTRACE": "1", **(environment or {})}
        self.server = None

    def write(self):
        """Writes the files; returns the arguments that name them."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "rules").mkdir(exist_ok=True)
        arguments = ["--config", self.folder / "driftline.yaml"]
        (self.folder / "driftline.yaml").write_text(yaml.safe_dump(self.config, sort_keys=False))
        if self.rules is not None:
            (self.folder / "rules" / "rules.yaml").write_text(yaml.safe_dump(self.rules, sort_keys=False))
            arguments += ["--rules", self.folder / "rules" / "*.yaml"]
        return arguments

    def start(self, ready=True):
        """Returns once it is ready, or, without `ready`, once it listens."""
        self.server = Server("driftline", [BINARY, "run", *self.write(), *self.arguments], self.folder, env=self.environment).start()
        self.server.wait_for_port(self.port)
        if ready:
            self.server.wait_for(lambda: fetch(f"{self.url}/readyz")[0] == 200, PATIENCE, "/readyz answers 200")
        return self

    def stop(self):
        return self.server.stop(60) if self.server else None

    def drain(self):
        """SIGTERM, as an orchestrator sends it. Returns the exit status."""
        self.server.signal(signal.SIGTERM)
        return self.server.wait(60)

    def reload(self):
        """SIGHUP, after the files have been written anew."""
        self.write()
        self.server.signal(signal.SIGHUP)

    def kill(self):
        self.server.signal(signal.SIGKILL)
        self.server.wait(20)

    def text(self, path):
        status, _, text = fetch(self.url + path)
        assert status == 200, f"{path}: {status} {text[:300]}"
        return text

    def json(self, path):
        return json.loads(self.text(path))

    def status(self):
        return self.json("/api/v1/status")["data"]

    def results(self):
        """Every result line behind /api/v1/windows."""
        return [json.loads(line) for line in self.text("/api/v1/windows?model=car_loan").splitlines()]

    def _latest(self, kind, key, wanted):
        latest = {}
        for result in self.results():
            if result["type"] == kind and not result.get("segment") and all(result[name] == value for name, value in wanted.items()):
                window = key(result)
                if result.get("revision", 0) >= latest.get(window, {}).get("revision", 0):
                    latest[window] = result
        return latest

    def measured(self, subject, metric):
        """The newest revision of one measurement by window start."""
        return self._latest("measurement", lambda result: result["window"]["start"], {"subject": subject, "metric": metric})

    def windows(self):
        """The newest summary of each window by its start."""
        return self._latest("window", lambda result: result["window"]["start"], {})

    def wait_for(self, check, what, timeout=PATIENCE):
        return self.server.wait_for(check, timeout, what)

    def wait_for_week(self, start, subject="feature:car_value", metric="psi"):
        """The measurement of that window, once there is one."""
        return self.wait_for(lambda: self.measured(subject, metric).get(start), f"{metric} of {subject} in the window from {start}")

    def samples(self, name):
        """The samples of one family of /metrics as (labels, value)."""
        found = []
        for line in self.text("/metrics").splitlines():
            match = re.match(rf"{re.escape(name)}(?:\{{(.*)\}})? (\S+)", line)
            if match:
                labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(1) or ""))
                found.append((labels, float(match.group(2))))
        return found
