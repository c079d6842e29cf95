//! What the `OTEL_*` variables of the specification ask for, beside the settings; the variables win.
//!
//! The process's environment comes in as a map. Headers, timeouts, compression and resource attributes are read by the
//! SDK itself and are not repeated here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Settings;

/// The endpoint of the specification where `otlp` is asked for and none is named.
const DEFAULT_ENDPOINT: &str = "http://localhost:4318";

/// What is to be exported where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Full URL for metrics; `None` does not push.
    pub metrics_endpoint: Option<String>,
    /// Full URL for log events; `None` does not push.
    pub logs_endpoint: Option<String>,
    /// Whether metrics can be scraped.
    pub prometheus: bool,
    /// Time between two pushes.
    pub interval: Duration,
    /// What is not honoured, as sentences.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Reads the settings and their environment. An empty variable counts as not set; a bad one is warned of and ignored.
    pub fn resolve(settings: &Settings) -> Plan {
        let mut warnings = Vec::new();
        let environment = Environment(&settings.environment);
        if environment.get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            let interval = settings.export_interval;
            return Plan { metrics_endpoint: None, logs_endpoint: None, prometheus: false, interval, warnings };
        }
        let metrics = environment.exporters("OTEL_METRICS_EXPORTER", &["otlp", "prometheus", "none"], &mut warnings);
        let logs = environment.exporters("OTEL_LOGS_EXPORTER", &["otlp", "none"], &mut warnings);
        let interval = match environment.get("OTEL_METRIC_EXPORT_INTERVAL").map(|text| (text, text.parse::<u64>())) {
            None => settings.export_interval,
            Some((_, Ok(milliseconds))) if milliseconds > 0 => Duration::from_millis(milliseconds),
            Some((text, _)) => {
                warnings.push(format!("OTEL_METRIC_EXPORT_INTERVAL is ignored: '{text}' is no number of milliseconds"));
                settings.export_interval
            }
        };
        for signal in ["", "METRICS_", "LOGS_"] {
            let name = format!("OTEL_EXPORTER_OTLP_{signal}PROTOCOL");
            if let Some(protocol) = environment.get(&name).filter(|protocol| *protocol != "http/protobuf") {
                warnings.push(format!("{name}={protocol} is not supported: http/protobuf is used"));
            }
        }
        if environment.get("OTEL_CONFIG_FILE").is_some() {
            warnings.push("OTEL_CONFIG_FILE is not supported".into());
        }
        let file = settings.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        Plan {
            metrics_endpoint: environment.endpoint("METRICS", "v1/metrics", file, metrics.as_deref()),
            logs_endpoint: environment.endpoint("LOGS", "v1/logs", file, logs.as_deref()),
            prometheus: metrics.map_or(settings.prometheus, |list| list.iter().any(|exporter| exporter == "prometheus")),
            interval,
            warnings,
        }
    }
}

struct Environment<'a>(&'a BTreeMap<String, String>);

impl Environment<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The exporters that a variable lists, or `None` where it lists none that is known.
    fn exporters(&self, name: &str, known: &[&str], warnings: &mut Vec<String>) -> Option<Vec<String>> {
        let list = self.get(name)?;
        let (good, bad): (Vec<_>, Vec<_>) =
            list.split(',').map(|item| item.trim().to_owned()).partition(|item| known.contains(&item.as_str()));
        for item in bad {
            warnings.push(format!("{name}: '{item}' is not supported; known are {}", known.join(", ")));
        }
        (!good.is_empty()).then_some(good)
    }

    /// Where a signal goes: its own URL as it is, else the base URL of the environment or the file with the signal's path.
    fn endpoint(&self, signal: &str, path: &str, file: Option<&str>, exporters: Option<&[String]>) -> Option<String> {
        if exporters.is_some_and(|list| !list.iter().any(|exporter| exporter == "otlp")) {
            return None;
        }
        if let Some(own) = self.get(&format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")) {
            return Some(own.to_owned());
        }
        let asked_for = exporters.map(|_| DEFAULT_ENDPOINT);
        let base = self.get("OTEL_EXPORTER_OTLP_ENDPOINT").or(file).or(asked_for)?;
        Some(format!("{}/{path}", base.trim_end_matches('/')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(file: Option<&str>, variables: &[(&str, &str)]) -> Plan {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Plan::resolve(&Settings { otlp_endpoint: file.map(str::to_owned), environment, ..Settings::default() })
    }

    #[test]
    fn without_an_endpoint_nothing_is_pushed() {
        let plan = plan(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]);
        assert_eq!((plan.metrics_endpoint, plan.logs_endpoint, plan.prometheus), (None, None, true));
    }

    #[test]
    fn the_environment_wins_and_a_signal_of_its_own_is_used_as_it_is() {
        let plan = plan(
            Some("http://file:4318/"),
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318/base/"), ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs/x")],
        );
        assert_eq!(plan.metrics_endpoint.as_deref(), Some("http://env:4318/base/v1/metrics"));
        assert_eq!(plan.logs_endpoint.as_deref(), Some("http://logs/x"));
        let plain = super::Plan::resolve(&Settings { otlp_endpoint: Some("http://file:4318/".into()), ..Settings::default() });
        assert_eq!(plain.metrics_endpoint.as_deref(), Some("http://file:4318/v1/metrics"));
    }

    #[test]
    fn exporters_can_be_named_and_switched_off() {
        let none = plan(Some("http://file:4318"), &[("OTEL_METRICS_EXPORTER", "none"), ("OTEL_LOGS_EXPORTER", "none")]);
        assert_eq!((none.metrics_endpoint, none.logs_endpoint, none.prometheus), (None, None, false));
        let both = plan(None, &[("OTEL_METRICS_EXPORTER", "otlp,prometheus")]);
        assert_eq!((both.metrics_endpoint.as_deref(), both.prometheus), (Some("http://localhost:4318/v1/metrics"), true));
        let disabled = plan(Some("http://file:4318"), &[("OTEL_SDK_DISABLED", "TRUE")]);
        assert_eq!((disabled.metrics_endpoint, disabled.prometheus), (None, false));
    }

    #[test]
    fn what_is_not_honoured_is_said() {
        let plan = plan(
            Some("http://file:4318"),
            &[
                ("OTEL_METRICS_EXPORTER", "console"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "soon"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                ("OTEL_CONFIG_FILE", "x.yaml"),
            ],
        );
        assert_eq!(plan.warnings.len(), 4);
        assert_eq!((plan.interval, plan.prometheus), (super::super::DEFAULT_EXPORT_INTERVAL, true));
        assert!(plan.metrics_endpoint.is_some());
    }
}
