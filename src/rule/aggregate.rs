//! The aggregate alert of a rule with a limit: one that speaks for many, so that none of them vanishes.

use std::sync::Arc;

use crate::event::{Segment, Timestamp};

use super::announce::{Turn, context};
use super::datum::Bindings;
use super::instance::{Episode, InstanceKey};
use super::judge::{Alerts, stream};
use super::machine::{Severity, State};
use super::set::Rule;

/// Instances that an aggregate alert names.
const NAMED_BY_AGGREGATE: usize = 10;

impl Alerts {
    /// Opens, raises or ends the aggregate alert of a rule with a limit; `None` where there is none. It opens when more
    /// instances are firing than the limit and ends when none is.
    pub(super) fn aggregate(&mut self, rule: &Rule, at: Timestamp) -> Option<(InstanceKey, Turn)> {
        let limit = rule.limit?;
        let mut firing: Vec<(f64, String, Severity)> = self
            .instances_of(rule)
            .filter(|(_, instance)| instance.machine.state.is_open())
            .map(|(key, instance)| {
                let mut labels = key.labels();
                labels.retain(|name, _| name != "alertname" && name != "model");
                let named: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                let severity = instance.machine.severity.unwrap_or(Severity::Warning);
                (instance.value.unwrap_or(0.0), named.join(","), severity)
            })
            .collect();
        let star: Arc<str> = Arc::from("*");
        let mut segment = Segment::default();
        if rule.each_segment {
            segment.0.push((Arc::from("segment"), Arc::clone(&star)));
        }
        let key = InstanceKey {
            version: Arc::clone(&star),
            segment,
            feature: rule.each_feature.then(|| Arc::clone(&star)),
            ..stream(rule, "", &Segment::default())
        };
        let open = self.aggregates.contains_key(&key);
        let count = firing.len();
        if !open && count <= limit as usize {
            return None;
        }
        let mut instance = self.aggregates.remove(&key).unwrap_or_default();
        let before = instance.machine.severity;
        let severity = firing.iter().map(|(_, _, severity)| *severity).max().or(before).unwrap_or(Severity::Warning);
        let turn = if count == 0 {
            Turn::Ended
        } else if !open {
            Turn::Opened
        } else if Some(severity) > before {
            Turn::Risen
        } else {
            Turn::None
        };
        instance.machine.force(if turn == Turn::Ended { State::Resolved } else { State::Firing }, severity, at);
        #[allow(clippy::cast_precision_loss)]
        instance.note(Some(count as f64), count as u64, None);
        if turn == Turn::Opened {
            instance.episode = Some(Episode::new(key.episode(at)));
            for (name, template) in &rule.labels {
                instance.labels.insert(name.clone(), template.render(&context(&Bindings::default(), &instance, &key, rule)).text);
            }
        }
        match turn {
            Turn::Opened => {
                instance.reason = format!("fire {}: {count} instances are firing, more than the limit of {limit}", severity.as_str());
            }
            Turn::Risen => instance.reason = format!("fire {}: an instance has risen", severity.as_str()),
            Turn::Ended => "resolve: no instance is firing".clone_into(&mut instance.reason),
            Turn::None => {}
        }
        firing.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then_with(|| a.1.cmp(&b.1)));
        let named: Vec<String> =
            firing.iter().take(NAMED_BY_AGGREGATE).map(|(value, name, _)| format!("{name} ({})", rule.unit().show(*value))).collect();
        instance.annotations.insert("summary".into(), format!("{count} instances of {} are firing", rule.alert));
        instance.annotations.insert("description".into(), format!("Greatest values: {}", named.join("; ")));
        self.aggregates.insert(key.clone(), instance);
        Some((key, turn))
    }
}
