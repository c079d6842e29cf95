//! What the two topics must be, and what is wrong with those that are there, in words. It asks nobody.

use std::collections::BTreeMap;

use crate::event::Span;

use super::settings::Settings;

/// `cleanup.policy` of the panes topic: the last snapshot of a pane, until no window needs it.
const PANES_POLICY: &str = "compact,delete";
/// `cleanup.policy` of the owners topic: the last decision of each model, for ever.
const OWNERS_POLICY: &str = "compact";
/// `min.compaction.lag.ms`. A process that was cut off may write an old snapshot after a newer one, and compaction keeps
/// what was written last. For this long both stay readable, so that a new owner finds the greater one, and whoever counts
/// the partition has written a still greater one by then.
const COMPACTION_LAG: i64 = Span::HOUR.0;
/// `max.compaction.lag.ms` of new topics: a new owner reads what compaction has left, so it is not put off for ever.
const MAX_COMPACTION_LAG: i64 = 6 * Span::HOUR.0;
/// `segment.ms` of new topics: the newest segment is never compacted, so it must not grow for the week of the default.
const SEGMENT_MS: i64 = Span::HOUR.0;
/// `min.insync.replicas` where there are at least three copies: what is acknowledged survives the loss of one of them.
const IN_SYNC: i32 = 2;
/// Copies from which on [`IN_SYNC`] is asked for: one may be down and records are still taken.
const COPIES_FOR_IN_SYNC: usize = 3;

/// Settings of a topic by name.
pub(super) type TopicConfig = BTreeMap<String, String>;

/// One of the two topics as it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub partitions: i32,
    /// Least number of copies of a partition.
    pub copies: usize,
    /// None where it may not or cannot be read.
    pub config: Option<TopicConfig>,
}

/// What was found out, one sentence each.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// It cannot work so.
    pub faults: Vec<String>,
    /// It works, and may lose something.
    pub warnings: Vec<String>,
}

/// The settings that the topics are created with: the panes topic's, then the owners topic's.
pub(super) fn wanted(settings: &Settings, copies: i32) -> [Vec<(&'static str, String)>; 2] {
    let mut both = vec![
        ("compression.type", "zstd".to_owned()),
        ("max.message.bytes", message_bytes(settings).to_string()),
        ("min.compaction.lag.ms", COMPACTION_LAG.to_string()),
        ("max.compaction.lag.ms", MAX_COMPACTION_LAG.to_string()),
        ("segment.ms", SEGMENT_MS.to_string()),
    ];
    if usize::try_from(copies).is_ok_and(|copies| copies >= COPIES_FOR_IN_SYNC) {
        both.push(("min.insync.replicas", IN_SYNC.to_string()));
    }
    let mut panes = both.clone();
    panes.push(("cleanup.policy", PANES_POLICY.to_owned()));
    panes.push(("retention.ms", settings.retention.0.to_string()));
    both.push(("cleanup.policy", OWNERS_POLICY.to_owned()));
    [panes, both]
}

/// The command that creates one of the topics, for people.
pub(super) fn create_command(settings: &Settings, topic: &str, partitions: i32, copies: i32) -> String {
    let [panes, owners] = wanted(settings, copies);
    let config = if topic == settings.panes { panes } else { owners };
    let config: Vec<String> = config.iter().map(|(name, value)| format!("--config {name}={value}")).collect();
    let servers = settings.connection.bootstrap_servers();
    format!(
        "kafka-topics.sh --bootstrap-server {servers} --create --topic {topic} --partitions {partitions} --replication-factor {copies} {}",
        config.join(" ")
    )
}

/// What is wrong with the two topics.
pub(super) fn examine(settings: &Settings, panes: &Found, owners: &Found) -> Findings {
    let mut findings = Findings::default();
    partitions(settings, panes, owners, &mut findings);
    for (topic, found) in [(&settings.panes, panes), (&settings.owners, owners)] {
        if let Some(config) = &found.config {
            let mut examined = Examined { settings, topic, config, findings: &mut findings };
            examined.policy(topic == &settings.panes);
            examined.at_least(
                "min.compaction.lag.ms",
                COMPACTION_LAG,
                "a new owner may find an old snapshot where a newer one was written before it",
            );
            let bytes = i64::try_from(message_bytes(settings)).unwrap_or(i64::MAX);
            examined.at_least("max.message.bytes", bytes, "the snapshots of a model with many features may be refused");
            examined.in_sync(found.copies);
        }
    }
    findings
}

fn partitions(settings: &Settings, panes: &Found, owners: &Found, findings: &mut Findings) {
    let (p, o) = (panes.partitions, owners.partitions);
    if p != o {
        let odd = if p != settings.partitions && o == settings.partitions { &settings.panes } else { &settings.owners };
        findings.faults.push(format!(
            "the topic {} has {p} partitions and {} has {o}, and a model must belong to the same partition of both; \
             stop all replicas and remove the one that is wrong, it is made anew: \
             kafka-topics.sh --bootstrap-server {} --delete --topic {odd}",
            settings.panes,
            settings.owners,
            settings.connection.bootstrap_servers()
        ));
    } else if p != settings.partitions {
        findings.warnings.push(format!(
            "the topics {} and {} have {p} partitions, not the {} of state.partitions, which is for making them only; \
             set state.partitions to {p}",
            settings.panes, settings.owners, settings.partitions
        ));
    }
}

fn message_bytes(settings: &Settings) -> usize {
    // The producer adds a little to a record, and so does the broker to a batch.
    settings.record_bytes + 64 * 1024
}

struct Examined<'a> {
    settings: &'a Settings,
    topic: &'a str,
    config: &'a TopicConfig,
    findings: &'a mut Findings,
}

impl Examined<'_> {
    fn number(&self, name: &str) -> Option<i64> {
        self.config.get(name)?.parse().ok()
    }

    /// The sentence for a setting, with the command that mends it.
    fn sentence(&self, name: &str, found: &str, wanted: &str, why: &str) -> String {
        // The tool takes a list in brackets only.
        let value = if wanted.contains(',') { format!("[{wanted}]") } else { wanted.to_owned() };
        format!(
            "the topic {} has {name}={found} instead of {wanted}: {why}; mend it: \
             kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} --add-config '{name}={value}'",
            self.topic,
            self.settings.connection.bootstrap_servers(),
            self.topic
        )
    }

    fn policy(&mut self, is_panes: bool) {
        let name = "cleanup.policy";
        let Some(found) = self.config.get(name) else { return };
        let has = |policy: &str| found.split(',').any(|one| one.trim() == policy);
        let wanted = if is_panes { PANES_POLICY } else { OWNERS_POLICY };
        match (has("compact"), has("delete")) {
            (false, _) => {
                let why = "a new owner must find the last record of every key";
                let fault = self.sentence(name, found, wanted, why);
                self.findings.faults.push(fault);
            }
            (true, true) if !is_panes => {
                let why = "the alerts of a model without news for the time of retention are forgotten";
                let warning = self.sentence(name, found, wanted, why);
                self.findings.warnings.push(warning);
            }
            (true, false) if is_panes => {
                let why = "the panes of all windows that ever were are kept";
                let warning = self.sentence(name, found, wanted, why);
                self.findings.warnings.push(warning);
            }
            _ => {}
        }
        if is_panes && has("delete") {
            let why = "panes of windows that are still open may be removed";
            self.unless_unlimited("retention.ms", self.settings.retention.0, why);
            self.unless_unlimited("retention.bytes", i64::MAX, why);
        }
    }

    /// Warns of a limit that is too small; -1 is none.
    fn unless_unlimited(&mut self, name: &str, least: i64, why: &str) {
        if let Some(found) = self.number(name).filter(|found| *found >= 0 && *found < least) {
            let wanted = if least == i64::MAX { -1 } else { least };
            let warning = self.sentence(name, &found.to_string(), &wanted.to_string(), why);
            self.findings.warnings.push(warning);
        }
    }

    fn at_least(&mut self, name: &str, least: i64, why: &str) {
        if let Some(found) = self.number(name).filter(|found| *found < least) {
            let warning = self.sentence(name, &found.to_string(), &least.to_string(), why);
            self.findings.warnings.push(warning);
        }
    }

    fn in_sync(&mut self, copies: usize) {
        let name = "min.insync.replicas";
        let Some(found) = self.number(name).and_then(|found| usize::try_from(found).ok()) else { return };
        if found > copies {
            let why = format!("with {copies} copies nothing is ever acknowledged");
            let wanted = if copies >= COPIES_FOR_IN_SYNC { IN_SYNC } else { 1 };
            let fault = self.sentence(name, &found.to_string(), &wanted.to_string(), &why);
            self.findings.faults.push(fault);
        } else if copies >= COPIES_FOR_IN_SYNC && found < 2 {
            let warning = self.sentence(name, &found.to_string(), &IN_SYNC.to_string(), "what is acknowledged may be lost with one broker");
            self.findings.warnings.push(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            connection: crate::kafka::Connection::new("kafka:9092".into(), &BTreeMap::new(), || crate::event::Timestamp(0)).unwrap(),
            instance_id: None,
            group_id: "risk".into(),
            panes: "risk.panes".into(),
            owners: "risk.owners".into(),
            partitions: 8,
            replication: None,
            retention: Span(1_000_000),
            record_bytes: 1 << 20,
            queue_kib: 1024,
        }
    }

    /// The topics as they are created, with one setting of each changed.
    fn findings(panes: (&str, &str), owners: (&str, &str)) -> Findings {
        let settings = settings();
        let [left, right] = wanted(&settings, 3).map(|config| {
            let config: TopicConfig = config.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            Found { partitions: 8, copies: 3, config: Some(config) }
        });
        let change = |mut found: Found, (name, value): (&str, &str)| {
            if !name.is_empty() {
                found.config.as_mut().unwrap().insert(name.to_owned(), value.to_owned());
            }
            found
        };
        examine(&settings, &change(left, panes), &change(right, owners))
    }

    const AS_MADE: (&str, &str) = ("", "");

    #[test]
    fn topics_as_they_are_made_are_right() {
        assert_eq!(findings(AS_MADE, AS_MADE), Findings::default());
        assert_eq!(findings(("retention.ms", "-1"), ("retention.ms", "5")), Findings::default());
        assert_eq!(findings(("cleanup.policy", "delete,compact"), AS_MADE), Findings::default());
    }

    #[test]
    fn a_fault_names_topic_setting_found_wanted_and_the_command() {
        let found = findings(("cleanup.policy", "delete"), AS_MADE);
        assert_eq!(found.warnings, Vec::<String>::new());
        assert_eq!(
            found.faults,
            ["the topic risk.panes has cleanup.policy=delete instead of compact,delete: a new owner must find the last record of \
              every key; mend it: kafka-configs.sh --bootstrap-server kafka:9092 --alter --entity-type topics --entity-name \
              risk.panes --add-config 'cleanup.policy=[compact,delete]'"]
        );
        assert_eq!(findings(AS_MADE, ("cleanup.policy", "delete")).faults.len(), 1);
        let found = findings(AS_MADE, ("min.insync.replicas", "4"));
        assert!(found.faults[0].contains("risk.owners has min.insync.replicas=4 instead of 2: with 3 copies"), "{found:?}");
    }

    #[test]
    fn what_is_doubtful_is_a_warning() {
        for (panes, owners, said) in [
            (("retention.ms", "999999"), AS_MADE, "risk.panes has retention.ms=999999 instead of 1000000"),
            (("retention.bytes", "5000"), AS_MADE, "retention.bytes=5000 instead of -1"),
            (("min.compaction.lag.ms", "0"), AS_MADE, "min.compaction.lag.ms=0 instead of 3600000"),
            (AS_MADE, ("max.message.bytes", "1048588"), "risk.owners has max.message.bytes=1048588 instead of 1114112"),
            (AS_MADE, ("min.insync.replicas", "1"), "min.insync.replicas=1 instead of 2"),
            (AS_MADE, ("cleanup.policy", "compact,delete"), "risk.owners has cleanup.policy=compact,delete instead of compact:"),
            (("cleanup.policy", "compact"), AS_MADE, "risk.panes has cleanup.policy=compact instead of compact,delete:"),
        ] {
            let found = findings(panes, owners);
            assert_eq!(found.faults, Vec::<String>::new());
            let [warning] = found.warnings.as_slice() else { panic!("{found:?}") };
            assert!(warning.contains(said), "{warning}");
            assert!(warning.contains("kafka-configs.sh"), "{warning}");
        }
    }

    #[test]
    fn partitions_must_be_as_many() {
        let found = |panes: i32, owners: i32| {
            let of = |partitions| Found { partitions, copies: 1, config: None };
            examine(&settings(), &of(panes), &of(owners))
        };
        assert_eq!(found(8, 8), Findings::default());
        assert_eq!((found(4, 4).faults.len(), found(4, 4).warnings.len()), (0, 1));
        let different = found(4, 8);
        assert!(different.faults[0].ends_with("--delete --topic risk.panes"), "{different:?}");
        assert!(found(8, 4).faults[0].ends_with("--delete --topic risk.owners"));
    }

    #[test]
    fn the_command_that_creates_a_topic_says_everything() {
        assert_eq!(
            create_command(&settings(), "risk.owners", 8, 1),
            "kafka-topics.sh --bootstrap-server kafka:9092 --create --topic risk.owners --partitions 8 --replication-factor 1 \
             --config compression.type=zstd --config max.message.bytes=1114112 --config min.compaction.lag.ms=3600000 \
             --config max.compaction.lag.ms=21600000 --config segment.ms=3600000 --config cleanup.policy=compact"
        );
    }
}
