//! Kernel resources, parsed from the compiler's log.

/// Resources of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Name of the kernel.
    pub kernel: String,
    /// Registers per thread.
    pub registers: u32,
    /// Bytes of static shared memory per block.
    pub shared_bytes: u32,
    /// Bytes of stack per thread.
    pub stack_bytes: u32,
    /// Bytes of spill stores and spill loads.
    pub spill_bytes: u32,
}

/// Parses the resources of every kernel from a log of `--ptxas-options=-v`.
pub fn resources(log: &str) -> Vec<Resources> {
    let mut all: Vec<Resources> = Vec::new();
    for line in log.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            all.push(Resources {
                kernel: rest.split('\'').next().unwrap_or_default().to_owned(),
                ..Resources::default()
            });
        }
        let Some(last) = all.last_mut() else { continue };
        let before = |unit: &str| {
            let text = line
                .split(unit)
                .next()
                .filter(|text| text.len() < line.len())?;
            text.split_whitespace().last()?.parse::<u32>().ok()
        };
        if let Some(registers) = before(" registers") {
            last.registers = registers;
        }
        if let Some(bytes) = before(" bytes smem") {
            last.shared_bytes = bytes;
        }
        if let Some(bytes) = before(" bytes stack frame") {
            last.stack_bytes = bytes;
        }
        if let Some(bytes) = before(" bytes spill stores") {
            last.spill_bytes = bytes + before(" bytes spill loads").unwrap_or(0);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read() {
        let log = "ptxas info    : 0 bytes gmem\n\
            ptxas info    : Compiling entry function 'first' for 'sm_90'\n\
            ptxas info    : Function properties for first\n    \
            8 bytes stack frame, 4 bytes spill stores, 12 bytes spill loads\n\
            ptxas info    : Used 128 registers, used 1 barriers, 49152 bytes smem\n\
            ptxas info    : Compiling entry function 'second' for 'sm_90'\n\
            ptxas info    : Function properties for second\n    \
            0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
            ptxas info    : Used 10 registers, used 0 barriers, 384 bytes cmem[0]\n";
        let expected = [("first", [128, 49152, 8, 16]), ("second", [10, 0, 0, 0])];
        let found = resources(log);
        assert_eq!(found.len(), expected.len());
        for (found, (kernel, numbers)) in found.iter().zip(expected) {
            assert_eq!(found.kernel, kernel);
            let all = [
                found.registers,
                found.shared_bytes,
                found.stack_bytes,
                found.spill_bytes,
            ];
            assert_eq!(all, numbers);
        }
    }
}
