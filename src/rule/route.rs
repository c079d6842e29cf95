//! The routing tree: labels in, names of receivers out. It behaves as Alertmanager's.

use std::collections::BTreeMap;

use super::matcher::Matcher;

/// A node of the tree.
#[derive(Clone, Debug)]
pub struct Route {
    /// Who is told where no child matches; inherited already.
    pub receiver: String,
    /// All must match.
    pub matchers: Vec<Matcher>,
    /// Whether the siblings after it are asked too.
    pub go_on: bool,
    /// Its children.
    pub routes: Vec<Route>,
}

impl Route {
    /// The receivers for these labels, each once. The root's matchers are not asked.
    #[must_use]
    pub fn receivers(&self, labels: &BTreeMap<String, String>) -> Vec<&str> {
        let mut found = Vec::new();
        self.collect(labels, &mut found);
        found
    }

    fn collect<'r>(&'r self, labels: &BTreeMap<String, String>, found: &mut Vec<&'r str>) {
        let mut matched = false;
        for route in &self.routes {
            if route.matchers.iter().all(|matcher| matcher.matches(labels)) {
                matched = true;
                route.collect(labels, found);
                if !route.go_on {
                    break;
                }
            }
        }
        if !matched && !found.contains(&self.receiver.as_str()) {
            found.push(&self.receiver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(receiver: &str, matchers: &[&str], go_on: bool, routes: Vec<Route>) -> Route {
        Route { receiver: receiver.into(), matchers: matchers.iter().map(|text| Matcher::parse(text).unwrap()).collect(), go_on, routes }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn children_win_over_the_root_and_continue_asks_on() {
        let tree = route(
            "mail",
            &[],
            false,
            vec![
                route("oncall", &["severity=\"critical\""], true, vec![]),
                route("risk", &["team=~\"risk|fraud\"", "model=\"loan\""], false, vec![]),
                route("late", &["severity=~\".+\""], false, vec![]),
            ],
        );
        assert_eq!(tree.receivers(&labels(&[("severity", "critical"), ("team", "risk"), ("model", "loan")])), ["oncall", "risk"]);
        assert_eq!(tree.receivers(&labels(&[("severity", "critical")])), ["oncall", "late"]);
        assert_eq!(tree.receivers(&labels(&[("severity", "warning")])), ["late"]);
        assert_eq!(tree.receivers(&labels(&[])), ["mail"]);
    }

    #[test]
    fn nobody_is_named_twice() {
        let tree = route("mail", &[], false, vec![route("mail", &["a=1"], true, vec![]), route("mail", &["b=1"], true, vec![])]);
        assert_eq!(tree.receivers(&labels(&[("a", "1"), ("b", "1")])), ["mail"]);
    }
}
