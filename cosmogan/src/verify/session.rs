//! Checks one after another in this process. An error is a row; the next check runs, unless the device is lost.

use std::path::Path;
use std::sync::Arc;

use cosmogan_engine::backend::Backend;
use cosmogan_oracle::Case;

use super::reference::ReferenceSet;
use super::{Check, Record};
use crate::error::{Error, Result};
use crate::interrupt;

/// Checks `cases` by `check`, up to one that loses the device. Returns how many have a row.
///
/// # Errors
/// If the rows cannot be written, or the user interrupts.
pub fn check_cases(
    cases: &[Case],
    record: &mut Record,
    mut check: impl FnMut(&Case) -> Result<Check>,
) -> Result<usize> {
    for (index, case) in cases.iter().enumerate() {
        if interrupt::requested() {
            return Err(Error::interrupted(format!(
                "{index} of {} cases were checked",
                cases.len()
            )));
        }
        match check(case) {
            Ok(row) => record.push(row)?,
            Err(error) => {
                record.push(Check::failed(case, &error))?;
                if error.is_device_lost() {
                    return Ok(index + 1);
                }
            }
        }
    }
    Ok(cases.len())
}

/// Makes rows of the cases after the first `done`, the last of which lost the device.
///
/// # Errors
/// Where the rows cannot be written.
pub fn skip_cases(cases: &[Case], done: usize, record: &mut Record) -> Result<()> {
    let (done, rest) = cases.split_at(done);
    let Some(last) = done.last() else {
        return Ok(());
    };
    for case in rest {
        let reason = format!(
            "not run: the device was lost in `{last}`; --isolate gives each case a process of its own"
        );
        record.push(Check::failed(case, reason))?;
    }
    Ok(())
}

/// Replays `sets` on `backend`; `dump` names a folder for the computed tensors.
///
/// # Errors
/// Where the rows cannot be written.
pub fn replay(
    sets: &[ReferenceSet],
    backend: &Arc<dyn Backend>,
    dump: Option<&Path>,
    record: &mut Record,
) -> Result<()> {
    let mut lost: Option<&ReferenceSet> = None;
    for set in sets {
        if let Some(lost) = lost {
            let reason = format!("not run: the device was lost in `{lost}`");
            record.push(Check::failed(set, reason))?;
            continue;
        }
        let mut checks = Vec::new();
        let replayed = set.check(backend, dump, &mut checks);
        for check in checks {
            record.push(check)?;
        }
        if let Err(error) = replayed {
            record.push(Check::failed(set, &error))?;
            lost = error.is_device_lost().then_some(set);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(error: impl Fn() -> cosmogan_engine::Error) -> (usize, Vec<Option<String>>) {
        let cases: Vec<Case> = (1..5)
            .map(|seed| format!("add length=3 seed={seed}").parse())
            .collect::<std::result::Result<_, _>>()
            .expect("these are cases");
        let mut record = Record::new(None);
        let done = check_cases(&cases, &mut record, |case| match case.seed {
            2 => Err(Error::Engine(error())),
            _ => Ok(Check::new(case.to_string(), "", 0.5, 1.0)),
        })
        .expect("nothing is written");
        skip_cases(&cases, done, &mut record).expect("nothing is written");
        record.finish().expect("nothing is written");
        let outcome = record.outcome();
        assert!(outcome.complete && !outcome.passed);
        let subjects = outcome.checks.iter().map(|check| &check.subject);
        assert!(subjects.eq(&cases.iter().map(ToString::to_string).collect::<Vec<_>>()));
        let failures = outcome.checks.iter().map(|check| check.failure.clone());
        (done, failures.collect())
    }

    #[test]
    fn an_error_costs_its_own_case() {
        let error = || cosmogan_engine::Error::Device("no room\n  for it".to_owned());
        let expected = [None, Some("no room for it".to_owned()), None, None];
        assert_eq!(failures(error), (4, expected.to_vec()));
    }

    #[test]
    fn nothing_runs_on_a_lost_device() {
        let error = || cosmogan_engine::Error::DeviceLost("lost".to_owned());
        let (done, failures) = failures(error);
        assert_eq!(done, 2);
        assert_eq!(failures[..2], [None, Some("lost".to_owned())]);
        for failure in &failures[2..] {
            let failure = failure.as_ref().expect("the device is lost");
            assert!(
                failure.starts_with("not run: the device was lost in `add length=3 seed=2`; "),
                "{failure}"
            );
        }
    }
}
