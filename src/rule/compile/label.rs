//! Labels and the names that templates may use.

use std::collections::BTreeMap;

use crate::rule::fault::{FaultsOfFile, did_you_mean, pointer_token};
use crate::rule::matcher::is_label_name;
use crate::rule::template::Template;

/// Labels that alerts have by themselves.
pub(super) const OWN_LABELS: [&str; 5] = ["alertname", "model", "severity", "version", "feature"];

/// Checks names of labels that a file sets.
pub(super) fn check_names<V>(at: &mut FaultsOfFile<'_>, path: &str, labels: &BTreeMap<String, V>) {
    for name in labels.keys() {
        let path = format!("{path}/{}", pointer_token(name));
        if !is_label_name(name) {
            at.error(&path, format!("'{name}' is not a label name; use letters, digits and _"));
        } else if OWN_LABELS.contains(&name.as_str()) {
            at.error(&path, format!("the label '{name}' is set by the alert itself"));
        }
    }
}

/// Parses templates under `path`.
pub(super) fn templates(at: &mut FaultsOfFile<'_>, path: &str, sources: &BTreeMap<String, String>) -> BTreeMap<String, Template> {
    let mut parsed = BTreeMap::new();
    for (name, source) in sources {
        match Template::parse(source) {
            Ok(template) => {
                parsed.insert(name.clone(), template);
            }
            Err(message) => at.error(&format!("{path}/{}", pointer_token(name)), format!("the template does not parse: {message}")),
        }
    }
    parsed
}

/// Warns of names in a template that will not be there. Dotted names are checked below `labels` only.
pub(super) fn check_template(at: &mut FaultsOfFile<'_>, path: &str, template: &Template, names: &[String], labels: Option<&[String]>) {
    for used in template.names() {
        let mut parts = used.split('.');
        let (first, second) = (parts.next().unwrap_or_default(), parts.next());
        if !names.iter().any(|name| name == first) {
            let hint = did_you_mean(first, names.iter().map(String::as_str));
            at.warn_with(path, format!("the template uses '{first}', which is not known here"), hint);
        } else if let (true, Some(label), Some(labels)) = (first == "labels", second, labels)
            && !labels.iter().any(|name| name == label)
        {
            let hint = did_you_mean(label, labels.iter().map(String::as_str));
            at.warn_with(path, format!("the template uses the label '{label}', which the alert does not have"), hint);
        }
    }
}
