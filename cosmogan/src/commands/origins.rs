//! Where the maps of an evaluation came from, and whether they are as independent as they have to be.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::{MapFile, MapSet};
use crate::error::{Error, Result};
use crate::model::weights::{self, DATA_ENTRY};
use crate::provenance::Provenance;
use crate::train::Selected;
use crate::train::selection::SELECTION_ENTRY;

/// What manifests say of each set of maps; nothing of those without.
pub(super) struct Origins {
    real: Option<Provenance>,
    auxiliary: Option<Provenance>,
    /// Of the maps that are given as those of the training.
    training: Option<Provenance>,
    /// Of the maps that the weights themselves name.
    weights: Option<Provenance>,
    /// Of the maps that the weights were chosen by.
    development: Option<Provenance>,
}

impl Origins {
    /// Reads manifests beside files of maps, and what the weights remember of theirs.
    ///
    /// # Errors
    /// Where a manifest is damaged or belongs to another file than the one it lies beside.
    pub(super) fn read(
        real: &MapSet,
        auxiliary: Option<&MapSet>,
        training: Option<&Path>,
        weights: Option<&Path>,
    ) -> Result<Self> {
        let of = |maps: &MapSet| {
            Provenance::of(maps.path(), [maps.count(), maps.height(), maps.width()])
        };
        let of_file = |path: &Path| {
            let maps = MapFile::open(path)?;
            Provenance::of(path, [maps.count(), maps.height(), maps.width()])
        };
        // What came through a pipe cannot be read again.
        let weights = weights.filter(|path| path.is_file());
        let entry = |path| weights::entry(path, DATA_ENTRY);
        let selected = |path| weights::entry::<Selected>(path, SELECTION_ENTRY);
        Ok(Self {
            real: of(real)?,
            auxiliary: auxiliary.map(of).transpose()?.flatten(),
            training: training.map(of_file).transpose()?.flatten(),
            weights: weights.map(entry).transpose()?.flatten(),
            development: weights
                .map(selected)
                .transpose()?
                .flatten()
                .and_then(|selected| selected.development.provenance),
        })
    }

    /// Side of a real map in degrees.
    pub(super) fn side_degrees(&self) -> Option<f64> {
        self.real.as_ref().map(|real| real.side_degrees)
    }

    /// Refuses a side that is not that of the real and the auxiliary maps.
    ///
    /// # Errors
    /// Naming the flag.
    pub(super) fn require_side(&self, side_degrees: f64) -> Result<()> {
        let known = [&self.real, &self.auxiliary].into_iter().flatten();
        let other = known
            .map(|maps| maps.side_degrees)
            .find(|side| (side / side_degrees - 1.0).abs() > 1e-3);
        match other {
            None => Ok(()),
            Some(side) => Err(Error::usage(
                "--side-degrees",
                format!("{side_degrees} where dataset.json has maps with a side of {side}°"),
                "leave it out, and compare maps of one angle",
            )),
        }
    }

    /// Refuses real maps, those of the file at `path`, of a box that the generator was trained on: they are no test of it.
    /// Warns of what is less than that.
    ///
    /// # Errors
    /// Naming the box.
    pub(super) fn require_apart(&self, path: &Path) -> Result<()> {
        let shared = |other: &Option<Provenance>| self.real.as_ref()?.shared_box(other.as_ref()?);
        if let Some(seed) = shared(&self.weights).or(shared(&self.training)) {
            return Err(Error::file(
                path,
                format!("has maps of the box of seed {seed}, which the generator was trained on"),
                "evaluate with maps of other boxes, such as the validation set's",
            ));
        }
        let path = path.display();
        if let Some(seed) = shared(&self.development) {
            eprintln!(
                "warning: {path} has maps of the box of seed {seed}, by which the generator was chosen"
            );
        }
        if let Some(seed) = shared(&self.auxiliary) {
            eprintln!(
                "warning: {path} and the auxiliary maps are of one box, that of seed {seed}: they are closer to each other \
                 than independent maps are"
            );
        }
        if let (Some(given), Some(trained)) = (&self.training, &self.weights)
            && given.sha256 != trained.sha256
        {
            eprintln!(
                "warning: the maps given as --training are not the file that the weights were trained on"
            );
        }
        Ok(())
    }

    /// By what they are the origins of.
    pub(super) fn named(self) -> BTreeMap<String, Provenance> {
        [
            ("real maps", self.real),
            ("auxiliary maps", self.auxiliary),
            ("training maps", self.training),
            ("training maps of the weights", self.weights),
            ("development maps of the weights", self.development),
        ]
        .into_iter()
        .filter_map(|(name, provenance)| Some((name.to_owned(), provenance?)))
        .collect()
    }
}
