//! An explanation in one sentence, for mails, annotations and the console. The same finding gives the same words.

use std::fmt::Write as _;

use super::explanation::{Began, Direction, Features, Finding, MovedCell, SegmentShare, Way};
use super::measurement::{Metric, Subject};
use super::text::canonical_number;
use super::time::Span;

/// Cells that the sentence names.
const CELLS: usize = 2;
/// A second cell is named from this share of the score on.
const LEAST_SHARE: f64 = 0.1;
/// A segment is named where its share of the score is at least this ...
const LEAST_OF_SEGMENT: f64 = 0.5;
/// ... and by so much greater than its share of the events: else it is only large.
const MORE_THAN_ITS_SIZE: f64 = 0.1;
/// Features that the sentence of a model names.
const FEATURES: usize = 3;
/// Longest name of a subject in it, in characters.
const LONGEST_SUBJECT: usize = 80;

/// The sentence of a finding; its own is not read.
#[must_use]
pub fn sentence(subject: &Subject, finding: &Finding) -> String {
    if let Some(features) = &finding.features {
        return of_model(features, finding.score.map(|(metric, _)| metric));
    }
    let name = match subject {
        Subject::Feature(name) => shortened(name, LONGEST_SUBJECT),
        other => shortened(&other.to_string(), LONGEST_SUBJECT),
    };
    let mut text = name;
    let _ = write!(text, " {}", finding.direction.as_ref().map_or_else(|| "changed".to_owned(), went));
    if let Some((metric, value)) = finding.score {
        text.push_str("; ");
        cells(&mut text, finding, metric, value);
    }
    if let Some(SegmentShare { segment, .. }) =
        finding.segments.first().filter(|first| first.share >= LEAST_OF_SEGMENT && first.share >= first.events + MORE_THAN_ITS_SIZE)
    {
        let _ = write!(text, "; most in {}", shortened(&segment.to_string(), LONGEST_SUBJECT));
    }
    if let Some(onset) = &finding.onset {
        let _ = write!(text, "; began about {}", when(onset));
    }
    text
}

fn went(direction: &Direction) -> String {
    let level = direction.level.as_deref().unwrap_or("it");
    let mut text = match direction.way {
        Way::Up => "rose".to_owned(),
        Way::Down => "fell".to_owned(),
        Way::Wider => "became wider".to_owned(),
        Way::Narrower => "became narrower".to_owned(),
        Way::More => format!("has more {level}"),
        Way::Less => format!("has less {level}"),
        Way::Other => "changed its shape".to_owned(),
    };
    match (direction.way, direction.mean_shift, direction.spread_ratio) {
        (Way::Up | Way::Down | Way::Other, Some(shift), _) => {
            let _ = write!(text, ": mean {}{} sd", if shift < 0.0 { "-" } else { "+" }, fixed(shift.abs()));
        }
        (Way::Wider | Way::Narrower, _, Some(ratio)) => {
            let _ = write!(text, ": sd x {}", fixed(ratio));
        }
        _ => {}
    }
    text
}

/// `61 % of PSI 0.31 from (52k, 61k] 8 % -> 19 % and above 90k 3 % -> 9 %`.
fn cells(text: &mut String, finding: &Finding, metric: Metric, value: f64) {
    let named: Vec<&MovedCell> = finding
        .cells
        .iter()
        .take(CELLS)
        .enumerate()
        .filter(|(place, cell)| *place == 0 || cell.share >= LEAST_SHARE)
        .map(|(_, cell)| cell)
        .collect();
    let score = format!("{} {}", metric_name(metric), figure(value));
    if named.is_empty() {
        text.push_str(&score);
        return;
    }
    let of_score = finding.cells_of == Some(metric);
    let share: f64 = named.iter().map(|cell| cell.share).sum();
    if of_score {
        let _ = write!(text, "{} of {score} from ", percent(share));
    } else {
        let _ = write!(text, "{score}, {} of what moved from ", percent(share));
    }
    for (place, cell) in named.iter().enumerate() {
        let and = if place == 0 { "" } else { " and " };
        let _ = write!(text, "{and}{} {} -> {}", cell.name, percent(cell.reference), percent(cell.current));
    }
}

fn of_model(features: &Features, metric: Option<Metric>) -> String {
    let mut text = format!("{} of {} features drifted", features.drifted, features.of);
    for (place, ranked) in features.ranking.iter().filter(|ranked| ranked.drifted).take(FEATURES).enumerate() {
        text.push_str(if place == 0 { ": " } else { ", " });
        let _ = write!(text, "{} (", shortened(&ranked.feature, LONGEST_SUBJECT));
        if let Some(metric) = metric {
            let _ = write!(text, "{} ", metric_name(metric));
        }
        text.push_str(&figure(ranked.value));
        if let Some(importance) = ranked.importance {
            let _ = write!(text, ", importance {}", figure(importance));
        }
        text.push(')');
    }
    let named = u32::try_from(FEATURES).unwrap_or(u32::MAX);
    if features.drifted > named {
        let _ = write!(text, " and {} more", features.drifted - named);
    }
    text
}

fn metric_name(metric: Metric) -> String {
    if metric == Metric::Psi { "PSI".to_owned() } else { metric.as_str().replace('_', " ") }
}

fn when(onset: &Began) -> String {
    let text = onset.at.rfc3339();
    let day: String = text.chars().take(10).collect();
    if onset.slice.0 % Span::DAY.0 == 0 {
        return day;
    }
    let time: String = text.chars().skip(11).take(if onset.slice.0 % Span::MINUTE.0 == 0 { 5 } else { 8 }).collect();
    format!("{day} {time} UTC")
}

/// A share as a percentage, with a decimal where it is below 10 %.
#[must_use]
pub fn percent(share: f64) -> String {
    let hundred = share * 100.0;
    if hundred.abs() < 9.95 && hundred != 0.0 {
        format!("{} %", canonical_number((hundred * 10.0).round() / 10.0))
    } else {
        format!("{hundred:.0} %")
    }
}

/// A number in four significant digits, from ten thousand on with k, M or G.
#[must_use]
pub fn figure(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if !size.is_finite() || size >= 1e13 || (size < 1e-4 && size > 0.0) => return format!("{value:.2e}"),
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let rounded: f64 = format!("{scaled:.3e}").parse().unwrap_or(scaled);
    format!("{}{unit}", canonical_number(rounded))
}

fn fixed(value: f64) -> String {
    if value < 100.0 { format!("{value:.2}") } else { figure(value) }
}

/// At most so many characters; what is cut says so.
#[must_use]
pub fn shortened(text: &str, longest: usize) -> String {
    let mut out: String = text.chars().take(longest).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(longest).is_some() {
        out.push_str("...");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::explanation::RankedFeature;
    use crate::event::{Segment, Timestamp};

    fn finding() -> Finding {
        let cell = |name: &str, reference, current, share| MovedCell { name: name.into(), bounds: (None, None), reference, current, share };
        let at = Timestamp::parse_rfc3339("2026-11-22T10:35:00Z").unwrap();
        Finding {
            score: Some((Metric::Psi, 0.3134)),
            direction: Some(Direction { way: Way::Up, mean_shift: Some(0.8), spread_ratio: Some(1.0), level: None }),
            cells_of: Some(Metric::Psi),
            cells: vec![cell("(52k, 61k]", 0.08, 0.19, 0.4), cell("above 90k", 0.031, 0.09, 0.21), cell("up to 1k", 0.1, 0.05, 0.2)],
            segments: vec![SegmentShare { segment: Segment(vec![("region".into(), "eu".into())]), share: 0.7, events: 0.3 }],
            onset: Some(Began { at, between: (at, at), slice: Span(300_000) }),
            ..Finding::default()
        }
    }

    #[test]
    fn a_number_in_one_sentence() {
        let said = |finding: &Finding| sentence(&Subject::Feature("income".into()), finding);
        assert_eq!(
            said(&finding()),
            "income rose: mean +0.80 sd; 61 % of PSI 0.3134 from (52k, 61k] 8 % -> 19 % and above 90k 3.1 % -> 9 %; \
             most in region=eu; began about 2026-11-22 10:35 UTC"
        );
        let mut large = finding();
        large.segments[0].events = 0.65;
        large.onset.as_mut().unwrap().slice = Span::DAY;
        large.cells[1].share = 0.05;
        assert_eq!(said(&large), "income rose: mean +0.80 sd; 40 % of PSI 0.3134 from (52k, 61k] 8 % -> 19 %; began about 2026-11-22");
        let other = Finding { score: Some((Metric::Ks, 0.2)), ..finding() };
        assert!(said(&other).contains("; ks 0.2, 61 % of what moved from (52k"), "{}", said(&other));
    }

    #[test]
    fn a_level_and_a_model_in_one_sentence() {
        let mut levels = finding();
        levels.direction = Some(Direction { way: Way::Less, mean_shift: None, spread_ratio: None, level: Some("DE".into()) });
        assert!(sentence(&Subject::Prediction, &levels).starts_with("prediction has less DE; 61 % of"));
        let ranked = |feature: &str, drifted| RankedFeature {
            feature: feature.into(),
            value: 0.25,
            importance: Some(0.4),
            weight: Some(0.1),
            drifted,
        };
        let features = Features { drifted: 4, of: 9, ranking: ["a", "b", "c", "d"].map(|name| ranked(name, name != "b")).to_vec() };
        let model = Finding { features: Some(features), score: Some((Metric::Psi, 0.0)), ..Finding::default() };
        assert_eq!(
            sentence(&Subject::Model, &model),
            "4 of 9 features drifted: a (PSI 0.25, importance 0.4), c (PSI 0.25, importance 0.4), d (PSI 0.25, importance 0.4) and 1 more"
        );
    }

    #[test]
    fn figures_are_short() {
        let shown = [0.0, 0.123_456, 52_000.0, 9_999.0, 1.5e6, 2e-7, -12.0, 1e20].map(figure);
        assert_eq!(shown, ["0", "0.1235", "52k", "9999", "1.5M", "2.00e-7", "-12", "1.00e20"]);
        assert_eq!([0.0, 0.0312, 0.0999, 0.5, 1.0, -0.04].map(percent), ["0 %", "3.1 %", "10 %", "50 %", "100 %", "-4 %"]);
    }
}
