//! The bins of a column to the document and back.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::baseline::document::{BinsDocument, CategoricalDocument, NumericDocument};
use crate::baseline::layout::{ColumnKind, Levels, NumericBins};
use crate::baseline::space::MAX_DIMENSION;

use super::{Checked, ensure, space};

pub(super) fn document(kind: &ColumnKind) -> BinsDocument {
    match kind {
        ColumnKind::Numeric(bins) => BinsDocument::Numeric(NumericDocument {
            edges: bins.edges.clone(),
            coarse_edges: bins.coarse_edges.clone(),
            center: bins.center,
            scale: bins.scale,
            min: bins.min,
            max: bins.max,
        }),
        ColumnKind::Embedding(of_vectors) => BinsDocument::Embedding(space::document(of_vectors)),
        ColumnKind::Categorical(levels) => BinsDocument::Categorical(CategoricalDocument {
            levels: levels.kept.iter().map(ToString::to_string).collect(),
            folded: levels.folded.iter().map(ToString::to_string).collect(),
        }),
    }
}

pub(super) fn read(bins: BinsDocument, field: &str) -> Checked<ColumnKind> {
    match bins {
        BinsDocument::Numeric(NumericDocument { edges, coarse_edges, center, scale, min, max }) => {
            let field = format!("{field}.numeric");
            for (name, list) in [("edges", &edges), ("coarse_edges", &coarse_edges)] {
                let name = format!("{field}.{name}");
                ensure(!list.is_empty(), &name, || "is empty".to_owned())?;
                let bad = list.windows(2).position(|pair| !matches!(pair, [low, high] if low < high));
                ensure(bad.is_none(), &name, || format!("not strictly ascending after position {}", bad.unwrap_or_default()))?;
                ensure(list.iter().all(|edge| edge.is_finite()), &name, || "not finite".to_owned())?;
            }
            let fine = coarse_edges.iter().all(|edge| edges.binary_search_by(|other| other.total_cmp(edge)).is_ok());
            ensure(fine, &format!("{field}.coarse_edges"), || "one of them is not among the edges".to_owned())?;
            ensure(center.is_finite(), &format!("{field}.center"), || "not finite".to_owned())?;
            ensure(scale.is_finite() && scale > 0.0, &format!("{field}.scale"), || "not above 0".to_owned())?;
            ensure(min <= max && edges.last() == Some(&max), &format!("{field}.max"), || {
                "not the last edge, or below the minimum".to_owned()
            })?;
            Ok(ColumnKind::Numeric(NumericBins::new(edges, coarse_edges, (center, scale), (min, max))))
        }
        BinsDocument::Embedding(document) => {
            Ok(ColumnKind::Embedding(Box::new(space::read(document, MAX_DIMENSION, &format!("{field}.embedding"))?)))
        }
        BinsDocument::Categorical(CategoricalDocument { levels, folded }) => {
            let mut seen = BTreeSet::new();
            let twice = levels.iter().chain(&folded).find(|level| !seen.insert(level.as_str()));
            ensure(twice.is_none(), &format!("{field}.categorical.levels"), || {
                format!("'{}' is there twice", twice.map_or("", String::as_str))
            })?;
            let arcs = |levels: Vec<String>| levels.into_iter().map(Arc::from).collect();
            Ok(ColumnKind::Categorical(Levels::new(arcs(levels), arcs(folded))))
        }
    }
}
