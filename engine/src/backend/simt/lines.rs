//! Source lines of a compiled kernel, by `addr2line` of binutils.

use std::process::Command;

use super::compile;

/// Source line of the call before `return_place`, an offset into `library`.
///
/// For an inlined function of a header, the line of the kernel source that led to it is appended.
pub(super) fn of(library: &[u8], return_place: usize) -> Option<String> {
    let file = compile::to_file(library).ok()?;
    let output = Command::new("addr2line")
        .args(["-i", "-e"])
        .arg(&*file)
        .arg(format!("{:#x}", return_place.checked_sub(1)?))
        .output()
        .ok()?;
    describe(&String::from_utf8_lossy(&output.stdout))
}

/// The innermost and the outermost of `frames`, `PATH:LINE` each, without those of the executor's own headers.
fn describe(frames: &str) -> Option<String> {
    let mut lines = frames.lines().filter_map(|frame| {
        // A remark such as "(discriminator 2)" may follow.
        let place = frame.split_whitespace().next()?;
        let name = place.rsplit('/').next()?;
        let (file, line) = name.split_once(':')?;
        let is_kernel = file.ends_with(".cu") || file.ends_with(".cuh");
        (is_kernel && line.parse::<u32>().is_ok_and(|line| line > 0)).then_some(name)
    });
    let inner = lines.next()?;
    Some(match lines.next_back() {
        Some(outer) if outer != inner => format!("{inner}, called from {outer}"),
        _ => inner.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn frames_of_kernels_are_named() {
        let frames = "/tmp/a/simt_mma.h:8\n/tmp/a/pipeline.cuh:30 (discriminator 2)\n/tmp/a/product.cuh:5\n/tmp/a/pack.cu:44\n/tmp/a/simt.h:200\n";
        let line = describe(frames);
        assert_eq!(
            line.as_deref(),
            Some("pipeline.cuh:30, called from pack.cu:44")
        );
        assert_eq!(describe("/tmp/a/pack.cu:7\n").as_deref(), Some("pack.cu:7"));
        assert_eq!(describe("??:0\n"), None);
        assert_eq!(describe("/tmp/a/pack.cu:?\n"), None);
    }
}
