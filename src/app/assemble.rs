//! From files to everything that runs: configuration, baselines and rules become the engine's plan, the rule set and the
//! settings of the edges. Every fault is collected; nothing is half-applied.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rustc_hash::FxHashMap;
use secrecy::ExposeSecret as _;

use crate::baseline::segment::Admitted;
use crate::baseline::{Baseline, ColumnKind, Task};
use crate::config::checked::{Config, Features, Labels, Model, Purpose};
use crate::config::environment::Environment;
use crate::config::fault::{Fault, in_order};
use crate::config::load::{open, rule_files};
use crate::config::position::{Positions, join};
use crate::engine::comparison::Against;
use crate::engine::detection;
use crate::engine::evidence::{Level, series};
use crate::engine::footprint::LEDGER_ENTRY_BYTES;
use crate::engine::measure::Wanted;
use crate::engine::measure::performance;
use crate::engine::{DriftRecipe, FeaturesFrom, ModelPlan, Plan, SegmentPlan};
use crate::event::decode::{Dictionary, Field, Mapping};
use crate::event::{Metric, Segment, Span, Subject};
use crate::kafka::{Connection, check_property, is_own};
use crate::notify::settings::StandardWebhooks;
use crate::notify::{ActionSettings, Auth, EmailTarget, NotifySettings, ReceiverSettings, SmtpSettings, Transports, WebhookTarget};
use crate::rule::{self, ModelScope, RuleFile, RuleSet, Scope, WindowScope};
use crate::window::WindowSpec;

/// The part of `limits.memory` that ledgers may take together.
const LEDGER_SHARE: u64 = 4;

/// Everything the files say.
#[derive(Debug)]
pub struct Assembly {
    /// The configuration.
    pub config: Config,
    /// The engine's plan.
    pub plan: Arc<Plan>,
    /// The rules.
    pub rules: Arc<RuleSet>,
    /// Where notices go.
    pub notify: NotifySettings,
    /// Warnings.
    pub warnings: Vec<Fault>,
    /// Globs of the files of rules, to be watched.
    pub rule_globs: Vec<String>,
}

/// Reads and checks everything.
///
/// `rules` are globs that take the place of the configuration's.
///
/// # Errors
/// All faults of all files, warnings among them.
pub fn assemble(path: &Path, rules: &[String], environment: &Environment, purpose: Purpose) -> Result<Assembly, Vec<Fault>> {
    let loading = open(path, environment, purpose);
    let mut faults = loading.faults;
    let patterns = if rules.is_empty() { &loading.rules } else { rules };
    let files = rule_files::<RuleFile>(patterns, environment);
    faults.extend(files.all_faults());
    let name = path.display().to_string();
    let baselines = loading.config.as_ref().map(|config| read_baselines(config, &name, &loading.positions, &mut faults));
    let (Some(config), Some(baselines)) = (loading.config, baselines) else { return Err(in_order(faults)) };
    for (key, value) in &config.kafka.librdkafka {
        if is_own(key, &config.kafka.librdkafka) {
            continue;
        }
        if let Err(message) = check_property(key, value.expose_secret()) {
            faults.push(loading.positions.fault(&join("/kafka/librdkafka", key), message));
        }
    }
    if let Err(fault) = Connection::new(String::new(), &config.kafka.librdkafka, super::clock::now) {
        faults.push(loading.positions.fault(&join("/kafka/librdkafka", &fault.key), fault.reason));
    }
    super::recipe::check(&config, &baselines, &loading.positions, &mut faults);
    let plan = build_plan(&config, &baselines);
    let positions: BTreeMap<&str, &Positions> = files.files.iter().map(|file| (file.name.as_str(), &file.reading.positions)).collect();
    let specs: Vec<(String, RuleFile)> = files
        .files
        .iter()
        .filter_map(|file| {
            let mut spec = file.reading.value.clone()?;
            root_paths(&mut spec, file.path.parent().unwrap_or(Path::new("")));
            Some((file.name.clone(), spec))
        })
        .collect();
    let mut rule_set = None;
    let found = match rule::compile(&specs, &scope(&config, &plan)) {
        Ok((mut set, warnings)) => {
            rule::add_built_in(&mut set);
            rule_set = Some(set);
            warnings
        }
        Err(found) => found,
    };
    faults.extend(found.into_iter().map(|found| placed(&positions, &found)));
    let notify = rule_set.as_ref().and_then(|set| notify_settings(&config, set, &loading.positions, &positions, &mut faults));
    match (rule_set, notify) {
        (Some(rules), Some(notify)) if !faults.iter().any(Fault::is_error) => Ok(Assembly {
            config,
            plan: Arc::new(plan),
            rules: Arc::new(rules),
            notify,
            warnings: in_order(faults),
            rule_globs: patterns.to_vec(),
        }),
        _ => Err(in_order(faults)),
    }
}

/// Files that a rule file names are relative to it.
fn root_paths(file: &mut RuleFile, base: &Path) {
    let root = |path: &mut String| *path = base.join(&*path).display().to_string();
    let signing = |signing: &mut Option<rule::spec::SigningSpec>| {
        if let Some(spec) = signing.as_mut().and_then(|signing| signing.standard_webhooks.as_mut()) {
            root(&mut spec.secret_file);
        }
    };
    for hook in file.receivers.iter_mut().flat_map(|receiver| &mut receiver.webhook_configs) {
        hook.url_file.iter_mut().for_each(root);
        signing(&mut hook.signing);
    }
    for action in file.actions.values_mut() {
        signing(&mut action.signing);
        if let Some(auth) = &mut action.auth {
            auth.bearer_file.iter_mut().for_each(root);
            auth.basic.iter_mut().for_each(|basic| root(&mut basic.password_file));
        }
    }
}

/// A fault of a rule file at its line and column.
fn placed(positions: &BTreeMap<&str, &Positions>, found: &rule::FileFault) -> Fault {
    let message = found.fault.message.clone();
    let mut fault = match positions.get(found.file.as_str()) {
        Some(positions) => positions.fault(&found.fault.path, message),
        None => Fault::of_file(found.file.clone(), message),
    };
    fault.hint.clone_from(&found.fault.hint);
    if found.fault.warning { fault.warning() } else { fault }
}

/// The baselines of all models, those of one model by version ("" is the default one).
type Baselines = Vec<Vec<(Option<String>, Arc<Baseline>)>>;

fn read_baselines(config: &Config, _file: &str, positions: &Positions, faults: &mut Vec<Fault>) -> Baselines {
    let mut all = Vec::new();
    for (place, model) in config.models.iter().enumerate() {
        let files = model.baselines.versions.iter().map(|(version, path)| (Some(version.clone()), path));
        let files = files.chain(model.baselines.default.iter().map(|path| (None, path)));
        let mut known = Vec::new();
        for (version, path) in files {
            let at = format!("/models/{place}/baseline");
            match read_baseline(path) {
                Ok(baseline) => {
                    if let Some(message) = contradiction(model, &baseline) {
                        faults.push(positions.fault(&at, format!("{}: {message}", path.display())));
                    }
                    let baseline = select(model, baseline);
                    for metric in model.multivariate.iter().filter(|metric| !baseline.measures(**metric)) {
                        let message =
                            format!("{}: nothing is prepared in it for {}, which is not measured", path.display(), metric.as_str());
                        let mut fault = positions.fault(&at, message).warning();
                        fault.hint = Some("build it again with `driftline baseline build`".to_owned());
                        faults.push(fault);
                    }
                    let counts_distinct = model.metrics.contains(&Metric::DistinctCount);
                    known.push((version, Arc::new(if counts_distinct { baseline.counting_distinct() } else { baseline })));
                }
                Err(message) => faults.push(positions.fault(&at, message)),
            }
        }
        all.push(known);
    }
    all
}

/// Reads a baseline file.
///
/// # Errors
/// What is wrong, with the name of the file.
pub fn read_baseline(path: &Path) -> Result<Baseline, String> {
    let named = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
    let bytes = crate::source::file::read(path).map_err(|error| named(&error))?;
    let text = String::from_utf8(bytes).map_err(|_| named(&"it is not UTF-8"))?;
    Baseline::from_json(&text).map_err(|error| named(&error))
}

fn contradiction(model: &Model, baseline: &Baseline) -> Option<String> {
    let task = task(model);
    if *baseline.model != *model.name {
        return Some(format!("it was built for the model '{}', not '{}'", baseline.model, model.name));
    }
    if task != Task::None && baseline.task != task {
        return Some(format!("it was built for the task {}, the model's is {task}", baseline.task));
    }
    for window in &model.windows {
        if let Against::Season(season) = window.comparison.against
            && !baseline.seasons.as_ref().is_some_and(|seasons| seasons.can_give(season))
        {
            let (name, season) = (&window.name, season.as_str());
            return Some(format!("it does not keep its rows by {season}, which the window '{name}' is compared with; build it again"));
        }
    }
    if let crate::config::checked::Task::Binary { positive_class, .. } = &model.task
        && let Some(positive) = baseline.positive.and_then(|positive| baseline.classes.get(positive))
        && positive != positive_class
    {
        return Some(format!("its positive class is '{positive}', the model's is '{positive_class}'; build it again"));
    }
    None
}

/// Takes the features out of a baseline that the model does not monitor.
fn select(model: &Model, baseline: Baseline) -> Baseline {
    let unwanted = |features: &Features, subject: &Subject| matches!(subject, Subject::Feature(name) if !features.selects(name));
    let baseline = if baseline.layout.columns.iter().any(|column| unwanted(&model.features, &column.subject)) {
        baseline.without(|subject| unwanted(&model.features, subject))
    } else {
        baseline
    };
    if Metric::MULTIVARIATE.into_iter().any(|metric| baseline.measures(metric) && !model.multivariate.contains(&metric)) {
        baseline.measuring(&model.multivariate)
    } else {
        baseline
    }
}

fn task(model: &Model) -> Task {
    match model.task {
        crate::config::checked::Task::Binary { .. } => Task::Binary,
        crate::config::checked::Task::Multiclass => Task::Multiclass,
        crate::config::checked::Task::Regression => Task::Regression,
        crate::config::checked::Task::None => Task::None,
    }
}

fn build_plan(config: &Config, baselines: &Baselines) -> Plan {
    let features = baselines.iter().flatten().flat_map(|(_, baseline)| {
        baseline.layout.columns.iter().filter_map(|column| match &column.subject {
            Subject::Feature(name) => Some(Arc::clone(name)),
            _ => None,
        })
    });
    let tags = config.models.iter().flat_map(|model| model.segments.iter().flat_map(|by| by.tags.iter().map(|tag| key(tag))));
    let columns = baselines.iter().flatten().flat_map(|(_, baseline)| &baseline.layout.columns);
    let vectors = columns.filter_map(|column| match (&column.subject, &column.kind) {
        (Subject::Feature(name), ColumnKind::Embedding(_)) => Some(Arc::clone(name)),
        _ => None,
    });
    let dictionary = Dictionary::new(features.map(|name| name.to_string()), tags.map(|name| name.to_string())).with_vectors(vectors);
    let models: Vec<ModelPlan> =
        config.models.iter().zip(baselines).map(|(model, baselines)| model_plan(model, baselines, &dictionary)).collect();
    let joined = models.iter().filter(|model| model.horizon.is_some()).count().max(1) as u64;
    let entries = config.limits.memory / LEDGER_SHARE / LEDGER_ENTRY_BYTES / joined;
    Plan {
        by_name: models.iter().zip(0u16..).map(|(model, number)| (Arc::clone(&model.name), number)).collect(),
        models,
        mapping: Arc::new(mapping(config)),
        dictionary: Arc::new(dictionary),
        future_tolerance: config.event.future_tolerance,
        max_bytes: usize::try_from(config.event.max_bytes).unwrap_or(usize::MAX),
        ledger_capacity: usize::try_from(entries).unwrap_or(usize::MAX),
        ledger_on_disk: usize::try_from(super::disk::ledger_entries(config.limits.disk) / joined).unwrap_or(usize::MAX),
    }
}

/// `tags.region` is the key `region`.
fn key(tag: &str) -> Arc<str> {
    Arc::from(tag.strip_prefix("tags.").unwrap_or(tag))
}

fn model_plan(model: &Model, baselines: &[(Option<String>, Arc<Baseline>)], dictionary: &Dictionary) -> ModelPlan {
    let mut classes: Vec<Arc<str>> = baselines.iter().flat_map(|(_, baseline)| baseline.classes.iter().cloned()).collect();
    classes.sort();
    classes.dedup();
    let windows: Vec<WindowSpec> = model
        .windows
        .iter()
        .map(|window| WindowSpec { name: Arc::clone(&window.name), size: window.size, slide: window.slide, offset: window.offset })
        .collect();
    let by_version = baselines.iter().enumerate().filter_map(|(place, (version, _))| Some((Arc::from(version.as_deref()?), place)));
    let mut segment_names = vec![Segment::default()];
    let segments = model.segments.iter().map(|by| segment_plan(by, baselines, dictionary, &mut segment_names)).collect();
    let wanted = Wanted::new(&model.metrics);
    let all = |budget| {
        let series = series(baselines.iter().map(|(_, baseline)| &**baseline), wanted, model.recipe);
        Level::new(budget, &windows, series, segment_names.len() as u64)
    };
    let level = model.false_alarms.and_then(all);
    ModelPlan {
        comparisons: model.windows.iter().map(|window| window.comparison).collect(),
        name: Arc::clone(&model.name),
        task: task(model),
        by_version: by_version.collect(),
        default_baseline: baselines.iter().position(|(version, _)| version.is_none()),
        baselines: baselines.iter().map(|(_, baseline)| Arc::clone(baseline)).collect(),
        classes,
        slice: crate::window::slice_length(&windows),
        windows,
        lateness: model.lateness,
        min_samples: model.min_samples,
        features_from: if model.features_from_feature_events { FeaturesFrom::Features } else { FeaturesFrom::Prediction },
        horizon: match model.labels {
            Labels::Joined { horizon } => Some(horizon),
            Labels::Ignored => None,
        },
        segments,
        segment_names,
        drift: DriftRecipe { metric: model.drift.metric, above: model.drift.above, p_adjusted: model.drift.p_adjusted },
        metrics: model.metrics.clone(),
        recipe: model.recipe,
        detectors: model.detectors.clone(),
        evidence: model.evidence,
        level,
    }
}

fn segment_plan(
    by: &crate::config::checked::SegmentBy,
    baselines: &[(Option<String>, Arc<Baseline>)],
    dictionary: &Dictionary,
    names: &mut Vec<Segment>,
) -> SegmentPlan {
    use crate::config::checked::Admitted as Values;
    let keys: Vec<Arc<str>> = by.tags.iter().map(|tag| key(tag)).collect();
    let admitted = match &by.admitted {
        Values::Listed(values) => Admitted::new(keys.clone(), values.iter().map(|value| vec![Arc::clone(value)])),
        Values::OfBaseline => Admitted::of_known(keys.clone(), baselines.iter().flat_map(|(_, baseline)| baseline.segments.keys())),
    };
    let other = admitted.other().clone();
    let mut number = |segment: &Segment| {
        names.push(segment.clone());
        u16::try_from(names.len() - 1).unwrap_or(u16::MAX)
    };
    let mut by_values = FxHashMap::default();
    let rows = |segment: &Segment| -> u64 {
        baselines.iter().filter_map(|(_, baseline)| baseline.segments.get(segment)).map(|reference| reference.pane.n).sum()
    };
    let mut wanted: Vec<&Segment> = admitted.segments().filter(|segment| **segment != other).collect();
    // The most frequent ones of the baselines; listed values are within the limit already.
    wanted.sort_by_key(|segment| std::cmp::Reverse(rows(segment)));
    for segment in wanted.into_iter().take(by.limit) {
        let values: Vec<&str> =
            keys.iter().filter_map(|key| segment.0.iter().find(|(name, _)| name == key)).map(|(_, value)| &**value).collect();
        by_values.insert(values.join("\u{1f}"), number(segment));
    }
    let slots = keys.iter().map(|key| dictionary.tag_slot(key).unwrap_or(u32::MAX)).collect();
    SegmentPlan { slots, admitted: by_values, other: number(&other), keys }
}

fn mapping(config: &Config) -> Mapping {
    let mut mapping = Mapping::default_json();
    for (name, selector) in &config.event.selectors {
        if let Some(field) = Field::parse(name) {
            // The configuration has checked selectors by the same rules.
            let _ = mapping.set(field, Some(selector.clone()));
        }
    }
    mapping.ts_unit = config.event.ts_unit;
    mapping
}

/// What rules may be about.
fn scope(config: &Config, plan: &Plan) -> Scope {
    let models = config.models.iter().zip(&plan.models).map(|(model, planned)| {
        let features = planned.baselines.iter().flat_map(|baseline| &baseline.layout.columns).filter_map(|column| match &column.subject {
            Subject::Feature(name) => Some(name.to_string()),
            _ => None,
        });
        let mut features: Vec<String> = features.collect();
        features.sort();
        features.dedup();
        let performance = planned.baselines.iter().flat_map(|baseline| performance::metrics(baseline, &planned.metrics));
        let detectors = planned.detectors.iter().map(detection::metric);
        let drift = planned.metrics.iter().copied().filter(|metric| !metric.needs_labels());
        let mut metrics: Vec<Metric> = drift.chain(performance).chain(detectors).collect();
        metrics.sort();
        metrics.dedup();
        ModelScope {
            name: model.name.to_string(),
            windows: planned
                .windows
                .iter()
                .map(|window| WindowScope { name: window.name.to_string(), size: window.size, slide: window.slide })
                .collect(),
            features: (!planned.baselines.is_empty()).then_some(features),
            classes: planned.classes.iter().map(ToString::to_string).collect(),
            metrics,
            segment_keys: planned.segments.iter().flat_map(|segment| segment.keys.iter().map(ToString::to_string)).collect(),
            min_samples: planned.min_samples,
            drift: rule::DriftRecipe {
                metric: planned.drift.metric,
                at_least: planned.drift.above,
                p_adjusted_below: planned.drift.p_adjusted,
                level: planned.level.as_ref().map(|level| level.level),
            },
        }
    });
    Scope { models: models.collect() }
}

/// Settings of the notifier, tried out by building the transports.
fn notify_settings(
    config: &Config,
    rules: &RuleSet,
    positions: &Positions,
    files: &BTreeMap<&str, &Positions>,
    faults: &mut Vec<Fault>,
) -> Option<NotifySettings> {
    let mut settings = NotifySettings::default();
    let mut told = Vec::new();
    if let Some(smtp) = &config.notify.smtp {
        use secrecy::ExposeSecret as _;
        match SmtpSettings::parse(smtp.url.expose_secret(), smtp.password.clone(), &smtp.from, smtp.allow_plaintext) {
            Ok(parsed) => settings.smtp = Some(SmtpSettings { ca_file: smtp.ca_file.clone(), ..parsed }),
            Err(error) => faults.push(positions.fault("/notify/smtp/url", error.to_string())),
        }
    }
    for receiver in rules.receivers().values() {
        match receiver_settings(receiver) {
            Ok(receiver) => settings.receivers.push(receiver),
            Err(error) => told.push(format!("receiver '{}': {error}", receiver.name)),
        }
    }
    for action in rules.actions().values() {
        settings.actions.push(action_settings(action));
    }
    if (config.notify.smtp.is_none() || settings.smtp.is_some())
        && let Err(errors) = Transports::build(settings.clone())
    {
        told.extend(errors.into_iter().map(|error| error.to_string()));
    }
    let file = files.keys().next().copied().unwrap_or("rules");
    let sound = told.is_empty();
    faults.extend(told.into_iter().map(|message| Fault::of_file(file, message)));
    (sound && (config.notify.smtp.is_none() || settings.smtp.is_some())).then_some(settings)
}

fn receiver_settings(receiver: &rule::spec::ReceiverSpec) -> Result<ReceiverSettings, String> {
    let mut webhooks = Vec::new();
    for hook in &receiver.webhook_configs {
        let url = match (&hook.url, &hook.url_file) {
            (Some(url), _) => url.0.clone(),
            (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?.trim().to_owned(),
            (None, None) => return Err("a webhook needs url or url_file".into()),
        };
        let mut target = WebhookTarget::new(&url).map_err(|error| error.to_string())?;
        target.send_resolved = hook.send_resolved;
        target.signing = hook.signing.as_ref().and_then(signing);
        if let Some(timeout) = &hook.timeout {
            target.timeout = duration(Span::parse(timeout)?);
        }
        webhooks.push(target);
    }
    let emails =
        receiver.email_configs.iter().map(|email| EmailTarget { to: email.to.addresses(), send_resolved: email.send_resolved }).collect();
    Ok(ReceiverSettings { name: receiver.name.clone(), emails, webhooks })
}

fn action_settings(action: &rule::action::Action) -> ActionSettings {
    let mut settings = ActionSettings::new(action.name.clone());
    let statuses = |wanted: rule::action::Reply| {
        (100u16..600).filter(|status| action.reply(*status, None).is_ok_and(|reply| reply == wanted)).collect()
    };
    settings.success = statuses(rule::action::Reply::Success);
    settings.duplicate = statuses(rule::action::Reply::Duplicate);
    if settings.duplicate.is_empty() {
        settings.duplicate = vec![409];
        settings.success.retain(|status| *status != 409);
    }
    settings.timeout = duration(action.timeout);
    settings.headers = action.headers.iter().map(|(name, value)| (name.clone(), value.0.clone().into())).collect();
    settings.auth = match &action.auth {
        Some(auth) => match (&auth.bearer_file, &auth.basic) {
            (Some(file), _) => Auth::BearerFile(file.into()),
            (None, Some(basic)) => Auth::Basic { username: basic.username.clone(), password_file: basic.password_file.clone().into() },
            (None, None) => Auth::None,
        },
        None => Auth::None,
    };
    settings.signing = action.signing.as_ref().and_then(signing);
    settings
}

fn signing(spec: &rule::spec::SigningSpec) -> Option<StandardWebhooks> {
    spec.standard_webhooks.as_ref().map(|spec| StandardWebhooks { secret_file: spec.secret_file.clone().into() })
}

fn duration(span: Span) -> std::time::Duration {
    std::time::Duration::from_millis(span.0.unsigned_abs())
}
