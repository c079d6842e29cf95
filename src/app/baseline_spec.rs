//! What a baseline of a configured model is built to.

use crate::baseline::build::{BuildSpec, FeatureType};
use crate::baseline::rows::{Names, Selection};
use crate::baseline::{SegmentSpec, Task};
use crate::config::checked::{self, Admitted, Model};

/// The build settings of a model.
///
/// # Errors
/// A feature pattern that cannot be read.
pub fn build_spec(model: &Model) -> Result<BuildSpec, String> {
    let patterns = |list: &[glob::Pattern]| list.iter().map(|pattern| pattern.as_str().to_owned()).collect::<Vec<_>>();
    let selection = Selection::new(Names::default(), &patterns(&model.features.include), &patterns(&model.features.exclude))?;
    let mut spec = BuildSpec::new(&model.name, Task::None);
    spec.selection = selection;
    match &model.task {
        checked::Task::Binary { positive_class, threshold } => {
            spec.task = Task::Binary;
            spec.positive_class = Some(positive_class.to_string());
            spec.threshold = *threshold;
        }
        checked::Task::Multiclass => spec.task = Task::Multiclass,
        checked::Task::Regression => spec.task = Task::Regression,
        checked::Task::None => {}
    }
    spec.types = model
        .features
        .types
        .iter()
        .map(|(name, kind)| {
            let kind = match kind {
                checked::FeatureType::Numeric => FeatureType::Numeric,
                checked::FeatureType::Categorical => FeatureType::Categorical,
                checked::FeatureType::Embedding => FeatureType::Embedding,
            };
            (name.clone(), kind)
        })
        .collect();
    spec.seasonal = model.seasonal;
    spec.importance.clone_from(&model.features.importance);
    spec.multivariate.clone_from(&model.multivariate);
    spec.segments = model
        .segments
        .iter()
        .map(|by| SegmentSpec {
            by: by.tags.iter().map(|tag| if tag.starts_with("tags.") { tag.to_string() } else { format!("tags.{tag}") }).collect(),
            limit: by.limit,
            values: match &by.admitted {
                Admitted::OfBaseline => None,
                Admitted::Listed(values) => Some(values.iter().map(|value| vec![value.to_string()]).collect()),
            },
        })
        .collect();
    Ok(spec)
}
