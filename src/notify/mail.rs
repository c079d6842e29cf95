//! Notices as mail: RFC 5322, `multipart/alternative`, a text part that is complete on its own and an HTML part without remote
//! content. All messages of an episode to a receiver form one thread. Sends nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use super::USER_AGENT;
use super::failure::Failure;
use super::picture;
use crate::event::{Finding, Span, Timestamp};
use crate::rule::message::{AlertView, Notice, NoticeKind};

/// Largest message in bytes: Gmail clips what is longer than about 102 kB.
pub const MAX_MESSAGE: usize = 100_000;

/// Longest texts (in characters) and most labels and annotations that are tried until the message is small enough.
const CUTS: [(usize, usize); 3] = [(4_000, 200), (400, 40), (60, 20)];
/// Longest subject in characters; longer ones are cut by mail programs anyway.
const MAX_SUBJECT: usize = 180;
/// Labels that name the instance of a rule, in the order in which the subject says them.
const INSTANCE_LABELS: [&str; 5] = ["feature", "class", "topic", "segment", "version"];
/// Blocks of a sparkline, lowest first.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const TABLE: &str = "border-collapse:collapse;margin:0 0 16px 0";
const KEY: &str = "text-align:left;vertical-align:top;font-weight:normal;padding:3px 16px 3px 0;opacity:.7;white-space:nowrap";
const CELL: &str = "text-align:left;vertical-align:top;padding:3px 0";

/// The subject: `[FIRING critical] loan: FeaturePSI (feature age)`, with `Re:` from the second message on. What follows the
/// bracket is the same through the episode, and mail programs compare subjects without the bracket (RFC 5256, section 2.1).
#[must_use]
pub fn subject(notice: &Notice) -> String {
    let alert = &notice.alert;
    let reply = if notice.sequence > 0 { "Re: " } else { "" };
    let mut subject = format!("{reply}[{}] ", status(notice));
    if let Some(model) = alert.labels.get("model") {
        let _ = write!(subject, "{model}: ");
    }
    subject.push_str(&alert.alert);
    let instance = instance(alert);
    if !instance.is_empty() {
        let _ = write!(subject, " ({instance})");
    }
    cut(&super::failure::clean(&subject), MAX_SUBJECT)
}

/// The mail to one recipient, its header naming all of them. `created_at` becomes its date, so that every attempt is the same
/// message.
///
/// # Errors
/// Where an address does not fit into a message; that does not pass.
pub fn compose(
    notice: &Notice,
    from: &Mailbox,
    all: &[Mailbox],
    to: &Mailbox,
    created_at: Timestamp,
) -> Result<(Envelope, Vec<u8>), Failure> {
    let fault = |error: &dyn std::error::Error| Failure::permanent(format!("the mail cannot be written: {error}"));
    let envelope = Envelope::new(Some(from.email.clone()), vec![to.email.clone()]).map_err(|error| fault(&error))?;
    let millis = u64::try_from(created_at.0).unwrap_or_default();
    let id = message_id(notice, notice.sequence, from);
    let mut bytes = Vec::new();
    for (length, entries) in CUTS {
        let mut builder = Message::builder()
            .from(from.clone())
            .subject(subject(notice))
            .date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
            .message_id(Some(id.clone()))
            .user_agent(USER_AGENT.to_owned())
            .envelope(envelope.clone());
        for mailbox in all {
            builder = builder.to(mailbox.clone());
        }
        if notice.sequence > 0 {
            let root = message_id(notice, 0, from);
            builder = builder.in_reply_to(root.clone()).references(root);
        }
        for (name, value) in [
            ("Auto-Submitted", "auto-generated".to_owned()),
            ("X-Auto-Response-Suppress", "All".to_owned()),
            ("List-Id", list_id(notice, from)),
            ("X-Driftline-Episode", safe(&notice.episode)),
        ] {
            builder = builder.raw_header(HeaderValue::new(HeaderName::new_from_ascii_str(name), value));
        }
        let parts = MultiPart::alternative()
            .boundary(boundary(&id))
            .singlepart(SinglePart::plain(text(notice, length, entries)))
            .singlepart(SinglePart::html(html(notice, length, entries)));
        bytes = builder.multipart(parts).map_err(|error| fault(&error))?.formatted();
        if bytes.len() < MAX_MESSAGE {
            break;
        }
    }
    Ok((envelope, bytes))
}

fn message_id(notice: &Notice, sequence: u32, from: &Mailbox) -> String {
    format!("<{}.{sequence}.{}@{}>", safe(&notice.episode), safe(&notice.receiver), from.email.domain())
}

fn list_id(notice: &Notice, from: &Mailbox) -> String {
    let model = notice.alert.labels.get("model").map_or_else(|| "all".to_owned(), |model| safe(model));
    format!("<{model}.drift.{}>", from.email.domain())
}

/// A boundary that is the same in every attempt and stands in no text.
fn boundary(id: &str) -> String {
    let mut boundary = "driftline-".to_owned();
    for byte in Sha256::digest(id.as_bytes()).iter().take(12) {
        let _ = write!(boundary, "{byte:02x}");
    }
    boundary
}

/// Only characters that are safe in the left part of a message id.
fn safe(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    if text.is_empty() { "_".to_owned() } else { text }
}

fn status(notice: &Notice) -> String {
    let word = match notice.kind {
        NoticeKind::Firing => "FIRING",
        NoticeKind::Escalated => "ESCALATED",
        NoticeKind::Resolved => return "RESOLVED".to_owned(),
    };
    notice.alert.severity.as_ref().map_or_else(|| word.to_owned(), |severity| format!("{word} {severity}"))
}

fn instance(alert: &AlertView) -> String {
    let parts = INSTANCE_LABELS.iter().filter_map(|name| {
        let value = alert.labels.get(*name).filter(|value| !value.is_empty())?;
        Some(format!("{name} {value}"))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// What the mail says in rows of a name and a value.
fn facts(notice: &Notice, length: usize) -> Vec<(&'static str, String)> {
    let alert = &notice.alert;
    let mut rows = Vec::new();
    if let Some(value) = alert.value {
        rows.push(("Value", figure(value)));
    }
    if let Some(threshold) = alert.threshold {
        rows.push(("Threshold", figure(threshold)));
    }
    rows.push(("Events", alert.n.to_string()));
    if let Some(window) = &alert.window {
        rows.push(("Window", format!("{}, {} to {}", window.name, utc(window.start), utc(window.end))));
    }
    if let Some(since) = alert.starts_at.or(alert.active_at) {
        rows.push(("Since", utc(since)));
    }
    if let Some(ended) = alert.ends_at {
        let lasted = alert.starts_at.map(|since| format!(" (after {})", Span((ended - since).0.max(0)))).unwrap_or_default();
        rows.push(("Ended", format!("{}{lasted}", utc(ended))));
    }
    if let Some((line, least, greatest)) = sparkline(&alert.history) {
        rows.push(("History", format!("{line} ({} to {}, oldest first)", figure(least), figure(greatest))));
    }
    rows.push(("Why", cut(&alert.reason, length)));
    rows.push(("Group", cut(&alert.group, length)));
    rows.push(("Episode", notice.episode.clone()));
    rows
}

fn headline(notice: &Notice) -> String {
    let alert = &notice.alert;
    let mut line = format!("{}: {}", status(notice), alert.alert);
    if let Some(model) = alert.labels.get("model") {
        let _ = write!(line, " of model {model}");
    }
    let instance = instance(alert);
    if !instance.is_empty() {
        let _ = write!(line, ", {instance}");
    }
    cut(&super::failure::clean(&line), 2 * MAX_SUBJECT)
}

/// Why the subject drifts, while it does.
fn explanation(notice: &Notice) -> Option<&Finding> {
    notice.alert.explanation.as_deref().filter(|_| notice.kind != NoticeKind::Resolved)
}

/// Annotations that are not said elsewhere in the mail.
fn notes(alert: &AlertView) -> BTreeMap<String, String> {
    let said = |name: &str| matches!(name, "summary" | "runbook_url");
    alert.annotations.iter().filter(|(name, _)| !said(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn text(notice: &Notice, length: usize, entries: usize) -> String {
    let alert = &notice.alert;
    let mut out = format!("{}\n\n", headline(notice));
    if let Some(summary) = alert.annotations.get("summary") {
        let _ = writeln!(out, "{}\n", indent(&cut(summary, length)));
    }
    if let Some(finding) = explanation(notice) {
        let _ = writeln!(out, "{}\n{}", indent(&cut(&finding.sentence, length)), picture::text(finding));
    }
    for (name, value) in facts(notice, length) {
        let _ = writeln!(out, "{name:<10} {}", indent(&value));
    }
    if let Some(link) = alert.annotations.get("runbook_url") {
        let _ = writeln!(out, "{:<10} {}", "Runbook", indent(&cut(link, length)));
    }
    for (title, map) in [("Labels", &alert.labels), ("Annotations", &notes(alert))] {
        if !map.is_empty() {
            let _ = writeln!(out, "\n{title}");
            for (name, value) in map.iter().take(entries) {
                let _ = writeln!(out, "  {} = {}", indent(&cut(name, length)), indent(&cut(value, length)));
            }
            if map.len() > entries {
                let _ = writeln!(out, "  and {} more", map.len() - entries);
            }
        }
    }
    let _ = write!(out, "\n-- \nMessage {} of episode {} to {}, from {USER_AGENT}\n", notice.sequence + 1, notice.episode, notice.receiver);
    out
}

fn html(notice: &Notice, length: usize, entries: usize) -> String {
    let alert = &notice.alert;
    let colour = match (notice.kind, alert.severity.as_deref()) {
        (NoticeKind::Resolved, _) => "#2e7d32",
        (_, Some("critical")) => "#c62828",
        _ => "#b26a00",
    };
    let mut out = String::from(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\">\
         <meta name=\"supported-color-schemes\" content=\"light dark\"><title>",
    );
    let _ = write!(
        out,
        "{}</title></head>\n<body style=\"font-family:system-ui,sans-serif;font-size:14px;line-height:1.45;margin:16px\">\n\
         <p style=\"margin:0 0 12px 0\"><span style=\"background:{colour};color:#ffffff;padding:2px 8px;border-radius:4px\">{}</span></p>\n\
         <h1 style=\"font-size:18px;margin:0 0 8px 0\">{}</h1>\n",
        escape(&subject(notice)),
        escape(&status(notice)),
        escape(&headline(notice)),
    );
    if let Some(summary) = alert.annotations.get("summary") {
        let _ = writeln!(out, "<p style=\"margin:0 0 16px 0\">{}</p>", escape(&cut(summary, length)));
    }
    if let Some(finding) = explanation(notice) {
        let _ = writeln!(out, "<p style=\"margin:0 0 8px 0\">{}</p>", escape(&cut(&finding.sentence, length)));
        if !finding.cells.is_empty() {
            let _ = writeln!(
                out,
                "<table aria-label=\"Reference above, window below\" style=\"{TABLE}\">{}</table>",
                picture::html(finding, escape)
            );
        }
    }
    let _ = writeln!(out, "<table style=\"{TABLE}\">");
    for (name, value) in facts(notice, length) {
        row(&mut out, name, &escape(&value));
    }
    if let Some(link) = alert.annotations.get("runbook_url") {
        let shown = escape(&cut(link, length));
        // Only what a browser opens as a page becomes a link.
        let is_page = link.starts_with("https://") || link.starts_with("http://");
        let cell = if is_page && link.chars().count() <= length { format!("<a href=\"{shown}\">{shown}</a>") } else { shown };
        row(&mut out, "Runbook", &cell);
    }
    out.push_str("</table>\n");
    for (title, map) in [("Labels", &alert.labels), ("Annotations", &notes(alert))] {
        if !map.is_empty() {
            let _ = writeln!(out, "<h2 style=\"font-size:14px;margin:0 0 4px 0\">{title}</h2>\n<table style=\"{TABLE}\">");
            for (name, value) in map.iter().take(entries) {
                row(&mut out, &cut(name, length), &escape(&cut(value, length)));
            }
            if map.len() > entries {
                row(&mut out, "...", &format!("and {} more", map.len() - entries));
            }
            out.push_str("</table>\n");
        }
    }
    let _ = write!(
        out,
        "<p style=\"font-size:12px;opacity:.7\">Message {} of episode {} to {}, from {USER_AGENT}</p>\n</body></html>\n",
        notice.sequence + 1,
        escape(&notice.episode),
        escape(&notice.receiver)
    );
    out
}

/// One row; `cell` is HTML already.
fn row(out: &mut String, name: &str, cell: &str) {
    let _ = writeln!(out, "<tr><th scope=\"row\" style=\"{KEY}\">{}</th><td style=\"{CELL}\">{cell}</td></tr>", escape(name));
}

/// Text as HTML text or attribute.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// At most `length` characters; control characters but the line feed become spaces.
fn cut(text: &str, length: usize) -> String {
    let mut out: String = text.chars().take(length).map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
    if text.chars().nth(length).is_some() {
        out.push_str("...");
    }
    out
}

/// Further lines of a text are moved in, so that no value can pass for a line of its own.
fn indent(text: &str) -> String {
    text.trim_end().replace('\n', "\n    ")
}

/// A number for people: four decimals, or an exponent where that would say nothing.
fn figure(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e9).contains(&value.abs()) {
        return format!("{value:.3e}");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn utc(at: Timestamp) -> String {
    at.rfc3339().replace('T', " ").replace(".000Z", "Z").replace('Z', " UTC")
}

/// The values as a line of blocks between their least and greatest, a dot where there is none; and the two.
fn sparkline(history: &[Option<f64>]) -> Option<(String, f64, f64)> {
    let finite = || history.iter().flatten().copied().filter(|value| value.is_finite());
    let least = finite().reduce(f64::min)?;
    let greatest = finite().reduce(f64::max)?;
    if history.len() < 2 {
        return None;
    }
    let span = greatest - least;
    let block = |value: f64| {
        let share = if span > 0.0 && span.is_finite() { (value - least) / span } else { 0.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 0 and 7
        BLOCKS.get((share * 7.0).round() as usize).copied().unwrap_or('·')
    };
    let line = history.iter().map(|value| value.filter(|value| value.is_finite()).map_or('·', block)).collect();
    Some((line, least, greatest))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::explanation::MovedCell;
    use crate::event::{Metric, WindowRef};

    pub(crate) fn notice() -> Notice {
        let at = Timestamp::parse_rfc3339("2026-11-22T11:00:00Z").unwrap();
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Notice {
            receiver: "mlops mail".into(),
            kind: NoticeKind::Firing,
            episode: "01KAPZ5H80ABCDEFGHJKMNPQRS".into(),
            sequence: 0,
            at,
            alert: AlertView {
                alert: "FeaturePSI".into(),
                group: "loan-drift".into(),
                state: "firing".into(),
                severity: Some("critical".into()),
                labels: pairs(&[
                    ("alertname", "FeaturePSI"),
                    ("model", "loan"),
                    ("feature", "age"),
                    ("severity", "critical"),
                    ("team", "<b>risk</b>"),
                ]),
                annotations: pairs(&[("summary", "age drifted: PSI 0.31 & rising"), ("runbook_url", "https://runbooks.example/psi")]),
                value: Some(0.3134),
                threshold: Some(0.25),
                n: 5120,
                episode: Some("01KAPZ5H80ABCDEFGHJKMNPQRS".into()),
                active_at: Some(at),
                starts_at: Some(at),
                ends_at: None,
                reason: "fire critical: value 0.3134 above 0.25 for 2 windows".into(),
                window: Some(WindowRef { name: "1h".into(), start: at - Span::HOUR, end: at }),
                history: vec![Some(0.01), None, Some(0.12), Some(0.3134)],
                explanation: None,
            },
        }
    }

    fn mail(notice: &Notice) -> String {
        let from: Mailbox = "driftline@example.com".parse().unwrap();
        let to: Mailbox = "Team <mlops@example.com>".parse().unwrap();
        let (envelope, bytes) = compose(notice, &from, std::slice::from_ref(&to), &to, notice.at).unwrap();
        assert_eq!(envelope.to().len(), 1);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_thread_keeps_its_root_and_its_subject() {
        let mut notice = notice();
        assert_eq!(subject(&notice), "[FIRING critical] loan: FeaturePSI (feature age)");
        let first = mail(&notice);
        assert!(first.contains("Message-ID: <01KAPZ5H80ABCDEFGHJKMNPQRS.0.mlops_mail@example.com>\r\n"), "{first}");
        assert!(!first.contains("In-Reply-To"));
        notice.kind = NoticeKind::Resolved;
        notice.sequence = 2;
        assert_eq!(subject(&notice), "Re: [RESOLVED] loan: FeaturePSI (feature age)");
        let last = mail(&notice);
        assert!(last.contains("Message-ID: <01KAPZ5H80ABCDEFGHJKMNPQRS.2.mlops_mail@example.com>\r\n"));
        for header in ["In-Reply-To", "References"] {
            assert!(last.contains(&format!("{header}: <01KAPZ5H80ABCDEFGHJKMNPQRS.0.mlops_mail@example.com>\r\n")), "{last}");
        }
    }

    #[test]
    fn every_attempt_is_the_same_message() {
        assert_eq!(mail(&notice()), mail(&notice()));
        let mail = mail(&notice());
        assert!(mail.contains("Date: Sun, 22 Nov 2026 11:00:00 +0000\r\n"), "{mail}");
        assert!(mail.contains("Auto-Submitted: auto-generated\r\n"));
        assert!(mail.contains("X-Auto-Response-Suppress: All\r\n"));
        assert!(mail.contains("List-Id: <loan.drift.example.com>\r\n"));
        assert!(mail.contains("Content-Type: multipart/alternative;"));
    }

    #[test]
    fn the_text_is_complete_on_its_own() {
        let text = text(&notice(), 1_000, 100);
        for part in [
            "FIRING critical: FeaturePSI of model loan, feature age",
            "age drifted: PSI 0.31 & rising",
            "Value      0.3134",
            "Threshold  0.25",
            "Events     5120",
            "Window     1h, 2026-11-22 10:00:00 UTC to 2026-11-22 11:00:00 UTC",
            "Since      2026-11-22 11:00:00 UTC",
            "History    ▁·▄█ (0.01 to 0.3134, oldest first)",
            "Why        fire critical",
            "Runbook    https://runbooks.example/psi",
            "team = <b>risk</b>",
            "Episode    01KAPZ5H80ABCDEFGHJKMNPQRS",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn html_is_escaped_and_loads_nothing() {
        let mut notice = notice();
        notice.alert.annotations.insert("runbook_url".into(), "javascript:alert(1)".into());
        notice.alert.alert = "<script>\"'&".into();
        let html = html(&notice, 1_000, 100);
        assert!(html.contains("&lt;b&gt;risk&lt;/b&gt;") && html.contains("&lt;script&gt;&quot;&#39;&amp;"), "{html}");
        for bad in ["<script", "<b>risk", "href=\"javascript", "src=", "url("] {
            assert!(!html.contains(bad), "{bad} in {html}");
        }
    }

    /// An explanation with a level that means harm.
    pub(crate) fn explained() -> Notice {
        let cell =
            |name: &str, reference, current, share| MovedCell { name: name.into(), bounds: (None, Some(3.5)), reference, current, share };
        let mut notice = notice();
        notice.alert.explanation = Some(Box::new(Finding {
            sentence: "age rose: mean +0.80 sd; 61 % of PSI 0.3134 from (52k, 61k] 8 % -> 19 %".into(),
            score: Some((Metric::Psi, 0.3134)),
            cells: vec![cell("(52k, 61k]", 0.08, 0.19, 0.4), cell("<b>&", 0.095, 0.0, 0.2)],
            ..Finding::default()
        }));
        notice
    }

    #[test]
    fn an_explanation_is_a_sentence_and_a_picture() {
        let mut notice = explained();
        let text = text(&notice, 1_000, 100);
        assert!(text.contains("\nage rose: mean +0.80 sd; 61 % of PSI"), "{text}");
        let bars: Vec<&str> = text.lines().filter(|line| line.contains("reference") || line.contains("window ")).collect();
        let full = "█".repeat(24);
        assert_eq!(bars.len(), 4, "{text}");
        assert_eq!(bars[1], format!("  {:<27} window      19 % {full}", ""));
        assert_eq!(bars[2], format!("  {:<27} reference  9.5 % {}", "<b>&", "█".repeat(12)));
        assert_eq!(bars[3], format!("  {:<27} window       0 %", ""));
        let html = html(&notice, 1_000, 100);
        assert!(html.contains("61 % of PSI 0.3134 from (52k, 61k] 8 % -&gt; 19 %</p>"), "{html}");
        assert!(html.contains(&full) && html.contains("&lt;b&gt;&amp;</td>") && !html.contains("<b>"), "{html}");
        notice.kind = NoticeKind::Resolved;
        assert!(!super::text(&notice, 1_000, 100).contains("mean +0.80"));
    }

    #[test]
    fn hostile_and_huge_values_stay_inside_their_field() {
        let mut notice = notice();
        notice.alert.labels.insert("model".into(), "loan\r\nBcc: victim@example.com".into());
        for index in 0..300 {
            notice.alert.annotations.insert(format!("note{index}"), "<é&\u{1f600}>".repeat(2_000));
        }
        let mail = mail(&notice);
        assert!(mail.len() < MAX_MESSAGE, "{}", mail.len());
        assert!(mail.is_ascii());
        let head = mail.split("\r\n\r\n").next().unwrap();
        assert!(!head.contains("\r\nBcc:"), "{head}");
        notice.alert.annotations = BTreeMap::from([("summary".to_owned(), "fine\nRunbook    https://evil.example".to_owned())]);
        let text = text(&notice, 1_000, 100);
        assert!(!text.lines().any(|line| line.starts_with("Bcc") || line.starts_with("Runbook")), "{text}");
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(figure(0.25), "0.25");
        assert_eq!(figure(5120.0), "5120");
        assert_eq!(figure(0.000_001_234), "1.234e-6");
        assert_eq!(figure(0.0), "0");
        assert_eq!(sparkline(&[Some(1.0), Some(1.0)]).unwrap().0, "▁▁");
        assert!(sparkline(&[None, None]).is_none());
        assert!(sparkline(&[Some(f64::NAN), Some(1.0)]).is_some());
    }
}
