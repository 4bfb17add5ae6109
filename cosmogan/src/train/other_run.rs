//! Comparison of the run in a folder with the requested one.

use std::path::Path;

use super::checkpoint::RunIdentity;
use crate::error::{Error, Result};
use crate::model::preset::TrainingConfig;

/// Rejects the checkpoint at `path` if its run, `found`, is another one than the requested one.
///
/// # Errors
/// If the runs differ; the error names the first difference.
pub(super) fn refuse_other_run(
    path: &Path,
    mut found: RunIdentity,
    asked: &RunIdentity,
) -> Result<()> {
    // The number of epochs is not part of a run's identity.
    found.training.epochs = asked.training.epochs;
    let difference = if found.model != asked.model {
        format!(
            "is of the model {}, but {} is requested",
            found.model.to_json(),
            asked.model.to_json()
        )
    } else if found.training != asked.training {
        format!(
            "was trained with {}, but {} is requested",
            settings(&found.training, &asked.training),
            settings(&asked.training, &found.training)
        )
    } else if found.seed != asked.seed {
        format!("has seed {}, but {} is requested", found.seed, asked.seed)
    } else if found.data != asked.data {
        format!(
            "was trained on {} maps with hash {}, but --data has {} with hash {}",
            found.data.count, found.data.fingerprint, asked.data.count, asked.data.fingerprint
        )
    } else if found.crops != asked.crops {
        let crops = |crops: Option<usize>| match crops {
            None => "whole maps".to_owned(),
            Some(crops) => format!("{crops} crops of each map"),
        };
        format!(
            "was trained on {}, but {} are requested",
            crops(found.crops),
            crops(asked.crops)
        )
    } else if found.data_precision != asked.data_precision {
        format!(
            "was trained on maps in {:?}, but {:?} is requested",
            found.data_precision, asked.data_precision
        )
    } else {
        return Ok(());
    };
    Err(Error::file(
        path,
        difference,
        "resume with the settings and data of that run, or choose another --out",
    ))
}

/// The settings of `mine` that differ from `other`.
fn settings(mine: &TrainingConfig, other: &TrainingConfig) -> String {
    let [mine, other] = [mine, other].map(|training| serde_json::json!(training));
    let mine = mine.as_object().into_iter().flatten();
    let differing = mine.filter(|(key, value)| other[key.as_str()] != **value);
    let named: Vec<String> = differing
        .map(|(key, value)| format!("{key} {value}"))
        .collect();
    named.join(", ")
}
