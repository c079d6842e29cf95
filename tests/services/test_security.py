"""The connection to Kafka: TLS with and without client certificates, every SASL mechanism, and what is said when it fails."""

import pathlib
import re
import time

import pytest
import yaml
from confluent_kafka.admin import NewTopic

import carloan
from agent import Agent
from secure import CLIENT, PASSWORDS, SecureBroker
from server import fetch

# What must not stand in anything that is written or served.
SECRETS = [*PASSWORDS.values(), CLIENT[1]]


@pytest.fixture(scope="module")
def secure(folder):
    broker = SecureBroker(folder / "secure-kafka")
    try:
        yield broker.start()
    finally:
        broker.stop()


def tls(broker, authority="authority"):
    return {"security.protocol": "SSL", "ssl.ca.location": str(broker.folder / f"{authority}.pem")}


def with_certificate(broker, name="client"):
    files = {"ssl.certificate.location": f"{name}.pem", "ssl.key.location": f"{name}.key"}
    return {**tls(broker), **{key: str(broker.folder / file) for key, file in files.items()}}


def with_password(broker, mechanism, password=None):
    login = {"sasl.mechanism": mechanism.upper(), "sasl.username": mechanism, "sasl.password": password or PASSWORDS[mechanism]}
    return {**tls(broker), "security.protocol": "SASL_SSL", **login}


def with_token(broker, secret=CLIENT[1]):
    """As an operator copies it from the configuration of another client."""
    oidc = {
        "sasl.mechanism": "OAUTHBEARER",
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": CLIENT[0],
        "sasl.oauthbearer.client.secret": secret,
        "sasl.oauthbearer.token.endpoint.url": broker.provider.url,
        "sasl.oauthbearer.scope": "kafka",
        "https.ca.location": str(broker.folder / "authority.pem"),
    }
    return {**tls(broker), "security.protocol": "SASL_SSL", **oidc}


def with_token_file(broker, path):
    oidc = {"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.token.endpoint.url": f"file://{path}"}
    return {**tls(broker), "security.protocol": "SASL_SSL", **oidc}


def unsecured(_):
    config = {"enable.sasl.oauthbearer.unsecure.jwt": True, "sasl.oauthbearer.config": "principal=driftline lifeSeconds=3"}
    return {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER", **config}


def make(folder, broker, baseline, listener, properties, host="localhost"):
    agent = Agent(folder, broker, baseline)
    agent.config["kafka"]["bootstrap_servers"] = [f"{host}:{broker.ports[listener]}"]
    agent.config["kafka"]["librdkafka"] = {"reconnect.backoff.max.ms": 1000, **properties}
    return agent


GOOD = {
    "a client certificate": ("mtls", with_certificate),
    "PLAIN": ("sasl", lambda broker: with_password(broker, "plain")),
    "SCRAM-SHA-256": ("sasl", lambda broker: with_password(broker, "scram-sha-256")),
    "SCRAM-SHA-512": ("sasl", lambda broker: with_password(broker, "scram-sha-512")),
    "a token endpoint": ("sasl", with_token),
    "unsecured tokens": ("unsecured", unsecured),
}


# In a cluster every client of the exchange has to get in, too: the one that makes its topics, its producer and its consumers.
SHARED = ["a client certificate", "SCRAM-SHA-512", "a token endpoint", "unsecured tokens"]


@pytest.mark.parametrize(("name", "mode"), [*((name, "local") for name in GOOD), *((name, "cluster") for name in SHARED)])
def test_a_window_is_read_and_closed_with(name, mode, folder, secure, baseline, driftline):
    listener, properties = GOOD[name]
    agent = make(folder / f"secure-{name.replace(' ', '-').lower()}-{mode}", secure, baseline, listener, properties(secure))
    agent.config["state"]["mode"] = mode
    if (name, mode) == ("a token endpoint", "cluster"):
        make_topics(agent, secure, driftline)
    driftline("check", *agent.write(), "--connect")
    try:
        agent.start()
        secure.produce(agent.predictions, carloan.predictions(21, 23))
        start, count = carloan.week(21)
        agent.wait_for(lambda: agent.windows().get(start), "the window is closed")
        assert agent.windows()[start]["n"] == count
        if name == "unsecured tokens":
            # librdkafka asks for the second one after 80 % of three seconds; without it this connection would not be made.
            time.sleep(4)
            secure.produce(agent.predictions, carloan.predictions(23, 24))
            agent.wait_for(lambda: agent.windows().get(carloan.week(22)[0]), "the next window is closed")
        assert agent.drain() == 0, agent.server.tail()
    finally:
        agent.stop()
    assert not [secret for secret in SECRETS if secret in agent.server.log]


def make_topics(agent, broker, driftline):
    """The client that would make the topics of the exchange is given no tokens: the operator is told how to."""
    said = driftline("check", *agent.write(), "--connect", status=69)
    group, reason = agent.config["kafka"]["group_id"], "with fetched tokens topics can be read and written, not administered"
    for topic in (f"{group}.panes", f"{group}.owners"):
        line = re.search(rf"the topic {topic} is missing and cannot be created: {reason}; create it: kafka-topics.sh (.*)", said.stdout + said.stderr)
        told = line[1].split()
        assert told[told.index("--topic") + 1] == topic
        config = dict(part.split("=", 1) for flag, part in zip(told, told[1:]) if flag == "--config")
        new = NewTopic(topic, int(told[told.index("--partitions") + 1]), int(told[told.index("--replication-factor") + 1]), config=config)
        for future in broker.admin.create_topics([new]).values():
            future.result(30)
    said = driftline("check", *agent.write(), "--connect")
    assert f"the settings of the topic {group}.panes cannot be read and were not examined: {reason}" in said.stdout + said.stderr


def test_tokens_are_renewed_before_they_expire(folder, secure, baseline):
    """The broker ends a connection whose token has expired: records that come after that are read by a new token."""
    agent = make(folder / "secure-renewal", secure, baseline, "sasl", with_token(secure))
    # Long enough for a machine that stands still for a second or two.
    secure.provider.life, asked = 12, secure.provider.asked
    try:
        agent.start()
        secure.produce(agent.predictions, carloan.predictions(21, 22))
        agent.wait_for(lambda: secure.provider.asked >= asked + 3, "the token is renewed twice")
        secure.produce(agent.predictions, carloan.predictions(22, 23))
        start, count = carloan.week(21)
        agent.wait_for(lambda: agent.windows().get(start), "the window is closed")
        assert agent.windows()[start]["n"] == count
        # The provider is away for less than a token lives: nobody notices but the log.
        assert "refuses" not in agent.server.log
        secure.provider.status = 503
        agent.wait_for(lambda: "refuses with 503 (temporarily_unavailable)" in agent.server.log, "the failure is told")
        secure.provider.status = None
        secure.produce(agent.predictions, carloan.predictions(23, 24))
        agent.wait_for(lambda: agent.windows().get(carloan.week(22)[0]), "the next window is closed")
    finally:
        secure.provider.life, secure.provider.status = 3600, None
        agent.stop()


def test_a_token_file_that_somebody_else_keeps_fresh(folder, secure, baseline, driftline):
    path = folder / "secure-token"
    path.write_text(secure.provider.token())
    agent = make(folder / "secure-file", secure, baseline, "sasl", with_token_file(secure, path))
    driftline("check", *agent.write(), "--connect")
    path.write_text(secure.provider.token(life=-60))
    done = driftline("check", *agent.write(), "--connect", status=69)
    assert f"the token file {path} holds a token that expired at" in done.stdout, done.stdout
    path.unlink()
    done = driftline("check", *agent.write(), "--connect", status=69)
    assert f"the token file {path} cannot be read" in done.stdout, done.stdout


# Listener, properties, host, and what must be said of it.
BAD = {
    "a broker of another authority": ("sasl", lambda broker: {**with_password(broker, "plain"), **{"ssl.ca.location": str(broker.folder / "stranger.pem")}}, "localhost", "certificate is not signed by an authority of ssl.ca.location"),
    "another host name": ("sasl", lambda broker: with_password(broker, "plain"), "127.0.0.1", "or is not for this host name"),
    "no client certificate": ("mtls", tls, "localhost", "set ssl.certificate.location and ssl.key.location"),
    "a client certificate of another authority": ("mtls", lambda broker: with_certificate(broker, "impostor"), "localhost", "the broker wants a certificate that it trusts"),
    "a wrong password with PLAIN": ("sasl", lambda broker: with_password(broker, "plain", "wrong-hunter3"), "localhost", "the broker refuses the credentials"),
    "a wrong password with SCRAM-SHA-256": ("sasl", lambda broker: with_password(broker, "scram-sha-256", "wrong-hunter3"), "localhost", "the broker refuses the credentials"),
    "a wrong password with SCRAM-SHA-512": ("sasl", lambda broker: with_password(broker, "scram-sha-512", "wrong-hunter3"), "localhost", "the broker refuses the credentials"),
    "a wrong secret of the client": ("sasl", lambda broker: with_token(broker, "wrong-hunter3"), "localhost", "refuses with 401 (invalid_client: Invalid client or invalid client credentials)"),
    "a token that the broker does not trust": ("sasl", lambda broker: with_token_file(broker, forged(broker)), "localhost", "the broker refuses the credentials"),
    "no TLS": ("sasl", lambda broker: {**with_password(broker, "plain"), "security.protocol": "SASL_PLAINTEXT"}, "localhost", "see whether security.protocol is that of this port"),
    "TLS where there is none": ("unsecured", tls, "localhost", "connecting to a PLAINTEXT broker listener?"),
}


def forged(broker):
    path = broker.folder / "forged-token"
    path.write_text(broker.provider.token(key=broker.stranger.key))
    return path


@pytest.mark.parametrize("name", BAD)
def test_check_says_what_is_wrong_with(name, folder, secure, baseline, driftline):
    listener, properties, host, said = BAD[name]
    agent = make(folder / f"refused-{name.replace(' ', '-').lower()}", secure, baseline, listener, properties(secure), host)
    done = driftline("check", *agent.write(), "--connect", status=69)
    assert said in done.stdout, done.stdout
    everything = done.stdout + done.stderr
    assert not [secret for secret in [*SECRETS, "hunter3"] if secret in everything], everything


def test_an_agent_that_is_refused_says_so_and_keeps_trying(folder, secure, baseline):
    agent = make(folder / "refused-and-let-in", secure, baseline, "sasl", with_password(secure, "plain", "wrong-hunter3"))
    try:
        agent.start(ready=False)
        agent.wait_for(lambda: "the broker refuses the credentials" in agent.server.log, "the log says why")
        status, _, said = fetch(f"{agent.url}/readyz?verbose")
        assert status == 503, said
        agent.wait_for(lambda: "the broker refuses the credentials" in fetch(f"{agent.url}/readyz?verbose")[2], "/readyz says why")
        served = "".join(fetch(agent.url + path)[2] for path in ("/readyz?verbose", "/api/v1/status", "/metrics", "/"))
        # It has tried more than once, and told once.
        time.sleep(5)
        assert agent.server.log.count("the broker refuses the credentials") <= 3, agent.server.tail()
        assert fetch(f"{agent.url}/livez")[0] == 200
        assert agent.drain() == 0, agent.server.tail()
    finally:
        agent.stop()
    assert not [secret for secret in [*SECRETS, "hunter3"] if secret in agent.server.log + served]


def test_an_agent_gets_in_once_the_provider_is_there(folder, secure, baseline):
    secure.provider.status = 503
    agent = make(folder / "late-provider", secure, baseline, "sasl", with_token(secure))
    try:
        agent.start(ready=False)
        agent.wait_for(lambda: "refuses with 503" in fetch(f"{agent.url}/readyz?verbose")[2], "/readyz says why")
        secure.provider.status = None
        agent.wait_for(lambda: fetch(f"{agent.url}/readyz")[0] == 200, "/readyz answers 200")
    finally:
        secure.provider.status = None
        agent.stop()


def test_what_is_missing_for_tokens_is_told_with_its_place(folder, secure, baseline, driftline):
    properties = with_token(secure)
    del properties["sasl.oauthbearer.token.endpoint.url"]
    agent = make(folder / "half-oidc", secure, baseline, "sasl", properties)
    done = driftline("check", *agent.write(), status=1)
    assert "driftline.yaml" in done.stderr and "oidc needs sasl.oauthbearer.token.endpoint.url" in done.stderr, done.stderr
    assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr]
    text = yaml.safe_load(pathlib.Path(agent.folder / "driftline.yaml").read_text())
    assert text["kafka"]["librdkafka"]["sasl.oauthbearer.client.secret"] == CLIENT[1], "the secret was there to be printed"
