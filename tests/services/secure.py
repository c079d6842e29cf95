"""A Kafka that lets nobody in without certificate or credentials, and an identity provider that gives tokens for it."""

import base64
import datetime
import http.server
import json
import ssl
import subprocess
import threading
import time
import urllib.parse

from confluent_kafka.admin import AdminClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from broker import Broker
from server import Server, free_port

# User and password of each kind of login; nothing of it may ever be printed.
PASSWORDS = {
    "plain": "plain-hunter2-4cd1",
    "scram-sha-256": "scram256-hunter2-77aa",
    "scram-sha-512": "scram512-hunter2-09be",
}
CLIENT = ("driftline-client", "oidc-hunter2-51f3")
ISSUER, AUDIENCE, KEY_ID = "https://login.example.test", "kafka", "key-1"


def pem_of(certificate, key):
    """Key and certificate as Kafka reads them from one file."""
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private + certificate.public_bytes(serialization.Encoding.PEM)


class Authority:
    """Signs certificates with what Java and OpenSSL alike accept."""

    def __init__(self, name):
        self.key = rsa.generate_private_key(65537, 2048)
        self.certificate = self._sign(name, self.key.public_key(), x509.BasicConstraints(True, None), None)

    @property
    def pem(self):
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def _sign(self, name, public, constraints, hosts, issuer=None):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(constraints, critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name, *hosts):
        """Certificate and key of one name."""
        key = rsa.generate_private_key(65537, 2048)
        return self._sign(name, key.public_key(), x509.BasicConstraints(False, None), hosts, self.certificate.subject), key


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class IdentityProvider:
    """A token endpoint over TLS for client credentials; `life` is how long its tokens live, in seconds."""

    def __init__(self, folder, authority):
        self.key = rsa.generate_private_key(65537, 2048)
        self.life, self.asked, self.status = 3600, 0, None
        provider = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = urllib.parse.parse_qs(self.rfile.read(int(self.headers.get("content-length", 0))).decode())
                login = "Basic " + base64.b64encode(":".join(CLIENT).encode()).decode()
                provider.asked += 1
                if provider.status:
                    self.answer(provider.status, {"error": "temporarily_unavailable"})
                elif self.headers.get("authorization") != login or body.get("grant_type") != ["client_credentials"]:
                    self.answer(401, {"error": "invalid_client", "error_description": "Invalid client or invalid client credentials"})
                else:
                    self.answer(200, {"access_token": provider.token(), "token_type": "Bearer", "expires_in": provider.life})

            def answer(self, status, body):
                body = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        (folder / "provider.pem").write_bytes(pem_of(*authority.issue("provider", "localhost")))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "provider.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://localhost:{self._server.server_address[1]}/realms/ml/token"
        numbers = self.key.public_key().public_numbers()
        number = lambda value: b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))
        self.keys = {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID, "n": number(numbers.n), "e": number(numbers.e)}]}
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def token(self, life=None, key=None):
        now = int(time.time())
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": CLIENT[0], "iat": now, "exp": now + (life or self.life), "scope": "kafka"}
        signed = b64(json.dumps({"alg": "RS256", "kid": KEY_ID}).encode()) + "." + b64(json.dumps(claims).encode())
        return signed + "." + b64((key or self.key).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class SecureBroker(Broker):
    """One broker: `plain` listens for the tests themselves, `sasl` and `mtls` and `unsecured` for the agent."""

    def __init__(self, folder):
        super().__init__(folder)
        self.authority, self.stranger = Authority("driftline test authority"), Authority("another authority")
        (folder / "authority.pem").write_bytes(self.authority.pem)
        (folder / "stranger.pem").write_bytes(self.stranger.pem)
        # For the name `localhost` alone: 127.0.0.1 is the wrong host.
        (folder / "broker.pem").write_bytes(pem_of(*self.authority.issue("broker", "localhost")))
        for name, authority in (("client", self.authority), ("impostor", self.stranger)):
            certificate, key = authority.issue(f"driftline {name}")
            pem = pem_of(certificate, key)
            (folder / f"{name}.pem").write_bytes(pem[pem.index(b"-----BEGIN CERTIFICATE") :])
            (folder / f"{name}.key").write_bytes(pem[: pem.index(b"-----BEGIN CERTIFICATE")])
        self.provider = IdentityProvider(folder, self.authority)
        (folder / "keys.json").write_text(json.dumps(self.provider.keys))
        self.ports = {name: free_port() for name in ("sasl", "mtls", "unsecured")}
        at = {name: f"localhost:{port}" for name, port in self.ports.items()}
        protocols = {"sasl": "SASL_SSL", "mtls": "SSL", "unsecured": "SASL_PLAINTEXT"}
        text = self.properties.read_text()
        named = "".join(f",{name.upper()}://{address}" for name, address in at.items())
        mapped = "".join(f",{name.upper()}:{protocol}" for name, protocol in protocols.items())
        lines = []
        for line in text.splitlines():
            if line.startswith(("listeners=", "advertised.listeners=")):
                line += named
            elif line.startswith("listener.security.protocol.map="):
                line += mapped
            lines.append(line)
        module = "org.apache.kafka.common.security"
        lines += [
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={folder}/broker.pem",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={folder}/authority.pem",
            "listener.name.mtls.ssl.client.auth=required",
            "listener.name.sasl.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f'listener.name.sasl.plain.sasl.jaas.config={module}.plain.PlainLoginModule required user_plain="{PASSWORDS["plain"]}";',
            f"listener.name.sasl.scram-sha-256.sasl.jaas.config={module}.scram.ScramLoginModule required;",
            f"listener.name.sasl.scram-sha-512.sasl.jaas.config={module}.scram.ScramLoginModule required;",
            f"listener.name.sasl.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;",
            f"listener.name.sasl.oauthbearer.sasl.server.callback.handler.class={module}.oauthbearer.OAuthBearerValidatorCallbackHandler",
            # The default looks at no signature.
            f"sasl.oauthbearer.jwt.validator.class={module}.oauthbearer.BrokerJwtValidator",
            f"sasl.oauthbearer.jwks.endpoint.url=file://{folder}/keys.json",
            f"sasl.oauthbearer.expected.audience={AUDIENCE}",
            f"sasl.oauthbearer.expected.issuer={ISSUER}",
            # A connection whose token has expired is ended, unless the client has shown a new one.
            "listener.name.sasl.oauthbearer.connections.max.reauth.ms=3600000",
            "listener.name.unsecured.sasl.enabled.mechanisms=OAUTHBEARER",
            f"listener.name.unsecured.oauthbearer.sasl.jaas.config={module}.oauthbearer.OAuthBearerLoginModule required;",
            "",
        ]
        self.properties.write_text("\n".join(lines))
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{folder}/keys.json"
        self.server = Server("kafka", [*self.java[:1], allowed, *self.java[1:], "kafka.Kafka", self.properties], folder)

    def start(self):
        tool = [*self.java, "kafka.tools.StorageTool"]
        cluster = subprocess.run([*tool, "random-uuid"], check=True, capture_output=True, text=True).stdout.split()[-1]
        users = [
            f"--add-scram={mechanism.upper()}=[name={mechanism},password={PASSWORDS[mechanism]}]" for mechanism in ("scram-sha-256", "scram-sha-512")
        ]
        subprocess.run([*tool, "format", "-t", cluster, "-c", self.properties, "--standalone", *users], check=True, capture_output=True, text=True)
        self.server.start().wait_for_port(self.port)
        self.admin = AdminClient({"bootstrap.servers": self.address})
        self.server.wait_for(lambda: self.admin.list_topics(timeout=5).brokers, 60, "metadata")
        return self

    def stop(self):
        super().stop()
        self.provider.stop()
