//! Lists of cases for shapes that random cases and the models lack.

use super::Case;

/// Shapes at the edges of tiles: more pixels, channels and terms than one tile of any kernel holds, and multiples of none;
/// odd windows and strides; one input or output channel; a linear layer of one output.
const EDGES: [&str; 8] = [
    "conv2d n=1 h=31 w=27 c=37 k=70 kernel=5x5 stride=2x2 pad=1,1,1,1 seed=1",
    "conv2d n=3 h=13 w=12 c=9 k=131 kernel=3x2 stride=1x2 pad=1,0,1,0 seed=2",
    "conv_transpose2d n=1 h=13 w=17 c=70 k=33 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=3",
    "conv_transpose2d n=2 h=9 w=11 c=35 k=131 kernel=4x3 stride=3x1 pad=0,1,1,1 seed=4",
    "conv2d n=2 h=37 w=141 c=1 k=37 kernel=5x5 stride=2x2 pad=1,1,1,1 seed=5",
    "conv_transpose2d n=2 h=21 w=37 c=35 k=1 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=6",
    "linear rows=131 inputs=67 outputs=133 seed=7",
    "linear rows=5 inputs=3001 outputs=1 seed=8",
];

/// Shapes that fill tiles of Hopper kernels in all three products of a convolution: with channels that fill the last tile
/// and that do not, several tiles along each axis, images smaller than a tile, odd windows and strides, and phases of a
/// stride without a tap.
const HOPPER: [&str; 8] = [
    "conv2d n=2 h=16 w=16 c=64 k=128 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=21",
    "conv2d n=3 h=21 w=13 c=72 k=131 kernel=4x3 stride=3x1 pad=0,1,1,1 seed=22",
    "conv_transpose2d n=2 h=13 w=17 c=70 k=133 kernel=5x5 stride=2x2 pad=1,1,2,2 seed=23",
    "conv_transpose2d n=5 h=10 w=10 c=192 k=64 kernel=3x3 stride=2x2 pad=1,1,0,0 seed=24",
    "conv2d n=20 h=9 w=15 c=64 k=96 kernel=1x2 stride=2x3 pad=0,0,0,0 seed=25",
    "conv_transpose2d n=3 h=9 w=11 c=64 k=64 kernel=4x4 stride=2x2 pad=1,1,1,1 seed=27",
    "conv_transpose2d n=2 h=17 w=9 c=72 k=64 kernel=5x5 stride=2x2 pad=2,2,1,1 seed=28",
    "linear rows=300 inputs=129 outputs=264 seed=26",
];

impl Case {
    /// Shapes at the edges of tiles, of tiled and of plain kernels.
    pub fn edge_set() -> Vec<Self> {
        parsed(&EDGES)
    }

    /// Shapes that Hopper kernels take in tf32 and bf16.
    pub fn hopper_set() -> Vec<Self> {
        parsed(&HOPPER)
    }
}

fn parsed(lines: &[&str]) -> Vec<Case> {
    let parse = |line: &&str| line.parse().expect("each line is a case");
    lines.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_cases_print() {
        for (set, lines) in [(Case::edge_set(), EDGES), (Case::hopper_set(), HOPPER)] {
            let printed: Vec<String> = set.iter().map(ToString::to_string).collect();
            assert_eq!(printed, lines);
        }
    }
}
