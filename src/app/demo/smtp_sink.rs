//! A mail server that only receives: enough of RFC 5321, STARTTLS (RFC 3207), implicit TLS (RFC 8314) and AUTH (RFC 4954) to take
//! what an agent submits, on the loopback interface. It can be told to fail. It delivers nothing anywhere.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ServerConfig;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Mails that wait to be read; further ones are refused with 452.
const CAPACITY: usize = 256;
/// Longest command line, twice what RFC 5321 demands.
const MAX_LINE: u64 = 4_096;
/// Largest mail, in bytes.
const MAX_MAIL: usize = 1 << 20;
/// Longest silence of a client.
const IDLE: Duration = Duration::from_secs(60);
/// Connections at the same time.
const MAX_CONNECTIONS: usize = 64;

/// How connections are protected.
#[derive(Clone, Debug, Default)]
pub enum SinkTls {
    /// Not at all.
    #[default]
    None,
    /// STARTTLS is offered, and demanded before mail and authentication.
    StartTls(Arc<ServerConfig>),
    /// From the first byte.
    Implicit(Arc<ServerConfig>),
}

/// How the sink behaves.
#[derive(Clone, Default)]
pub struct SmtpSinkOptions {
    /// Port; 0 for any that is free.
    pub port: u16,
    /// Protection of the connections.
    pub tls: SinkTls,
    /// User and password that are demanded.
    pub credentials: Option<(String, String)>,
    /// So many first mails are answered with 451 instead of being taken.
    pub busy: u32,
    /// Addresses that are answered with 550.
    pub rejected: BTreeSet<String>,
    /// So many first connections are closed where the first MAIL command is expected.
    pub broken: u32,
}

/// A mail as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Sender of the envelope.
    pub from: String,
    /// Recipients of the envelope.
    pub to: Vec<String>,
    /// Header and body, lines ended by CR LF.
    pub data: String,
    /// Whether it came over TLS.
    pub encrypted: bool,
    /// Who was authenticated.
    pub user: Option<String>,
}

impl Mail {
    /// The value of a header, unfolded; encoded words are left as they are.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let head = self.data.split("\r\n\r\n").next().unwrap_or_default();
        find_header(head, name)
    }

    /// The decoded text of the first part of a content type, such as `text/plain`.
    #[must_use]
    pub fn part(&self, content_type: &str) -> Option<String> {
        let (head, body) = self.data.split_once("\r\n\r\n")?;
        let kind = find_header(head, "Content-Type").unwrap_or_default();
        let Some(boundary) = kind.split("boundary=").nth(1) else {
            return kind.starts_with(content_type).then(|| decode_part(head, body));
        };
        let boundary = format!("--{}", boundary.split(';').next().unwrap_or_default().trim().trim_matches('"'));
        body.split(boundary.as_str()).find_map(|part| {
            let (head, body) = part.trim_start_matches("\r\n").split_once("\r\n\r\n")?;
            find_header(head, "Content-Type")?.starts_with(content_type).then(|| decode_part(head, body))
        })
    }
}

fn find_header(head: &str, name: &str) -> Option<String> {
    let unfolded = head.replace("\r\n ", " ").replace("\r\n\t", " ");
    unfolded.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn decode_part(head: &str, body: &str) -> String {
    let body = body.strip_suffix("\r\n").unwrap_or(body);
    match find_header(head, "Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase().as_str() {
        "base64" => {
            let bytes = STANDARD.decode(body.replace(['\r', '\n'], "")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        }
        "quoted-printable" => decode_quoted_printable(body),
        _ => body.to_owned(),
    }
}

/// RFC 2045, section 6.7; what is not an escape stays as it is.
fn decode_quoted_printable(text: &str) -> String {
    let text = text.replace("=\r\n", "");
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('=');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let escape = piece.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = escape {
            bytes.push(byte);
            bytes.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
        } else {
            bytes.push(b'=');
            bytes.extend_from_slice(piece.as_bytes());
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The running sink; it ends when it is dropped.
#[derive(Debug)]
pub struct SmtpSink {
    address: SocketAddr,
    task: JoinSet<()>,
}

impl SmtpSink {
    /// Listens on the loopback interface.
    ///
    /// # Errors
    /// Where the port is not free.
    pub async fn start(options: SmtpSinkOptions) -> io::Result<(SmtpSink, mpsc::Receiver<Mail>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        let address = listener.local_addr()?;
        let (mails, received) = mpsc::channel(CAPACITY);
        let state = Arc::new(State { busy: AtomicU32::new(options.busy), broken: AtomicU32::new(options.broken), options, mails });
        let mut task = JoinSet::new();
        task.spawn(accept(listener, state));
        Ok((SmtpSink { address, task }, received))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and every connection.
    pub async fn stop(mut self) {
        self.task.shutdown().await;
    }
}

struct State {
    options: SmtpSinkOptions,
    busy: AtomicU32,
    broken: AtomicU32,
    mails: mpsc::Sender<Mail>,
}

/// Counts down to zero; whether there was something left.
fn take_one(counter: &AtomicU32) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            // One connection that fails is no reason to end.
            accepted = listener.accept() => if let Ok((stream, _)) = accepted && sessions.len() < MAX_CONNECTIONS {
                sessions.spawn(connect(stream, Arc::clone(&state)));
            },
            Some(_) = sessions.join_next(), if !sessions.is_empty() => {}
        }
    }
}

/// A client may break off at any time; that is its business.
async fn connect(stream: TcpStream, state: Arc<State>) {
    let mut session = Session { state: Arc::clone(&state), encrypted: false, user: None };
    let result = match &state.options.tls {
        SinkTls::Implicit(config) => match TlsAcceptor::from(Arc::clone(config)).accept(stream).await {
            Ok(stream) => {
                session.encrypted = true;
                session.talk(&mut BufStream::new(stream), true).await.map(|_| ())
            }
            Err(error) => Err(error),
        },
        SinkTls::None => session.talk(&mut BufStream::new(stream), true).await.map(|_| ()),
        SinkTls::StartTls(config) => {
            let mut plain = BufStream::new(stream);
            match session.talk(&mut plain, true).await {
                Ok(Next::StartTls) => match TlsAcceptor::from(Arc::clone(config)).accept(plain.into_inner()).await {
                    Ok(stream) => {
                        session.encrypted = true;
                        session.talk(&mut BufStream::new(stream), false).await.map(|_| ())
                    }
                    Err(error) => Err(error),
                },
                other => other.map(|_| ()),
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "an SMTP client broke off");
    }
}

enum Next {
    Quit,
    StartTls,
}

struct Session {
    state: Arc<State>,
    encrypted: bool,
    user: Option<String>,
}

impl Session {
    async fn talk<S>(&mut self, stream: &mut BufStream<S>, greet: bool) -> io::Result<Next>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let options = self.state.options.clone();
        if greet {
            say(stream, "220 sink.localhost ESMTP").await?;
        }
        let (mut from, mut to) = (None, Vec::new());
        while let Some(line) = read_line(stream).await? {
            let (verb, rest) = line.split_once(' ').unwrap_or((line.as_str(), ""));
            let needs_tls = matches!(options.tls, SinkTls::StartTls(_)) && !self.encrypted;
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" | "HELO" => {
                    let mut lines = vec!["sink.localhost", "8BITMIME"];
                    if needs_tls {
                        lines.push("STARTTLS");
                    } else if options.credentials.is_some() {
                        lines.push("AUTH PLAIN LOGIN");
                    }
                    let last = lines.len() - 1;
                    for (index, line) in lines.into_iter().enumerate() {
                        say(stream, &format!("250{}{line}", if index == last { ' ' } else { '-' })).await?;
                    }
                }
                "STARTTLS" if needs_tls => {
                    say(stream, "220 go ahead").await?;
                    return Ok(Next::StartTls);
                }
                "AUTH" if !needs_tls => self.authenticate(stream, rest).await?,
                "MAIL" if needs_tls => say(stream, "530 5.7.0 STARTTLS first").await?,
                "MAIL" if options.credentials.is_some() && self.user.is_none() => say(stream, "530 5.7.0 authentication required").await?,
                "MAIL" if take_one(&self.state.broken) => return Ok(Next::Quit),
                "MAIL" => {
                    from = Some(address(rest));
                    to.clear();
                    say(stream, "250 2.1.0 ok").await?;
                }
                "RCPT" if from.is_none() => say(stream, "503 5.5.1 MAIL first").await?,
                "RCPT" => {
                    let recipient = address(rest);
                    if options.rejected.contains(&recipient) {
                        say(stream, "550 5.1.1 no such mailbox").await?;
                    } else {
                        to.push(recipient);
                        say(stream, "250 2.1.5 ok").await?;
                    }
                }
                "DATA" if to.is_empty() => say(stream, "503 5.5.1 RCPT first").await?,
                "DATA" => {
                    say(stream, "354 end with a line of one dot").await?;
                    let Some(data) = read_data(stream).await? else { return Ok(Next::Quit) };
                    let mail = Mail {
                        from: from.take().unwrap_or_default(),
                        to: std::mem::take(&mut to),
                        data,
                        encrypted: self.encrypted,
                        user: self.user.clone(),
                    };
                    let reply = if take_one(&self.state.busy) {
                        "451 4.3.0 busy, come again"
                    } else if self.state.mails.try_send(mail).is_err() {
                        "452 4.3.1 no room"
                    } else {
                        "250 2.0.0 taken"
                    };
                    say(stream, reply).await?;
                }
                "RSET" => {
                    (from, to) = (None, Vec::new());
                    say(stream, "250 ok").await?;
                }
                "NOOP" => say(stream, "250 ok").await?,
                "QUIT" => {
                    say(stream, "221 bye").await?;
                    return Ok(Next::Quit);
                }
                _ => say(stream, "502 5.5.1 not implemented").await?,
            }
        }
        Ok(Next::Quit)
    }

    async fn authenticate<S>(&mut self, stream: &mut BufStream<S>, rest: &str) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mechanism, initial) = rest.split_once(' ').unwrap_or((rest, ""));
        let given = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let answer = if initial.is_empty() { ask(stream, "").await? } else { initial.to_owned() };
                let plain = decode_answer(&answer);
                let mut parts = plain.splitn(3, '\0').skip(1).map(str::to_owned);
                parts.next().zip(parts.next())
            }
            "LOGIN" => {
                let user = if initial.is_empty() { ask(stream, "Username:").await? } else { initial.to_owned() };
                let password = ask(stream, "Password:").await?;
                Some((decode_answer(&user), decode_answer(&password)))
            }
            _ => return say(stream, "504 5.5.4 unknown mechanism").await,
        };
        if given.is_some() && given == self.state.options.credentials {
            self.user = given.map(|(user, _)| user);
            say(stream, "235 2.7.0 welcome").await
        } else {
            say(stream, "535 5.7.8 authentication failed").await
        }
    }
}

fn decode_answer(answer: &str) -> String {
    String::from_utf8_lossy(&STANDARD.decode(answer).unwrap_or_default()).into_owned()
}

/// The address in `FROM:<a@example.com> BODY=8BITMIME`.
fn address(argument: &str) -> String {
    let inner = argument.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(address, _)| address);
    inner.unwrap_or_default().to_owned()
}

async fn ask<S: AsyncBufRead + AsyncWrite + Unpin>(stream: &mut S, prompt: &str) -> io::Result<String> {
    say(stream, &format!("334 {}", STANDARD.encode(prompt))).await?;
    Ok(read_line(stream).await?.unwrap_or_default())
}

async fn say<S: AsyncWrite + Unpin>(stream: &mut S, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes()).await?;
    stream.flush().await
}

/// One line without its end; `None` at the end of the stream.
async fn read_line<S: AsyncBufRead + Unpin>(stream: &mut S) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let read = async { (&mut *stream).take(MAX_LINE).read_until(b'\n', &mut line).await };
    tokio::time::timeout(IDLE, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    if line.last() != Some(&b'\n') {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()))
}

/// The lines up to the single dot, dots that were doubled undone; `None` if the stream ends before, or the mail is too large.
async fn read_data<S: AsyncBufRead + Unpin>(stream: &mut S) -> io::Result<Option<String>> {
    let mut data = String::new();
    while let Some(line) = read_line(stream).await? {
        if line == "." {
            return Ok(Some(data));
        }
        data.push_str(line.strip_prefix('.').unwrap_or(&line));
        data.push_str("\r\n");
        if data.len() > MAX_MAIL {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_decoded() {
        let data = "Subject: a\r\n b\r\nContent-Type: multipart/alternative;\r\n boundary=\"x1\"\r\n\r\n--x1\r\n\
            Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
            caf=C3=A9 =\r\n1 =3D 1\r\n--x1\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\nPGI+\r\n--x1--\r\n";
        let mail = Mail { from: String::new(), to: Vec::new(), data: data.into(), encrypted: false, user: None };
        assert_eq!(mail.header("subject").as_deref(), Some("a b"));
        assert_eq!(mail.part("text/plain").as_deref(), Some("café 1 = 1"));
        assert_eq!(mail.part("text/html").as_deref(), Some("<b>"));
        assert_eq!(mail.part("image/png"), None);
    }
}
