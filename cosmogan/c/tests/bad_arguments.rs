//! Every function of the C interface with each pointer null and each length wrong returns a status and one line that
//! names the argument, and writes nothing elsewhere.
#![allow(clippy::unwrap_used, reason = "a test that cannot prepare has failed")]

use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr::{null, null_mut};

use cosmogan_c::*;
use cosmogan_generator::Generator;

fn golden() -> CString {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../oracle/golden/two_generator0.safetensors"
    );
    CString::new(path).unwrap()
}

/// Status and message of a call.
struct Told {
    status: Status,
    message: String,
}

impl Told {
    fn of(call: impl Fn(*mut c_char, usize) -> Status) -> Self {
        let mut error = [0 as c_char; 300];
        let status = call(error.as_mut_ptr(), error.len());
        // The status does not depend on room for a message.
        assert_eq!(call(null_mut(), 0), status);
        assert_eq!(call(null_mut(), 300), status);
        // In a small buffer the message is truncated, terminated by NUL, and nothing is written behind the buffer.
        for room in [1, 2, 12] {
            let mut little = [99 as c_char; 20];
            assert_eq!(call(little.as_mut_ptr(), room), status);
            if status != Status::Ok {
                assert!(little[..room].contains(&0));
            }
            assert!(little[room..].iter().all(|&byte| byte == 99));
        }
        let mut untouched = [99 as c_char; 4];
        assert_eq!(call(untouched.as_mut_ptr(), 0), status);
        assert_eq!(untouched, [99; 4]);
        // SAFETY: the library terminates its messages by NUL, and the buffer was zero before.
        let message = unsafe { CStr::from_ptr(error.as_ptr()) };
        let message = message.to_str().unwrap().to_owned();
        Self { status, message }
    }

    fn refused(self, status: Status, needle: &str) {
        let Self {
            status: found,
            message,
        } = self;
        assert_eq!(found, status, "{message}");
        assert!(message.contains(needle), "no {needle:?} in {message:?}");
        assert!(!message.contains('\n'), "{message}");
    }
}

/// A function that creates a generator, with arguments `(place, error, error_size)`.
type Maker<'a> = &'a dyn Fn(*mut *mut Generator, *mut c_char, usize) -> Status;

/// Checks that `good` rejects a null place, and that each of `bad` fails and writes null to its place.
fn refuses_to_make(good: Maker<'_>, bad: &[(Maker<'_>, Status, &str)]) {
    Told::of(|error, size| good(null_mut(), error, size))
        .refused(Status::BadArgument, "generator: null");
    for (make, status, needle) in bad {
        Told::of(|error, size| {
            let mut place = std::ptr::dangling_mut();
            let status = make(&mut place, error, size);
            assert!(place.is_null());
            status
        })
        .refused(*status, needle);
    }
}

#[test]
fn a_path_that_leads_nowhere() {
    let load = |path: *const c_char| {
        // SAFETY: every path below is null or a live string; the helpers pass valid places and messages.
        move |place, error, size| unsafe { cosmogan_load(path, 1, place, error, size) }
    };
    let whole = golden();
    let nowhere = CString::new("/nowhere/g.safetensors").unwrap();
    let folder = CString::new(env!("CARGO_MANIFEST_DIR")).unwrap();
    let no_text = CString::new(&b"/nowhere/\xff"[..]).unwrap();
    refuses_to_make(
        &load(whole.as_ptr()),
        &[
            (&load(null()), Status::BadArgument, "path: null"),
            (
                &load(no_text.as_ptr()),
                Status::BadArgument,
                "path: not UTF-8",
            ),
            (&load(c"".as_ptr()), Status::BadWeights, "readable"),
            (
                &load(nowhere.as_ptr()),
                Status::BadWeights,
                "/nowhere/g.safetensors",
            ),
            (&load(folder.as_ptr()), Status::BadWeights, "readable"),
        ],
    );
}

#[test]
fn bytes_of_something_else() {
    let whole = std::fs::read(Path::new(golden().to_str().unwrap())).unwrap();
    let from = |start: *const u8, size: usize| {
        // SAFETY: every start below is null or readable for `size` bytes.
        move |place, error, length| unsafe {
            cosmogan_from_bytes(start.cast(), size, 1, place, error, length)
        }
    };
    let start = whole.as_ptr();
    refuses_to_make(
        &from(start, whole.len()),
        &[
            (&from(null(), 10), Status::BadArgument, "bytes: null"),
            (&from(null(), 0), Status::BadWeights, "safetensors"),
            (&from(start, 0), Status::BadWeights, "safetensors"),
            (&from(start, 40), Status::BadWeights, "safetensors"),
            (
                &from(start, whole.len() - 1),
                Status::BadWeights,
                "safetensors",
            ),
        ],
    );
}

#[test]
fn shipped_weights_are_there_or_missed() {
    // SAFETY: places and messages belong to live variables.
    let shipped = |place, error, size| unsafe { cosmogan_shipped(1, place, error, size) };
    refuses_to_make(&shipped, &[]);
    if cfg!(feature = "embed-weights") {
        let mut place = null_mut();
        assert_eq!(shipped(&mut place, null_mut(), 0), Status::Ok);
        // SAFETY: created above and freed once.
        unsafe {
            assert_eq!(cosmogan_map_size(place), 128);
            cosmogan_free(place);
        }
    } else {
        let missing = (&shipped as Maker<'_>, Status::BadWeights, "embed-weights");
        refuses_to_make(&shipped, &[missing]);
    }
}

#[test]
fn maps_without_a_place_or_a_generator() {
    let mut made = null_mut();
    // SAFETY: all pointers here and below are null or belong to live variables of the given lengths; the generator is
    // freed once, at the end.
    let status = unsafe { cosmogan_load(golden().as_ptr(), 1, &mut made, null_mut(), 0) };
    assert_eq!(status, Status::Ok);
    let good = made.cast_const();
    // SAFETY: as above.
    let (size, width) = unsafe { (cosmogan_map_size(good).pow(2), cosmogan_latent_width(good)) };
    let mut maps = vec![7.0_f32; size + 1];
    let (to, latents) = (maps.as_mut_ptr(), vec![0.5_f32; width]);
    let vectors = latents.as_ptr();
    let undefined = vec![f32::NAN; width];

    let sample = |generator, count, to, room| {
        // SAFETY: as above.
        Told::of(|error, length| unsafe {
            cosmogan_sample(generator, 1, 0, count, to, room, error, length)
        })
    };
    let generate = |generator, vectors, count, to, room| {
        // SAFETY: as above.
        Told::of(|error, length| unsafe {
            cosmogan_generate(generator, vectors, count, to, room, error, length)
        })
    };
    for (generator, count, to, room, needle) in [
        (null(), 1, to, size, "generator: null"),
        (null(), 0, null_mut(), 0, "generator: null"),
        (good, 1, null_mut(), size, "maps: null"),
        (good, 2, to, size, "maps: room for"),
        (good, 1, to, size - 1, "maps: room for"),
        (good, 1, to, size + 1, "maps: room for"),
        (good, 1, to, 0, "maps: room for"),
        (good, 0, to, size, "maps: room for"),
        (good, usize::MAX, to, size, "maps: room for"),
        // So many maps that their size would wrap around to 0.
        (good, 1 << 63, to, 0, "maps: room for"),
    ] {
        sample(generator, count, to, room).refused(Status::BadArgument, needle);
        generate(generator, vectors, count, to, room).refused(Status::BadArgument, needle);
    }
    generate(good, null(), 1, to, size).refused(Status::BadArgument, "latents: null");
    generate(good, undefined.as_ptr(), 1, to, size).refused(Status::BadArgument, "NaN");
    assert!(
        maps.iter().all(|&value| value == 7.0),
        "a failed call wrote to maps"
    );
    assert_eq!(sample(good, 0, null_mut(), 0).status, Status::Ok);
    assert_eq!(generate(good, null(), 0, null_mut(), 0).status, Status::Ok);

    // SAFETY: as above.
    unsafe {
        assert_eq!(cosmogan_map_size(null()), 0);
        assert_eq!(cosmogan_latent_width(null()), 0);
        cosmogan_free(null_mut());
        cosmogan_free(made);
    }
}
