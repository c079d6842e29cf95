"""From a drifted window to people and machines: mail, signed webhook, a call for retraining, the alerts page."""

from standardwebhooks import Webhook

import conftest
import carloan
from agent import PATIENCE, Agent
from server import eventually


def mails_about(server, word):
    return [got for got in server.messages if word in got["message"].as_string() or word in text_of(got["message"])]


def text_of(message):
    return message.get_body(("plain",)).get_content()


def test_the_alert_is_firing(stream):
    def firing():
        alerts = stream.json("/api/v1/alerts")["data"]["alerts"]
        return [alert for alert in alerts if alert["labels"].get("feature") == "car_value" and alert["state"] == "firing"]

    alert = stream.wait_for(firing, "an alert for car_value is firing")[0]
    assert alert["labels"]["alertname"] == "FeaturePSI" and alert["labels"]["model"] == "car_loan" and alert["labels"]["team"] == "risk"
    assert "car_value drifted: PSI" in alert["annotations"]["summary"]


def test_the_rule_is_listed(stream):
    groups = stream.json("/api/v1/rules")["data"]["groups"]
    assert [rule["name"] for group in groups if group["name"] == "car-loan" for rule in group["rules"]] == ["FeaturePSI", "DatasetDrift"]


def test_mail_arrives_over_tls_after_a_login(stream, login_server):
    got = eventually(lambda: mails_about(login_server, "car_value"), PATIENCE, "a mail about car_value")[0]
    message = got["message"]
    assert got["tls"] and got["to"] == ["mlops@example.test"] and got["from"] == "driftline@example.test"
    assert login_server.refused_logins == 0 and login_server.plain_logins == 0
    assert "car_value" in text_of(message) and "PSI" in text_of(message)
    assert message["auto-submitted"] == "auto-generated"
    assert message["message-id"] and message["date"] and message["subject"]
    assert message.get_body(("html",)) is not None, "there is a part for readers of HTML"


def test_what_did_not_shift_alerts_nobody(stream, login_server):
    eventually(lambda: mails_about(login_server, "car_value"), PATIENCE, "a mail about car_value")
    for quiet in ("debt_to_income_ratio", "driver_tenure"):
        assert not [got for got in login_server.messages if f"{quiet} drifted" in text_of(got["message"])], quiet


def test_the_webhook_is_signed_and_a_refused_one_comes_again_under_its_key(stream, hook):
    eventually(lambda: any("car_value" in str(hook.payload(request)) for request in hook.accepted), PATIENCE, "a webhook about car_value")
    for request in hook.requests:
        Webhook(hook.secret).verify(request["body"], request["headers"])
    refused = hook.requests[0]
    assert refused["status"] == 503
    again = eventually(
        lambda: [request for request in hook.accepted if request["headers"]["webhook-id"] == refused["headers"]["webhook-id"]],
        PATIENCE,
        "the refused delivery comes again",
    )
    assert len(again) == 1 and again[0]["body"] == refused["body"]
    delivered = [request["headers"]["webhook-id"] for request in hook.accepted]
    assert len(delivered) == len(set(delivered)), "one delivery for each notification"


def test_retraining_is_asked_for_once_in_an_episode(stream, jobs):
    request = eventually(lambda: jobs.accepted, PATIENCE, "a call for retraining")[0]
    alert = next(alert for alert in stream.json("/api/v1/alerts")["data"]["alerts"] if alert["labels"]["alertname"] == "DatasetDrift")
    episode = alert["episode"]
    assert jobs.payload(request) == {"model": "car_loan", "reason": "dataset_drift", "run": f"drift-{episode}", "priority": None}
    assert request["headers"]["idempotency-key"] == episode and request["headers"]["x-queue"] == "retraining"
    # The drift goes on for ten more weeks, and it is one and the same.
    stream.wait_for_week(carloan.week(32)[0])
    assert len(jobs.requests) == 1
    counts = stream.samples("driftline_actions_total")
    assert [(labels["action"], labels["outcome"], count) for labels, count in counts] == [("retrain-car-loan", "requested", 1.0)]


def test_no_secret_is_said_aloud(stream, hook, login_server):
    surfaces = [stream.server.log, stream.text("/metrics"), stream.text("/api/v1/status"), stream.text("/api/v1/outbox")]
    for secret in (login_server.password, hook.secret, hook.secret.removeprefix("whsec_")):
        assert not any(secret in surface for surface in surfaces)


def test_mail_reaches_a_maildir_through_postfix(folder, broker, baseline, postfix):
    agent = Agent(folder / "postfix", broker, baseline, environment={"SSL_CERT_FILE": str(folder / "authority.pem")})
    agent.config["notify"] = {"smtp": {"url": f"smtp://localhost:{postfix.port}?tls=required", "from": "driftline@example.test"}}
    agent.rules = {**conftest.RULES, "receivers": [{"name": "everyone", "email_configs": [{"to": f"mlops@{postfix.domain}"}]}]}
    try:
        agent.start()
        broker.produce(agent.predictions, carloan.predictions(21, 26))

        def delivered():
            return [message for message in postfix.messages() if "car_value" in text_of(message)]

        message = agent.wait_for(delivered, "a mail about car_value in the Maildir")[0]
        assert message["to"] == f"mlops@{postfix.domain}" and message["received"], "a mail server took it and wrote so"
    finally:
        agent.stop()
