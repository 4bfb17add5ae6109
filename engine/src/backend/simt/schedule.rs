//! Who may go on, once nobody can of himself.

use super::executor::{Executor, Pause, State, WARP};

/// A thread that waits in vain, and for what.
type Stuck = (usize, String);

impl Executor {
    /// Lets threads go on that have what they wait for: the end of a phase, or all others at the same place. Boxes land only
    /// where nobody could go on otherwise.
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

    /// All threads of one or more warps.
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
                        "it waits in {} for lane {other}, which {}",
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

/// All threads: what comes after is ordered after all that came before.
fn release_block(
    states: &mut [State],
    describe: impl Fn(usize, u32) -> String,
) -> Result<(), Stuck> {
    for (thread, state) in states.iter().enumerate() {
        if let State::Waiting(Pause::Phase { barrier, parity }) = *state {
            return Err((
                thread,
                format!(
                    "deadlock: it waits for {}, and nobody is left to end it",
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
                "divergent barrier: it waits at {} for thread {other}, which {}",
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
        State::Waiting(Pause::Products(_)) => "the products of its warp".to_owned(),
        State::Waiting(Pause::Phase { .. }) => "waits for an mbarrier".to_owned(),
        State::Waiting(Pause::Fault) | State::Ready => "runs".to_owned(),
        State::Done => "has ended".to_owned(),
    }
}
