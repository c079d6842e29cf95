"""Two real mail servers: aiosmtpd, which demands STARTTLS and a login, and Postfix, which demands STARTTLS and delivers to a Maildir."""

import email
import email.policy
import functools
import mailbox
import os
import pathlib
import shutil
import ssl
import subprocess
import tempfile

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from server import Server, free_port


DAEMONS = "/usr/lib/postfix/sbin"


class LoginServer:
    """An SMTP server that takes mail only over TLS and only after AUTH; keeps what it received."""

    user, password = "driftline", "correct horse battery staple"

    def __init__(self, authority):
        self.messages, self.refused_logins, self.plain_logins = [], 0, 0
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        self.port = free_port()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            tls_context=context,
            require_starttls=True,
            auth_required=True,
            auth_require_tls=True,
            authenticator=self._authenticate,
        )

    def _authenticate(self, _server, session, _envelope, _mechanism, data):
        if session.ssl is None:
            self.plain_logins += 1
        good = isinstance(data, LoginPassword) and (data.login, data.password) == (self.user.encode(), self.password.encode())
        if not good:
            self.refused_logins += 1
        # `handled=False` lets the server answer 535 by itself.
        return AuthResult(success=good, handled=False)

    async def handle_DATA(self, _server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.messages.append({"from": envelope.mail_from, "to": envelope.rcpt_tos, "tls": session.ssl is not None, "message": message})
        return "250 taken"

    def start(self):
        self._controller.start()
        return self

    def stop(self):
        self._controller.stop()


class Postfix:
    """A private Postfix: own configuration, queue and port; takes mail for one domain over TLS and puts it in a Maildir."""

    domain = "example.test"

    def __init__(self, authority):
        # Its processes run as several users, all of whom must reach it: a path under a home directory would not do.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="driftline-postfix-"))
        self.folder.chmod(0o755)
        self.port, self.authority = free_port(), authority
        self.config = self.folder / "config"
        self.maildir = self.folder / "mail" / "box"

    def start(self):
        if os.geteuid() != 0:
            raise RuntimeError("Postfix's master process needs root")
        self.config.mkdir(parents=True)
        for name in ("spool", "data", "mail"):
            (self.folder / name).mkdir()
        certificate = self.authority.issue_cert("localhost", "127.0.0.1")
        pem = self.config / "server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
        pem.chmod(0o600)
        (self.config / "main.cf").write_text(
            "\n".join(
                [
                    "compatibility_level = 3.6",
                    f"queue_directory = {self.folder}/spool",
                    f"data_directory = {self.folder}/data",
                    "command_directory = /usr/sbin",
                    f"daemon_directory = {DAEMONS}",
                    "mail_owner = postfix",
                    "setgid_group = postdrop",
                    "maillog_file = /dev/stdout",
                    "myhostname = localhost",
                    "mydestination =",
                    "inet_interfaces = 127.0.0.1",
                    "inet_protocols = ipv4",
                    "mynetworks = 127.0.0.0/8",
                    "default_transport = error:nothing leaves this machine",
                    f"smtpd_tls_chain_files = {pem}",
                    "smtpd_tls_security_level = encrypt",
                    "smtputf8_enable = yes",
                    f"virtual_mailbox_domains = {self.domain}",
                    f"virtual_mailbox_base = {self.folder}/mail",
                    "virtual_mailbox_maps = static:box/",
                    "virtual_uid_maps = static:65534",
                    "virtual_gid_maps = static:65534",
                    "virtual_minimum_uid = 100",
                    "",
                ]
            )
        )
        services = [
            f"127.0.0.1:{self.port} inet n - n - - smtpd",
            "postlog unix-dgram n - n - 1 postlogd",
            "pickup unix n - n 60 1 pickup",
            "cleanup unix n - n - 0 cleanup",
            "qmgr unix n - n 300 1 qmgr",
            "tlsmgr unix - - n 1000? 1 tlsmgr",
            "rewrite unix - - n - - trivial-rewrite",
            "bounce unix - - n - 0 bounce",
            "defer unix - - n - 0 bounce",
            "trace unix - - n - 0 bounce",
            "verify unix - - n - 1 verify",
            "flush unix n - n 1000? 0 flush",
            "proxymap unix - - n - - proxymap",
            "showq unix n - n - - showq",
            "error unix - - n - - error",
            "retry unix - - n - - error",
            "virtual unix - n n - - virtual",
            "anvil unix - - n - 1 anvil",
            "",
        ]
        (self.config / "master.cf").write_text("\n".join(services))
        shutil.chown(self.folder / "data", "postfix")
        os.chown(self.folder / "mail", 65534, 65534)
        # Checks the files and makes the queue.
        subprocess.run(["postfix", "-c", self.config, "check"], check=True, capture_output=True, timeout=60)
        self.server = Server("postfix", [f"{DAEMONS}/master", "-s", "-c", self.config], self.folder).start()
        # The master changes its user, and the kernel then no longer ends it with its parent. This one waits for the end
        # of a pipe that only we hold, however we go.
        last_will = 'read -r _; kill "$1"; rm -rf "$2"'
        self.guard = subprocess.Popen(
            ["sh", "-c", last_will, "sh", str(self.server.process.pid), self.folder], stdin=subprocess.PIPE, start_new_session=True
        )
        self.server.wait_for_port(self.port)
        return self

    def messages(self):
        if not (self.maildir / "new").exists():
            return []
        read = functools.partial(email.message_from_binary_file, policy=email.policy.default)
        return list(mailbox.Maildir(self.maildir, factory=read, create=False))

    def stop(self):
        subprocess.run(["postfix", "-c", self.config, "stop"], capture_output=True, timeout=30, check=False)
        self.server.stop()
        self.guard.kill()
        self.guard.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
