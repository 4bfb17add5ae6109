//! Lookup of the tile configurations that a search measured on a GPU.

use cosmogan_engine::backend::launch::Gpu;
use cosmogan_kernels::tuning::TileConfigs;

use super::table::Table;

/// Result of a lookup for a GPU.
#[derive(Debug)]
pub struct Lookup {
    /// The tile configurations.
    pub tile_configs: TileConfigs,
    /// A line for the user if a table is not used, with the reason.
    pub notice: Option<String>,
}

/// Looks up the table of a GPU, without searching.
pub fn look_up(gpu: &Gpu) -> Lookup {
    let mut tile_configs = TileConfigs::default();
    let mut notice = None;
    // Without a cache folder there is no table.
    if let Ok(path) = Table::path(gpu) {
        let found = Table::read(&path, gpu).and_then(|table| match table {
            Some(table) => table.add_to(&mut tile_configs),
            None => Ok(()),
        });
        notice = found.err().map(|problem| {
            format!(
                "{}: {problem}; it is not used: run cosmogan tune again, or delete it",
                path.display()
            )
        });
    }
    Lookup {
        tile_configs,
        notice,
    }
}

/// One line on the origin of tile configurations.
pub fn describe(tile_configs: &TileConfigs) -> String {
    match tile_configs.len() {
        0 => "the default of each shape".to_owned(),
        count => format!(
            "{count} GEMMs as measured on this GPU, all others by the default of their shape"
        ),
    }
}
