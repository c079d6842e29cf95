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
