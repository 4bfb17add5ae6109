//! Programs killed at random moments: continued, they give the bytes of a run that nobody disturbed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{cosmogan, small_run, succeed, text};
use crate::{Dice, length};

/// A job that may be killed and run again until it succeeds.
struct Job {
    name: &'static str,
    /// Arguments of the command but for the output.
    command: Vec<String>,
    /// Flag of the output and its name in the folder of an attempt.
    out: [&'static str; 2],
    /// Flags with which the command is repeated after a kill.
    again: &'static [&'static str],
    /// Files whose bytes may differ: times of day, and what is left of a lock.
    ignored: &'static [&'static str],
}

fn jobs(folder: &Path) -> Vec<Job> {
    let (config, data) = small_run(folder, 32);
    let set_box = folder.join("of-the-set.box");
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let nbody =
        words("simulate --method nbody --maps 2 --pixels 32 --particles 32 --mesh 64 --steps 6");
    let simulated = folder.join("of-the-set.npy");
    let mut of_set = nbody.clone();
    of_set.extend(["--box", text(&set_box), "--out", text(&simulated)].map(str::to_owned));
    succeed(&of_set.iter().map(String::as_str).collect::<Vec<_>>());
    let mut dataset =
        words("dataset --maps-per-box 4 --pixels 64 --size 16 --per-map 50 --training");
    dataset.push(text(&set_box).to_owned());
    let mut train = words("train --device cpu --steps 150 --preview-every 40 --config");
    train.extend([text(&config), "--data", text(&data)].map(str::to_owned));
    vec![
        Job {
            name: "train",
            command: train,
            out: ["--out", "run"],
            again: &["--resume"],
            ignored: &["log.jsonl", "lock", "checkpoint-previous.safetensors"],
        },
        Job {
            name: "simulate",
            command: nbody,
            out: ["--out", "maps.npy"],
            again: &[],
            ignored: &["lock"],
        },
        Job {
            name: "dataset",
            command: dataset,
            out: ["--out", "set"],
            again: &[],
            ignored: &["lock"],
        },
        Job {
            name: "generate",
            command: words("generate --count 600 --device cpu --force"),
            out: ["--out", "generated.npy"],
            again: &[],
            ignored: &[],
        },
    ]
}

/// All files below `folder` but the ignored ones, by relative path.
fn files(folder: &Path, ignored: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if !ignored.contains(&&*name) {
                let bytes = fs::read(&path).unwrap();
                // An empty file may just have been created by another process: it is removed a minute later.
                if !(name.ends_with(".partial") && bytes.is_empty()) {
                    let relative = path.strip_prefix(folder).unwrap().to_owned();
                    found.insert(relative, bytes);
                }
            }
        }
    }
    found
}

impl Job {
    fn arguments(&self, folder: &Path, again: bool) -> Vec<String> {
        let [flag, name] = self.out;
        let mut arguments = self.command.clone();
        arguments.extend([flag.to_owned(), text(&folder.join(name)).to_owned()]);
        if again {
            arguments.extend(self.again.iter().map(|&flag| flag.to_owned()));
        }
        arguments
    }

    /// Runs to the end, killed `kills` times on the way, and returns its files.
    fn run(
        &self,
        folder: &Path,
        kills: usize,
        longest: Duration,
        dice: &mut Dice,
    ) -> BTreeMap<PathBuf, Vec<u8>> {
        fs::create_dir_all(folder).unwrap();
        for kill in 0..kills {
            let mut child = cosmogan()
                .args(self.arguments(folder, kill > 0))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let microseconds = longest.as_micros() as usize;
            thread::sleep(Duration::from_micros(dice.below(microseconds.max(1)) as u64));
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let output = cosmogan()
            .args(self.arguments(folder, kills > 0))
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            output.status.success(),
            "{} after {kills} kills: {told}",
            self.name
        );
        files(folder, self.ignored)
    }
}

#[test]
fn killed_jobs_continue_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut dice = Dice(7);
    let mut left = length(20, 500);
    let jobs = jobs(folder.path());
    let undisturbed: Vec<_> = jobs
        .iter()
        .map(|job| {
            let started = Instant::now();
            let files = job.run(&folder.path().join(job.name), 0, Duration::ZERO, &mut dice);
            assert!(!files.is_empty(), "{}", job.name);
            (files, started.elapsed())
        })
        .collect();
    let mut attempt = 0;
    let mut kills = vec![0; jobs.len()];
    while left > 0 {
        let index = attempt % jobs.len();
        let (expected, took) = &undisturbed[index];
        let times = (1 + dice.below(5)).min(left);
        let place = folder.path().join(format!("attempt-{attempt}"));
        let found = jobs[index].run(&place, times, *took, &mut dice);
        for name in expected.keys().chain(found.keys()) {
            assert!(
                expected.get(name) == found.get(name),
                "{}: {} after {times} kills is not that of an undisturbed run",
                jobs[index].name,
                name.display()
            );
        }
        fs::remove_dir_all(&place).unwrap();
        kills[index] += times;
        left -= times;
        attempt += 1;
    }
    for (job, kills) in jobs.iter().zip(kills) {
        println!("{}: {kills} kills", job.name);
    }
}
