//! Provenance of the maps in an evaluation, and checks that they are independent.

use std::collections::BTreeMap;
use std::path::Path;

use crate::data::{MapFile, MapSet};
use crate::error::{Error, Result};
use crate::model::weights::{self, DATA_ENTRY};
use crate::provenance::{MapRecord, Method, Provenance};
use crate::train::Selected;
use crate::train::selection::SELECTION_ENTRY;

/// Provenance of each set of maps, if known.
pub(super) struct Origins {
    real: Option<Provenance>,
    auxiliary: Option<Provenance>,
    /// Maps given as --training.
    training: Option<Provenance>,
    /// Training maps recorded in the weights.
    weights: Option<Provenance>,
    /// Maps by which the weights were selected, recorded in the weights.
    development: Option<Provenance>,
    /// Simulation methods behind the real and the generated maps.
    methods: [Option<Method>; 2],
}

impl Origins {
    /// Reads the manifests beside the files of maps and the provenance recorded in the weights.
    ///
    /// # Errors
    /// If a manifest is damaged, or a file differs from its description in a manifest.
    pub(super) fn read(
        real: &MapSet,
        auxiliary: Option<&MapSet>,
        training: Option<&MapFile>,
        weights: Option<&Path>,
        fake: Option<&Path>,
    ) -> Result<Self> {
        let of = |maps: &MapSet| {
            Provenance::of(maps.path(), [maps.count(), maps.height(), maps.width()])
        };
        let of_file = |maps: &MapFile| {
            Provenance::of(maps.path(), [maps.count(), maps.height(), maps.width()])
        };
        // A pipe cannot be read a second time.
        let weights = weights.filter(|path| path.is_file());
        let entry = |path| weights::entry(path, DATA_ENTRY);
        let selected = |path| weights::entry::<Selected>(path, SELECTION_ENTRY);
        let real_maps = of(real)?;
        let weights_maps: Option<Provenance> = weights.map(entry).transpose()?.flatten();
        // Boxes of a data set are those of N-body simulations.
        let of_boxes = |maps: &Option<Provenance>| maps.as_ref().map(|_| Method::Nbody);
        let methods = [
            of_boxes(&real_maps).or_else(|| MapRecord::of(real.path()).method),
            of_boxes(&weights_maps).or_else(|| MapRecord::of(fake?).method),
        ];
        Ok(Self {
            methods,
            real: real_maps,
            auxiliary: auxiliary.map(of).transpose()?.flatten(),
            training: training.map(of_file).transpose()?.flatten(),
            weights: weights_maps,
            development: weights
                .map(selected)
                .transpose()?
                .flatten()
                .and_then(|selected| selected.development.provenance),
        })
    }

    /// Side of a real map in degrees, if known.
    pub(super) fn side_degrees(&self) -> Option<f64> {
        self.real.as_ref().map(|real| real.side_degrees)
    }

    /// Checks that the side is that of the real and the auxiliary maps.
    ///
    /// # Errors
    /// If it is not; the error names the flag.
    pub(super) fn require_side(&self, side_degrees: f64) -> Result<()> {
        let known = [&self.real, &self.auxiliary].into_iter().flatten();
        let other = known
            .map(|maps| maps.side_degrees)
            .find(|side| (side / side_degrees - 1.0).abs() > 1e-3);
        match other {
            None => Ok(()),
            Some(side) => Err(Error::usage(
                "--side-degrees",
                format!("{side_degrees} given, but dataset.json has maps with a side of {side}°"),
                "omit the flag, and compare maps of one side",
            )),
        }
    }

    /// Rejects real maps from a box that the generator was trained on.
    ///
    /// Such maps (of the file at `path`) cannot test the generator. Weaker dependences cause warnings.
    ///
    /// # Errors
    /// If there is such a box; the error names it.
    pub(super) fn require_apart(&self, path: &Path) -> Result<()> {
        let shared = |other: &Option<Provenance>| self.real.as_ref()?.shared_box(other.as_ref()?);
        if let Some(seed) = shared(&self.weights).or(shared(&self.training)) {
            return Err(Error::file(
                path,
                format!("has maps of the box with seed {seed}, on which the generator was trained"),
                "evaluate with maps of other boxes, such as the validation set",
            ));
        }
        let path = path.display();
        if let Some(seed) = shared(&self.development) {
            eprintln!(
                "warning: {path} has maps of the box with seed {seed}, by which the generator was selected"
            );
        }
        if let Some(seed) = shared(&self.auxiliary) {
            eprintln!(
                "warning: {path} and the auxiliary maps share the box with seed {seed}: they are more similar than \
                 independent maps"
            );
        }
        if let [Some(real), Some(generated)] = self.methods
            && real != generated
        {
            eprintln!(
                "warning: {path} has {real} maps, but the generated maps come from {generated} simulations: part of \
                 their difference is that of the methods"
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

    /// Returns the known records by role of the maps.
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
