//! Sequential detectors against River 0.26.1, value by value.
//!
//! `tests/data/goldens/river_events.csv.gz` says at which values (numbered from 0) a detector's `drift_detected` was true, and where its
//! `warning_detected` began and ceased to be. The calls, with the parameters of the golden's column `params`, which are ours by the
//! same names, and none where that is empty:
//!
//! | golden | call | here |
//! |---|---|---|
//! | `ADWIN` | `river.drift.ADWIN(**params)` | [`AdwinSettings`] |
//! | `PageHinkley` | `river.drift.PageHinkley(**params)` | [`PageHinkleySettings`] |
//! | `DDM` | `river.drift.binary.DDM(**params)` | [`DdmSettings`] |
//! | `EDDM` | `river.drift.binary.EDDM(**params)` | [`EddmSettings`] |
//! | `HDDM_A` | `river.drift.binary.HDDM_A(**params)` | [`HddmASettings`] |
//! | `HDDM_W` | `river.drift.binary.HDDM_W(**params)` | [`HddmWSettings`] |
//!
//! `KSWIN` draws at random and is not among our detectors. The tolerance is none: every drift and every warning has to be at the same
//! value. At a drift itself River may leave a warning on; ours says only the drift.
#![allow(clippy::type_complexity)] // Rows of a table, said once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::PathBuf;

use driftline::stats::random::SplitMix64;
use driftline::stats::sequential::{
    AdwinSettings, DdmSettings, Detector, Direction, EddmSettings, HddmASettings, HddmWSettings, PageHinkleySettings, Settings, Signal,
};
use flate2::read::GzDecoder;
use serde_json::{Map, Value};

/// The detectors, streams and parameters that are compared; the rest of the golden is `KSWIN`.
const COMPARED: usize = 52;

fn text(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

fn stream(name: &str) -> Vec<f64> {
    text(&format!("streams/{name}.txt.gz")).lines().map(|line| line.parse().unwrap()).collect()
}

/// Which detector on which stream with which parameters.
type Case = (String, String, String);

/// What River says: the values at which there is a drift, and those at which a warning begins or ends.
#[derive(Default)]
struct Golden {
    drifts: BTreeSet<usize>,
    warning_on: BTreeSet<usize>,
    warning_off: BTreeSet<usize>,
}

fn goldens() -> BTreeMap<Case, Golden> {
    let mut goldens: BTreeMap<Case, Golden> = BTreeMap::new();
    for line in text("goldens/river_events.csv.gz").lines().skip(1) {
        // Only the parameters may hold a comma, and they are quoted.
        let (head, rest) = line.split_once(",{").or_else(|| line.split_once(",\"{")).unwrap();
        let (params, tail) = rest.rsplit_once('}').unwrap();
        let [library, stream, detector] = head.split(',').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (event, index) = tail.trim_start_matches(['"', ',']).split_once(',').unwrap();
        assert_eq!(library, "river 0.26.1");
        let golden = goldens.entry((stream.into(), detector.into(), format!("{{{}}}", params.replace("\"\"", "\"")))).or_default();
        let events = match event {
            "drift" => &mut golden.drifts,
            "warning_on" => &mut golden.warning_on,
            "warning_off" => &mut golden.warning_off,
            other => panic!("{other}"),
        };
        events.insert(index.parse().unwrap());
    }
    goldens
}

fn settings(detector: &str, params: &Map<String, Value>) -> Option<Settings> {
    let number = |name: &str, default: f64| params.get(name).map_or(default, |value| value.as_f64().unwrap());
    let truth = |name: &str| params.get(name).is_some_and(|value| value.as_bool().unwrap());
    let known: &[&str];
    let settings = match detector {
        "ADWIN" => {
            known = &["delta", "clock"];
            let default = AdwinSettings::default();
            let clock = params.get("clock").map_or(default.clock, |value| u32::try_from(value.as_u64().unwrap()).unwrap());
            Settings::Adwin(AdwinSettings { delta: number("delta", default.delta), clock, ..default })
        }
        "PageHinkley" => {
            known = &["threshold", "mode"];
            let default = PageHinkleySettings::default();
            let mode = match params.get("mode").map(|mode| mode.as_str().unwrap()) {
                None => default.mode,
                Some("up") => Direction::Up,
                Some(other) => panic!("{other}"),
            };
            Settings::PageHinkley(PageHinkleySettings { threshold: number("threshold", default.threshold), mode, ..default })
        }
        "DDM" => {
            known = &[];
            Settings::Ddm(DdmSettings::default())
        }
        "EDDM" => {
            known = &[];
            Settings::Eddm(EddmSettings::default())
        }
        "HDDM_A" => {
            known = &["two_sided_test"];
            Settings::HddmA(HddmASettings { two_sided_test: truth("two_sided_test"), ..HddmASettings::default() })
        }
        "HDDM_W" => {
            known = &["two_sided_test"];
            Settings::HddmW(HddmWSettings { two_sided_test: truth("two_sided_test"), ..HddmWSettings::default() })
        }
        "KSWIN" => return None,
        other => panic!("{other}"),
    };
    assert!(params.keys().all(|name| known.contains(&name.as_str())), "{params:?} of {detector}");
    Some(settings)
}

#[test]
fn drifts_and_warnings_are_those_of_river() {
    let mut compared = 0;
    for ((name, detector, params), golden) in goldens() {
        let Some(settings) = settings(&detector, &serde_json::from_str(&params).unwrap()) else { continue };
        let values = stream(&name);
        let mut ours = Detector::new(settings);
        let (mut drifts, mut warned) = (BTreeSet::new(), false);
        for (index, x) in values.iter().enumerate() {
            warned = (warned || golden.warning_on.contains(&index)) && !golden.warning_off.contains(&index);
            match ours.update(*x) {
                Signal::Drift => drop(drifts.insert(index)),
                signal => assert_eq!(signal == Signal::Warning, warned, "{detector} {params} at {index} of {name}"),
            }
        }
        assert_eq!(drifts, golden.drifts, "{detector} {params} on {name}");
        compared += 1;
    }
    assert_eq!(compared, COMPARED);
}

#[test]
fn documented_drifts_are_found() {
    let first = |name: &str, settings| {
        let mut detector = Detector::new(settings);
        stream(name).into_iter().position(|x| detector.update(x) == Signal::Drift)
    };
    // The docstrings of River's own classes.
    assert_eq!(first("doc_river_step", Settings::Adwin(AdwinSettings::default())), Some(1_023));
    assert_eq!(first("doc_river_step", Settings::PageHinkley(PageHinkleySettings::default())), Some(1_006));
    assert_eq!(first("doc_river_binary", Settings::HddmA(HddmASettings::default())), Some(1_206));
    assert_eq!(first("doc_river_binary", Settings::HddmW(HddmWSettings::default())), Some(1_077));
    assert_eq!(first("doc_river_binary", Settings::Ddm(DdmSettings::default())), Some(1_334));
    assert_eq!(first("doc_river_binary", Settings::Eddm(EddmSettings { alpha: 0.8, beta: 0.75, ..EddmSettings::default() })), Some(1_278));
}

/// Values of standard deviation 1 of which neighbours correlate: sums of twelve uniform draws.
struct Noise {
    random: SplitMix64,
    correlation: f64,
    before: f64,
}

impl Noise {
    fn new(seed: u64, correlation: f64) -> Noise {
        Noise { random: SplitMix64::new(seed), correlation, before: 0.0 }
    }

    #[allow(clippy::cast_precision_loss)]
    fn uniform(&mut self) -> f64 {
        (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self) -> f64 {
        let fresh = (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0;
        self.before = self.correlation * self.before + (1.0 - self.correlation * self.correlation).sqrt() * fresh;
        self.before
    }
}

/// Drifts among so many values without a change, as their number in a thousand.
fn false_alarms(settings: Settings, values: u32, mut next: impl FnMut() -> f64) -> f64 {
    let mut detector = Detector::new(settings);
    let alarms = (0..values).filter(|_| detector.update(next()) == Signal::Drift).count();
    1_000.0 * f64::from(u32::try_from(alarms).unwrap()) / f64::from(values)
}

/// The median number of values from a change to the next drift, where the change comes after 500; none where most are not found.
fn delay(settings: Settings, mut next: impl FnMut(bool) -> f64) -> String {
    const LONGEST: usize = 5_000;
    let mut delays: Vec<usize> = (0..41)
        .map(|_| {
            let mut detector = Detector::new(settings);
            for _ in 0..500 {
                detector.update(next(false));
            }
            (0..LONGEST).position(|_| detector.update(next(true)) == Signal::Drift).map_or(LONGEST, |position| position + 1)
        })
        .collect();
    delays.sort_unstable();
    if delays[20] == LONGEST { "none".into() } else { delays[20].to_string() }
}

/// The tables of docs/detectors.md are what comes out here.
#[test]
fn the_page_says_how_often_and_how_late_they_are() {
    let adwin = |delta, clock| Settings::Adwin(AdwinSettings { delta, clock, ..AdwinSettings::default() });
    let page_hinkley = |delta, threshold| Settings::PageHinkley(PageHinkleySettings { delta, threshold, ..PageHinkleySettings::default() });
    let mut rows = Vec::new();
    for (name, settings) in [
        ("adwin", adwin(0.002, 32)),
        ("adwin, clock 1", adwin(0.002, 1)),
        ("page_hinkley", page_hinkley(0.005, 50.0)),
        ("page_hinkley, delta 0.5, threshold 15", page_hinkley(0.5, 15.0)),
    ] {
        let alarms = [0.0, 0.5, 0.8].map(|correlation| {
            let mut noise = Noise::new(1, correlation);
            format!("{:.2}", false_alarms(settings, 50_000, || noise.next()))
        });
        let delays = [1.0, 2.0, 5.0].map(|shift| {
            let mut noise = Noise::new(2, 0.0);
            delay(settings, |is_after| noise.next() + if is_after { shift } else { 0.0 })
        });
        rows.push(format!("| {name} | {} | {} |", alarms.join(" | "), delays.join(" | ")));
    }
    for (name, settings) in [
        ("ddm", Settings::Ddm(DdmSettings::default())),
        ("eddm", Settings::Eddm(EddmSettings::default())),
        ("eddm, alpha 0.85, beta 0.75", Settings::Eddm(EddmSettings { alpha: 0.85, beta: 0.75, ..EddmSettings::default() })),
        ("hddm_a", Settings::HddmA(HddmASettings::default())),
        ("hddm_w", Settings::HddmW(HddmWSettings::default())),
    ] {
        let error = |noise: &mut Noise, rate: f64| f64::from(u8::from(noise.uniform() < rate));
        let mut noise = Noise::new(3, 0.0);
        let alarms = format!("{:.2}", false_alarms(settings, 300_000, || error(&mut noise, 0.05)));
        let delays = [0.1, 0.2, 0.5].map(|rate| delay(settings, |is_after| error(&mut noise, if is_after { rate } else { 0.05 })));
        rows.push(format!("| {name} | {alarms} | {} |", delays.join(" | ")));
    }
    let page = std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/detectors.md")).unwrap_or_default();
    let missing: Vec<&String> = rows.iter().filter(|row| !page.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/detectors.md:\n{}", missing.iter().fold(String::new(), |text, row| text + row + "\n"));
}
