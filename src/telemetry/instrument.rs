//! The metrics: names, units, descriptions, and where each takes its values from.
//!
//! All are observable: an exporter gets what the tables hold when it collects, and nothing that is gone. A unit in braces
//! has no part in the name for Prometheus; a unit of "1" would make every score a `_ratio`.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::agent::AgentTable;
use super::latency::Kind;
use super::series::Gauge;
use super::{Tables, locked};

/// The gauges of the models: name, unit, description.
const GAUGES: [(Gauge, &str, &str, &str); 9] = [
    (
        Gauge::Score,
        "drift.score",
        "{score}",
        "Drift of a feature or output against the baseline in the newest window that has enough events, by metric",
    ),
    (Gauge::Threshold, "drift.score.threshold", "{score}", "Value of the score above which a rule fires, by severity"),
    (Gauge::Drifted, "drift.features.drifted", "{feature}", "Features that have drifted in the newest window, by effect and evidence"),
    (Gauge::Monitored, "drift.features.monitored", "{feature}", "Features that could be judged in the newest window"),
    (Gauge::Performance, "model.performance", "{score}", "Performance of the model in the newest window with enough labels, by metric"),
    (Gauge::NullRatio, "drift.data.null_ratio", "{ratio}", "Share of a feature's values in the newest window that are missing or null"),
    (Gauge::InvalidRatio, "drift.data.invalid_ratio", "{ratio}", "Share of a feature's values in the newest window that are of no use"),
    (
        Gauge::OutOfRangeRatio,
        "drift.data.out_of_range_ratio",
        "{ratio}",
        "Share of a feature's values in the newest window outside of the baseline's range",
    ),
    (
        Gauge::NewCategoryRatio,
        "drift.data.new_category_ratio",
        "{ratio}",
        "Share of a feature's values in the newest window that the baseline has not seen",
    ),
];

/// Makes all instruments; they live as long as the meter's provider.
pub(super) fn register(meter: &Meter, tables: &Arc<Tables>) {
    for (gauge, name, unit, description) in GAUGES {
        let tables = Arc::clone(tables);
        let read = move |instrument: &dyn AsyncInstrument<f64>| {
            let snapshot = locked(&tables.scores).snapshot();
            for series in snapshot.series.get(&gauge).into_iter().flatten() {
                instrument.observe(series.value, &series.attributes);
            }
        };
        meter.f64_observable_gauge(name).with_unit(unit).with_description(description).with_callback(read).build();
    }
    counters(meter, tables);
    lags(meter, tables);
    states(meter, tables);
    latencies(meter, tables);
}

/// A count or depth of the agent.
type Row = (u64, Vec<KeyValue>);

fn counters(meter: &Meter, tables: &Arc<Tables>) {
    let counter = |name: &'static str, unit: &'static str, description: &'static str, rows: fn(&AgentTable) -> Vec<Row>| {
        let read = reader(tables, rows);
        meter.u64_observable_counter(name).with_unit(unit).with_description(description).with_callback(read).build();
    };
    counter("driftline.records", "{record}", "Events by topic and what became of them; reason where they were rejected", |table| {
        let row = |count: &super::RecordCount| {
            let mut attributes = vec![KeyValue::new("outcome", count.outcome), KeyValue::new("topic", count.topic.to_string())];
            attributes.extend(count.reason.map(|reason| KeyValue::new("reason", reason)));
            (count.count, attributes)
        };
        table.records.iter().map(row).collect()
    });
    counter(
        "driftline.dead_letters",
        "{record}",
        "Rejected records on their way to the dead-letter topic, by outcome and reason",
        |table| {
            let row = |(outcome, reason, count): &(&'static str, &'static str, u64)| {
                (*count, vec![KeyValue::new("outcome", *outcome), KeyValue::new("reason", *reason)])
            };
            table.dead_letters.iter().map(row).collect()
        },
    );
    counter("driftline.ledger.refused", "{prediction}", "Predictions not kept for their labels, because a ledger was full", |table| {
        vec![(table.ledger.refused, vec![])]
    });
    counter("driftline.window.closed", "{window}", "Windows closed, by model and window name", |table| {
        pairs(table.windows(), "model", "window")
    });
    counter("driftline.notifications", "{notification}", "Messages to receivers by outcome", |table| {
        pairs(table.notifications(), "receiver", "outcome")
    });
    counter("driftline.actions", "{call}", "Calls of actions by outcome", |table| pairs(table.actions(), "action", "outcome"));
}

fn states(meter: &Meter, tables: &Arc<Tables>) {
    let gauge = |name: &'static str, unit: &'static str, description: &'static str, rows: fn(&AgentTable) -> Vec<Row>| {
        let read = reader(tables, rows);
        meter.u64_observable_gauge(name).with_unit(unit).with_description(description).with_callback(read).build();
    };
    gauge("driftline.alerts", "{alert}", "Active alert instances by state", |table| {
        table.alerts().map(|(state, count)| (count, vec![KeyValue::new("state", state)])).collect()
    });
    gauge("driftline.outbox.depth", "{item}", "Messages and calls that wait to be delivered", |table| vec![(table.outbox_depth, vec![])]);
    gauge("driftline.ledger.depth", "{record}", "Records kept for the join of labels, by kind", |table| {
        [("label", table.ledger.labels), ("prediction", table.ledger.predictions)]
            .map(|(kind, count)| (count, vec![KeyValue::new("kind", kind)]))
            .to_vec()
    });
    gauge("driftline.config.last_reload.successful", "{bool}", "1 if the last reload was applied, 0 if it was refused", |table| {
        vec![(u64::from(!table.reload_failed), vec![])]
    });
    gauge("driftline.build.info", "{build}", "Always 1; the version of the program is a label", |_| {
        vec![(1, vec![KeyValue::new("version", env!("CARGO_PKG_VERSION"))])]
    });
    let scores = Arc::clone(tables);
    meter
        .u64_observable_gauge("driftline.metrics.suppressed")
        .with_unit("{series}")
        .with_description("Series of the models that telemetry.max_series leaves out now; the log events have them all")
        .with_callback(move |instrument| instrument.observe(locked(&scores.scores).snapshot().suppressed, &[]))
        .build();
}

fn lags(meter: &Meter, tables: &Arc<Tables>) {
    let attributes =
        |lag: &super::PartitionLag| [KeyValue::new("topic", lag.topic.to_string()), KeyValue::new("partition", i64::from(lag.partition))];
    let read = Arc::clone(tables);
    meter
        .u64_observable_gauge("driftline.consumer.lag")
        .with_unit("{record}")
        .with_description("Records between the position of the agent and the end of the partition")
        .with_callback(move |instrument| {
            for lag in &locked(&read.agent).lags {
                if let Some(records) = lag.records {
                    instrument.observe(records, &attributes(lag));
                }
            }
        })
        .build();
    let read = Arc::clone(tables);
    meter
        .f64_observable_gauge("driftline.event_time.lag")
        .with_unit("s")
        .with_description("How far the newest event time of the partition lies behind the clock")
        .with_callback(move |instrument| {
            for lag in &locked(&read.agent).lags {
                if let Some(seconds) = lag.event_time_seconds.filter(|seconds| seconds.is_finite()) {
                    instrument.observe(seconds, &attributes(lag));
                }
            }
        })
        .build();
}

fn latencies(meter: &Meter, tables: &Arc<Tables>) {
    let kinds = [
        (
            Kind::Prediction,
            "driftline.prediction.latency",
            "Latency of the model's predictions as its events tell it, lately: p50, p90, p99, max",
        ),
        (Kind::WindowClose, "driftline.window.close.duration", "Time to evaluate a closed window, lately: p50, p90, p99, max"),
    ];
    for (kind, name, description) in kinds {
        let tables = Arc::clone(tables);
        let read = move |instrument: &dyn AsyncInstrument<f64>| {
            for (model, statistic, seconds) in locked(&tables.latencies).statistics(kind) {
                // Not `quantile`: in Prometheus that label belongs to summaries.
                instrument.observe(seconds, &[KeyValue::new("model", model.to_owned()), KeyValue::new("statistic", statistic)]);
            }
        };
        meter.f64_observable_gauge(name).with_unit("s").with_description(description).with_callback(read).build();
    }
}

fn reader(tables: &Arc<Tables>, rows: fn(&AgentTable) -> Vec<Row>) -> impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static {
    let tables = Arc::clone(tables);
    move |instrument| {
        let rows = rows(&locked(&tables.agent));
        for (value, attributes) in rows {
            instrument.observe(value, &attributes);
        }
    }
}

fn pairs<'a>(rows: impl Iterator<Item = (&'a str, &'a str, u64)>, first: &'static str, second: &'static str) -> Vec<Row> {
    rows.map(|(a, b, count)| (count, vec![KeyValue::new(first, a.to_owned()), KeyValue::new(second, b.to_owned())])).collect()
}
