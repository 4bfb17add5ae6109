//! Scheduling: resumes threads once none of them can continue without the others.

use super::executor::{Executor, Pause, State};
use super::memory::WARP;

/// A thread that can never continue, and the reason.
type Stuck = (usize, String);

impl Executor {
    /// Resumes threads whose condition holds: the end of a phase, or all other threads at the same place.
    ///
    /// TMA boxes land only if no thread could continue otherwise.
    pub(super) fn release(&mut self, states: &mut [State]) -> Result<(), Stuck> {
        if self.release_phases(states) || self.release_warps(states)? || self.land_a_box() {
            return Ok(());
        }
        release_block(states, |barrier, parity| {
            self.pipelines.describe(barrier, parity)
        })?;
        self.epoch += 1;
        self.pipelines.join_all();
        Ok(())
    }

    fn release_phases(&mut self, states: &mut [State]) -> bool {
        let mut any = false;
        for (thread, state) in states.iter_mut().enumerate() {
            if let State::Waiting(Pause::Phase { barrier, parity }) = *state
                && self.pipelines.is_over(barrier, parity)
            {
                self.pipelines.acquire(thread, barrier);
                *state = State::Ready;
                any = true;
            }
        }
        any
    }

    /// Resumes all threads of one or more warps.
    fn release_warps(&mut self, states: &mut [State]) -> Result<bool, Stuck> {
        let mut any = false;
        for (warp, lanes) in states.chunks_mut(WARP).enumerate() {
            let collective = |state: &State| {
                matches!(
                    state,
                    State::Waiting(Pause::Exchange(_) | Pause::Products(_))
                )
            };
            let Some(waiting) = lanes.iter().position(collective) else {
                continue;
            };
            let later = |state: &State| matches!(state, State::Waiting(Pause::Phase { .. }));
            if lanes.iter().any(later) {
                continue;
            }
            if let Some(other) = lanes.iter().position(|state| *state != lanes[waiting]) {
                return Err((
                    warp * WARP + waiting,
                    format!(
                        "it waits at {}, but lane {other} is at {}",
                        place(lanes[waiting]),
                        place(lanes[other])
                    ),
                ));
            }
            if let State::Waiting(Pause::Products(pending)) = lanes[waiting] {
                self.finish_products(warp, pending as usize)
                    .map_err(|problem| (warp * WARP, problem))?;
            }
            lanes.fill(State::Ready);
            any = true;
        }
        Ok(any)
    }
}

/// Resumes all threads of the block: later accesses are ordered after all earlier ones.
fn release_block(
    states: &mut [State],
    describe: impl Fn(usize, u32) -> String,
) -> Result<(), Stuck> {
    for (thread, state) in states.iter().enumerate() {
        if let State::Waiting(Pause::Phase { barrier, parity }) = *state {
            return Err((
                thread,
                format!(
                    "deadlock: it waits for {}, which no other thread can complete",
                    describe(barrier, parity)
                ),
            ));
        }
    }
    let waiting = states.iter().position(|state| *state != State::Done);
    let waiting = waiting.unwrap_or_default();
    if let Some(other) = states.iter().position(|state| *state != states[waiting]) {
        return Err((
            waiting,
            format!(
                "divergent barrier: it waits at {}, but thread {other} is at {}",
                place(states[waiting]),
                place(states[other])
            ),
        ));
    }
    states.fill(State::Ready);
    Ok(())
}

fn place(state: State) -> String {
    match state {
        State::Waiting(Pause::Barrier(line)) => format!("the barrier in line {line}"),
        State::Waiting(Pause::Exchange(line)) => format!("the warp operation {line}"),
        State::Waiting(Pause::Products(_)) => "a wgmma wait".to_owned(),
        State::Waiting(Pause::Phase { .. }) => "an mbarrier wait".to_owned(),
        State::Waiting(Pause::Fault) | State::Ready => "no wait".to_owned(),
        State::Done => "the end of the kernel".to_owned(),
    }
}
