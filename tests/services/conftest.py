"""Owns every process of the tier: what a test needs it names, and what was started here is stopped here."""

import copy
import os
import shutil
import signal
import subprocess

import pytest
import trustme
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

import carloan
from agent import BINARY, Agent
from broker import Broker
from hook import Hook
from mailserver import LoginServer, Postfix
from server import CACHE, Server, free_port


def pytest_configure(config):
    # So that fixtures clean up when the runner is asked to stop.
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))


def pytest_sessionfinish(session):
    """A skipped test is a component nobody looked at: that is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter.stats.get("skipped") or reporter.stats.get("xfailed"):
        session.exitstatus = 1


@pytest.fixture(scope="session")
def folder():
    """Where this run keeps its files; those of the last run stay until the next one, to be looked at."""
    folder = CACHE / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="session")
def authority(folder):
    """A certificate authority that only this run trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return authority


@pytest.fixture(scope="session")
def broker(folder):
    broker = Broker(folder / "kafka")
    try:
        yield broker.start()
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def login_server(authority):
    server = LoginServer(authority).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postfix(authority):
    server = Postfix(authority)
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def hook():
    """Refuses the first delivery with 503, so that one retry is seen."""
    hook = Hook(refuse=1).start()
    yield hook
    hook.stop()


@pytest.fixture(scope="session")
def jobs():
    """Where retraining is asked for."""
    jobs = Hook().start()
    yield jobs
    jobs.stop()


@pytest.fixture(scope="session")
def collector(folder):
    """The OpenTelemetry Collector; what it receives is printed in full to its log."""
    home = folder / "collector"
    home.mkdir()
    port = free_port()
    (home / "config.yaml").write_text(
        f"""
receivers: {{ otlp: {{ protocols: {{ http: {{ endpoint: "127.0.0.1:{port}" }} }} }} }}
exporters: {{ debug: {{ verbosity: detailed, use_internal_logger: false }} }}
service:
  telemetry: {{ metrics: {{ level: none }} }}
  pipelines:
    metrics: {{ receivers: [otlp], exporters: [debug] }}
    logs: {{ receivers: [otlp], exporters: [debug] }}
    traces: {{ receivers: [otlp], exporters: [debug] }}
"""
    )
    server = Server("collector", [CACHE / "collector", f"--config=file:{home}/config.yaml"], home)
    server.url = f"http://127.0.0.1:{port}"
    try:
        yield server.start().wait_for_port(port)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def prometheus(folder):
    """A Prometheus that scrapes what `scrape(port)` names."""
    home = folder / "prometheus"
    home.mkdir()
    port = free_port()
    targets = home / "targets.json"
    targets.write_text("[]")
    (home / "prometheus.yml").write_text(
        f"global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n"
        f"scrape_configs: [ {{ job_name: driftline, file_sd_configs: [ {{ files: ['{targets}'], refresh_interval: 1s }} ] }} ]\n"
    )
    server = Server(
        "prometheus",
        [
            "prometheus",
            f"--config.file={home}/prometheus.yml",
            f"--storage.tsdb.path={home}/data",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        home,
    )
    server.url = f"http://127.0.0.1:{port}"
    server.scrape = lambda target: targets.write_text(f'[{{"targets": ["127.0.0.1:{target}"]}}]')
    try:
        yield server.start().wait_for_port(port)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def browser(folder):
    """A headless Chromium that can reach nothing but this machine."""
    options = Options()
    options.binary_location = shutil.which("chromium")
    for switch in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1280,1600",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        f"--user-data-dir={folder}/browser",
    ):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Without it the driver's own client would call home.
    os.environ["SE_AVOID_STATS"] = "true"
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def driftline():
    """Runs one command of the binary and returns what it said."""
    if not BINARY.exists():
        pytest.fail(f"there is no binary at {BINARY}: build it, or set DRIFTLINE_BIN", pytrace=False)

    def run(*arguments, status=0, timeout=300, env=None):
        done = subprocess.run(
            [BINARY, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, env=env, check=False
        )
        said = f"driftline {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        assert done.returncode == status, said
        return done

    return run


@pytest.fixture(scope="session")
def baseline(folder, driftline):
    """The baseline of car_loan, built by the binary from the shipped table."""
    config = folder / "baseline.yaml"
    config.write_text('version: 1\nmodels: [ { name: car_loan, baseline: car_loan.json, task: binary, positive_class: "1", windows: [ { name: 7d, size: 7d } ] } ]\n')
    output = folder / "car_loan.json"
    driftline("baseline", "build", "--config", config, "--model", "car_loan", "--input", carloan.path("reference.csv"), "--output", output)
    return output


RULES = {
    "groups": [
        {
            "name": "car-loan",
            "model": "car_loan",
            "labels": {"team": "risk"},
            "rules": [
                {
                    "alert": "FeaturePSI",
                    "each": ["feature"],
                    "source": {"metric": "psi", "window": "7d"},
                    "value": "psi",
                    "when": "p_adjusted < 0.01",
                    "fire": {"warning": {"above": 0.10, "for": "1 windows"}, "critical": {"above": 0.25, "for": "2 windows"}},
                    "resolve": {"below": 0.08, "for": "2 windows"},
                    "min_samples": 1000,
                    "annotations": {"summary": "{{ labels.feature }} drifted: PSI {{ value | round(2) }} (n={{ window.n }})"},
                }
            ],
        }
    ],
    "route": {"receiver": "everyone", "group_by": ["model", "alertname", "feature"], "group_wait": "1s", "group_interval": "1s", "repeat_interval": "12h"},
}

# One alert for the model, which asks for a retraining.
DATASET_DRIFT = {
    "alert": "DatasetDrift",
    "source": {"window": "7d"},
    "value": "double(features.filter(f, f.drifted).size()) / double(features.size())",
    "fire": {"critical": {"above": 0.30, "for": "2 windows"}},
    "resolve": {"below": 0.15, "for": "2 windows"},
    "on_firing": [{"action": "retrain-car-loan", "with": {"reason": "dataset_drift"}}],
    "annotations": {"summary": "{{ features_drifted | join(', ') }} drifted"},
}


@pytest.fixture(scope="session")
def stream(folder, broker, baseline, authority, login_server, postfix, hook, jobs, collector):
    """The monitored stream: weeks 19 to 34 of car_loan with the drift in week 22, everything that listens connected.

    It goes on until the horizon of the labels of week 25 has passed.
    """
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "smtp").write_text(login_server.password + "\n")
    (secrets / "hook").write_text(hook.secret + "\n")
    agent = Agent(
        folder / "stream",
        broker,
        baseline,
        environment={
            "SSL_CERT_FILE": str(folder / "authority.pem"),
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BLRP_SCHEDULE_DELAY": "500",
        },
    )
    agent.config["telemetry"] = {"otlp": {"endpoint": collector.url}, "prometheus": True}
    agent.config["notify"] = {
        "smtp": {
            "url": f"smtp://{login_server.user}@localhost:{login_server.port}?tls=required",
            "password": "${file:" + str(secrets / "smtp") + "}",
            "from": "driftline@example.test",
        }
    }
    rules = copy.deepcopy(RULES)
    rules["groups"][0]["rules"].append(DATASET_DRIFT)
    agent.rules = {
        **rules,
        "actions": {
            "retrain-car-loan": {
                "url": jobs.url,
                "headers": {"x-queue": "retraining"},
                "body": {"model": "{{ labels.model }}", "reason": "{{ with.reason }}", "run": "drift-{{ episode.id }}", "priority": None},
                "budget": {"max": 2, "per": "7d"},
            }
        },
        "receivers": [
            {
                "name": "everyone",
                "email_configs": [{"to": "mlops@example.test", "send_resolved": True}],
                "webhook_configs": [{"url": hook.url, "signing": {"standard_webhooks": {"secret_file": str(secrets / "hook")}}}],
            }
        ],
    }
    try:
        agent.start()
        agent.sent = carloan.predictions(19, 35)
        broker.produce(agent.predictions, agent.sent)
        broker.produce(agent.labels, carloan.labels(agent.sent))
        agent.wait_for_week(carloan.week(25)[0])
        yield agent
    finally:
        agent.stop()
