//! Damaged inputs: each reader gets mutants of valid files, and must refuse them or read something sound.

use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use crate::readers::{Reader, readers};
use crate::{Dice, length};

/// Longest time that a reader may take for a small file.
const LONGEST_READ: Duration = Duration::from_secs(10);

/// Text that means something in one of the formats, as a replacement.
const WORDS: [&str; 26] = [
    "-1",
    "0",
    "1e999",
    "nan",
    "4294967296",
    "18446744073709551615",
    "../x",
    "\"",
    "{",
    "[",
    "null",
    "BSCALE  =",
    "NAXIS   =",
    "END",
    "f8",
    "i2",
    "<",
    ">",
    "True",
    "batch = ",
    "kernel=",
    "n=",
    "F16",
    "\u{1b}[2J",
    "\n",
    "\0",
];

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    let place = match dice.below(3) {
        // Headers are at the beginning.
        0 => dice.below(bytes.len().min(256)),
        _ => dice.below(bytes.len()),
    };
    match dice.below(9) {
        0 => bytes[place] ^= 1 << dice.below(8),
        1 => bytes[place] = dice.below(256) as u8,
        2 => bytes.truncate(place),
        3 => {
            let end = (place + 1 + dice.below(80)).min(bytes.len());
            bytes.drain(place..end);
        }
        4 => {
            let end = (place + 1 + dice.below(160)).min(bytes.len());
            let copy = bytes[place..end].to_vec();
            let at = dice.below(bytes.len() + 1);
            bytes.splice(at..at, copy);
        }
        5 => {
            let word = WORDS[dice.below(WORDS.len())].as_bytes();
            let end = (place + word.len()).min(bytes.len());
            bytes.splice(place..end, word.iter().copied());
        }
        6 => {
            let word = WORDS[dice.below(WORDS.len())].as_bytes();
            bytes.splice(place..place, word.iter().copied());
        }
        7 => {
            // A number by another one.
            let digits = bytes[place..].iter().position(u8::is_ascii_digit);
            if let Some(first) = digits.map(|offset| place + offset) {
                let number = bytes[first..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_digit());
                let end = first + number.count();
                let number = format!("{}", 1_u64 << dice.below(64));
                bytes.splice(first..end, number.into_bytes());
            }
        }
        _ => {
            let with = dice.below(bytes.len());
            bytes.swap(place, with);
        }
    }
}

#[test]
fn damaged_files_are_refused_or_read_soundly() {
    let folder = tempfile::tempdir().unwrap();
    let mut tallies: Vec<Tally> = readers(folder.path()).into_iter().map(Tally::new).collect();
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let failure = match env::var("COSMOGAN_MUTANT") {
        // As a failure names it.
        Ok(mutant) => {
            let (name, seed) = mutant.split_once(':').unwrap();
            let tally = tallies.iter_mut().find(|tally| tally.reader.name == name);
            tally.unwrap().attempt(seed.parse().unwrap())
        }
        Err(_) => campaign(&mut tallies),
    };
    panic::set_hook(hook);
    for tally in &tallies {
        let [name, tried, accepted] = [
            &tally.reader.name as &dyn Display,
            &tally.tried,
            &tally.accepted,
        ];
        println!("{name}: {tried} mutants, {accepted} accepted");
    }
    if let Some(failure) = failure {
        panic!("{failure}");
    }
}

/// Tries mutants for the time of a campaign; the first failure.
fn campaign(tallies: &mut [Tally]) -> Option<String> {
    let length = length(Duration::from_secs(20), Duration::from_secs(3600));
    let started = Instant::now();
    while started.elapsed() < length {
        // Every reader gets the same time.
        let least = tallies.iter_mut().min_by_key(|tally| tally.spent)?;
        let failure = least.attempt(least.tried);
        if failure.is_some() {
            return failure;
        }
    }
    None
}

/// A reader and what has been tried on it.
struct Tally {
    reader: Reader,
    tried: u64,
    accepted: u64,
    spent: Duration,
}

impl Tally {
    fn new(reader: Reader) -> Self {
        Self {
            reader,
            tried: 0,
            accepted: 0,
            spent: Duration::ZERO,
        }
    }

    /// Tries the mutant of `seed`; a line that names it if it is not handled.
    fn attempt(&mut self, seed: u64) -> Option<String> {
        let started = Instant::now();
        let (accepted, problem) = attempt(&self.reader, seed);
        self.tried += 1;
        self.accepted += u64::from(accepted);
        self.spent += started.elapsed();
        let name = self.reader.name;
        problem.map(|problem| format!("COSMOGAN_MUTANT={name}:{seed}: {problem}"))
    }
}

/// Reads the mutant of `seed`. Returns whether it was accepted, and the failure if it was not handled properly.
fn attempt(reader: &Reader, seed: u64) -> (bool, Option<String>) {
    let mut dice = Dice(seed);
    let sample = &reader.samples[dice.below(reader.samples.len())];
    let mut bytes = sample.bytes.clone();
    for _ in 0..=dice.below(3) {
        mutate(&mut bytes, &mut dice);
    }
    fs::write(&sample.path, &bytes).unwrap();
    let started = Instant::now();
    let read = catch_unwind(AssertUnwindSafe(|| (reader.read)(&sample.path)));
    let took = started.elapsed();
    // The other samples may be read together with this one.
    fs::write(&sample.path, &sample.bytes).unwrap();
    let problem = match &read {
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or(payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned()));
            Some(format!("panic: {}", text.unwrap_or_default()))
        }
        Ok(Ok(())) => None,
        Ok(Err(error)) if error.chars().any(char::is_control) => {
            Some(format!("control characters in {error:?}"))
        }
        Ok(Err(error)) if error.len() > 2000 => Some(format!("a message of {} bytes", error.len())),
        Ok(Err(_)) => None,
    };
    let problem = problem.or((took > LONGEST_READ).then(|| format!("took {took:?}")));
    (matches!(read, Ok(Ok(()))), problem)
}
