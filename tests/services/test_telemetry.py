"""What others see: the OpenTelemetry Collector by push, Prometheus by pull, promtool by reading."""

import json
import subprocess
import urllib.parse

import pytest

import carloan
from agent import PATIENCE
from server import eventually, fetch


def blocks(log, name):
    """The parts of the collector's log that describe the metric of that name."""
    for part in log.split("Metric #")[1:]:
        if f"-> Name: {name}\n" in part:
            yield part


def test_the_collector_receives_drift_scores(stream, collector):
    def received():
        return [part for part in blocks(collector.log, "drift.score") if "feature: Str(car_value)" in part and "metric: Str(psi)" in part]

    part = eventually(received, PATIENCE, "drift.score of car_value in the collector")[-1]
    assert "-> Unit: {score}" in part and "DataType: Gauge" in part
    assert "model: Str(car_loan)" in part
    assert "service.name: Str(driftline)" in collector.log


def test_the_collector_receives_the_event_of_each_closed_window(stream, collector):
    eventually(lambda: "drift.window.closed" in collector.log, PATIENCE, "the log event drift.window.closed")


def test_prometheus_answers_with_the_drift_score(stream, prometheus):
    prometheus.scrape(stream.port)
    query = urllib.parse.quote('drift_score{feature="car_value",metric="psi"}')

    def same():
        answer = json.loads(fetch(f"{prometheus.url}/api/v1/query?query={query}")[2])
        assert answer["status"] == "success", answer
        samples = answer["data"]["result"]
        assert len(samples) == 1, samples
        assert samples[0]["metric"]["model"] == "car_loan", samples
        newest = stream.measured("feature:car_value", "psi")
        shown = float(samples[0]["value"][1])
        assert shown == pytest.approx(newest[max(newest)]["value"], rel=1e-6)
        return shown

    assert eventually(same, PATIENCE, "the score of the newest window in Prometheus") > max(carloan.PSI_CAR_VALUE[22])


def test_promtool_finds_nothing_to_say_about_the_metrics(stream):
    done = subprocess.run(["promtool", "check", "metrics"], input=stream.text("/metrics"), capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    "name",
    [
        "drift_features_drifted",
        "drift_features_monitored",
        "driftline_records_total",
        "driftline_consumer_lag",
        "driftline_outbox_depth",
        "driftline_config_last_reload_successful",
    ],
)
def test_a_promised_metric_is_there(stream, name):
    stream.wait_for(lambda: stream.samples(name), f"{name} on /metrics")
