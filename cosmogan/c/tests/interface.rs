//! The C interface, called as from C.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed")]

use std::ffi::{CStr, CString, c_char};
use std::path::{Path, PathBuf};
use std::ptr;

use cosmogan_c::*;
use cosmogan_generator::Generator;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../oracle/golden/two_generator0.safetensors")
}

fn load(path: &Path) -> (*mut Generator, Status, String) {
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let mut generator = ptr::null_mut();
    let mut error = [0 as c_char; 300];
    // SAFETY: all pointers belong to live variables of the given lengths.
    let status = unsafe {
        cosmogan_load(
            path.as_ptr(),
            2,
            &mut generator,
            error.as_mut_ptr(),
            error.len(),
        )
    };
    // SAFETY: the library terminates its messages by NUL, and the buffer was zero before.
    let message = unsafe { CStr::from_ptr(error.as_ptr()) };
    (generator, status, message.to_str().unwrap().to_owned())
}

#[test]
fn maps_are_those_of_the_library() {
    let (generator, status, _) = load(&golden());
    assert_eq!(status, Status::Ok);
    let expected = Generator::load(golden()).unwrap();
    let mut maps = vec![0.0_f32; 3 * expected.size().pow(2)];
    // SAFETY: as above, and the generator is freed once, at the end.
    unsafe {
        assert_eq!(cosmogan_map_size(generator), expected.size());
        assert_eq!(cosmogan_latent_width(generator), expected.latent_width());
        let (to, room, none) = (maps.as_mut_ptr(), maps.len(), ptr::null_mut());
        assert_eq!(
            cosmogan_sample(generator, 7, 2, 3, to, room, none, 0),
            Status::Ok
        );
        assert_eq!(
            maps,
            expected.sample(5, 7).unwrap()[2 * expected.size().pow(2)..]
        );
        let latents = vec![0.25_f32; 3 * expected.latent_width()];
        let status = cosmogan_generate(generator, latents.as_ptr(), 3, to, room, none, 0);
        assert_eq!(status, Status::Ok);
        assert_eq!(maps, expected.generate(&latents).unwrap());
        cosmogan_free(generator);
        cosmogan_free(ptr::null_mut());
    }
}
