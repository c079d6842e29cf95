"""The servers themselves: what the other scenarios stand on works without driftline."""

import datetime
import http.server
import json
import smtplib
import ssl
import threading
import time

import pytest
from confluent_kafka import Consumer
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from standardwebhooks import Webhook, WebhookVerificationError

from server import eventually, fetch


def test_kafka_gives_back_what_it_took(broker):
    broker.create("roundtrip")
    sent = [(f"k{i}".encode(), f"v{i}".encode(), 1_552_000_000_000 + i) for i in range(500)]
    assert broker.produce("roundtrip", sent) == 500
    consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "roundtrip", "auto.offset.reset": "earliest"})
    consumer.subscribe(["roundtrip"])
    got, end = [], time.monotonic() + 60
    while len(got) < len(sent) and time.monotonic() < end:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            got.append((message.key(), message.value(), message.timestamp()[1]))
    consumer.close()
    assert sorted(got) == sorted(sent)


def test_kafka_takes_records_larger_than_its_usual_limit(broker):
    broker.create("large")
    assert broker.produce("large", [(b"k", b"x" * 3_000_000, 1_552_000_000_000)]) == 1


def test_the_collector_prints_what_it_receives(collector):
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="probe.score", unit="{score}")
    point = metric.gauge.data_points.add(as_double=0.25, time_unix_nano=time.time_ns())
    point.attributes.add(key="feature").value.string_value = "probe_feature"
    headers = {"content-type": "application/x-protobuf"}
    assert fetch(f"{collector.url}/v1/metrics", "POST", request.SerializeToString(), headers)[0] == 200
    eventually(lambda: "Name: probe.score" in collector.log and "feature: Str(probe_feature)" in collector.log, 20, "the probe in the collector's log")


def test_prometheus_scrapes_itself(prometheus):
    prometheus.scrape(int(prometheus.url.rsplit(":", 1)[1]))

    def up():
        answer = json.loads(fetch(f"{prometheus.url}/api/v1/query?query=up")[2])
        return [sample for sample in answer["data"]["result"] if sample["value"][1] == "1"]

    eventually(up, 60, "up == 1")


def test_the_mail_server_demands_encryption_and_a_login(login_server, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with smtplib.SMTP("localhost", login_server.port, timeout=20) as client:
        client.ehlo()
        assert client.mail("probe@example.test")[0] == 530
        client.starttls(context=context)
        client.ehlo()
        assert client.mail("probe@example.test")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login(login_server.user, "wrong")
        assert refusal.value.smtp_code == 535
        client.login(login_server.user, login_server.password)
        client.sendmail("probe@example.test", ["inbox@example.test"], "Subject: probe\r\n\r\nhello\r\n")
    got = login_server.messages.pop()
    assert got["tls"] and got["message"]["subject"] == "probe"
    login_server.refused_logins = 0


def test_postfix_delivers_to_its_maildir(postfix, authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with smtplib.SMTP("localhost", postfix.port, timeout=20) as client:
        client.ehlo()
        assert client.mail("probe@example.test")[0] == 530
        client.starttls(context=context)
        client.sendmail("probe@example.test", ["inbox@example.test"], "Subject: probe\r\n\r\nhello\r\n")
    eventually(lambda: any(message["subject"] == "probe" for message in postfix.messages()), 30, "the mail in the Maildir")


def test_the_browser_shows_a_page_and_reaches_nothing_else(browser):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'<b data-feature="car_value" data-metric="psi">?</b><script>document.querySelector("b").textContent = 1.5 + 0.25</script>'
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser.get(f"http://127.0.0.1:{server.server_address[1]}/")
    assert browser.find_element(By.CSS_SELECTOR, '[data-feature="car_value"][data-metric="psi"]').text == "1.75"
    with pytest.raises(WebDriverException, match="ERR_NAME_NOT_RESOLVED"):
        browser.get("http://www.example.com/")
    server.shutdown()
    server.server_close()


def test_a_signature_is_refused_when_a_byte_changes(hook):
    webhook = Webhook(hook.secret)
    now = datetime.datetime.now(datetime.UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign("msg_1", now, '{"a":1}'),
    }
    assert webhook.verify('{"a":1}', headers) == {"a": 1}
    with pytest.raises(WebhookVerificationError, match="signature"):
        webhook.verify('{"a":2}', headers)
