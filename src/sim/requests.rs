//! Requests of a service that may sleep: when they come, where they wait, and who answers them.
//! A service that is simulated by its request rate gets whole requests at that rate. Of any other
//! metric, a load above 0 means that somebody asks all the time, one request after another.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::metric::{Field, Milli};
use crate::model::replica::{AdminState, ContainerState};
use crate::model::time::{Moment, Wall};
use crate::sim::world::{REQUEST_MS, SimContainer, WHOLE_REQUEST, WorldState};

/// As `Retry-After` says.
const ASKS_AGAIN: Duration = Duration::from_secs(10);
/// Requests that come between two moments are put to so many moments at most.
const MOMENTS: u64 = 1_000;
/// For as long after a change of the bounds requests may still fail.
const BOUNDS_EFFECTIVE_S: i64 = 5;

impl WorldState {
    /// A request may have to wake the service.
    pub(crate) fn may_sleep(&self) -> bool {
        self.scenario.wakes && self.scenario.service.may_sleep()
    }

    pub(crate) fn set_load(&mut self, load: Milli) {
        let before = std::mem::replace(&mut self.scenario.demand.load, load);
        if self.may_sleep() && self.scenario.demand.is_of(Field::RequestRate) {
            // The first request comes at once.
            match (before.0, load.0) {
                (_, 0) => self.coming = 0,
                (0, _) => self.coming = WHOLE_REQUEST,
                (_, _) => (),
            }
            self.receive(0);
        }
        self.settle_waiting();
    }

    /// `count` requests at even distances until now, the last one `rest` ago.
    pub(crate) fn arrive_evenly(&mut self, count: u64, rest: u128) {
        let rate = u128::from(self.scenario.demand.load.0).max(1);
        let chunk = count.div_ceil(MOMENTS).max(1);
        let mut left = count;
        while 0 < left {
            let some = left.min(chunk);
            left -= some;
            let ago_ns = (rest + u128::from(left) * WHOLE_REQUEST) / rate;
            let ago_ms = u64::try_from(ago_ns / 1_000_000).unwrap_or(u64::MAX);
            self.arrive(Moment(self.now.0.saturating_sub(ago_ms)), some);
        }
    }

    /// Requests that nobody serves at once wait, if HAProxy has somewhere to send them.
    fn arrive(&mut self, sent: Moment, count: u64) {
        if !self.may_sleep() || self.serves() {
            return;
        }
        let Some(wake) = self.current.as_ref().map(|process| process.wake) else { return };
        match wake.map(|wake| wake.admin_state) {
            Some(AdminState::Ready) => self.waiting.push(sent, count),
            Some(AdminState::Drain | AdminState::Maint) => self.fail(count, false),
            // It cannot hold any, as an HAProxy that takes no servers while it runs.
            None => (),
        }
    }

    fn fail(&mut self, count: u64, has_waited: bool) {
        self.waiting.asks_again = self.now.plus(ASKS_AGAIN);
        self.check_failed(count, has_waited);
    }

    /// Whether it is allowed to have replicas, and was a moment ago.
    pub(crate) fn may_wake(&self) -> bool {
        let wall = self.wall();
        [wall, Wall(wall.0.saturating_sub(BOUNDS_EFFECTIVE_S))]
            .iter()
            .all(|at| 0 < self.scenario.service.timetable.at(*at).bounds.max())
    }

    fn serves(&self) -> bool {
        !self.serving().is_empty()
    }

    /// Clients who ask one request after another.
    fn ask(&mut self) {
        if self.now < self.waiting.asks_again || self.serves() {
            return;
        }
        let there = self.waiting.queued().saturating_add(self.waiting.connections());
        let more = self.scenario.demand.clients().saturating_sub(there);
        if 0 < more {
            self.current.iter_mut().for_each(|p| p.requests = p.requests.saturating_add(more));
            self.arrive(self.now, more);
        }
    }

    /// Whether somebody begins a session now, where `came` whole requests did.
    pub(crate) fn is_asked(&self, came: u64) -> bool {
        if !self.may_sleep() {
            return true;
        }
        match self.scenario.demand.is_of(Field::RequestRate) {
            true => 0 < came,
            false => 0 < self.scenario.demand.load.0,
        }
    }

    /// After anything changed: what waits goes on as far as it can.
    pub(crate) fn settle_waiting(&mut self) {
        if !self.may_sleep() || self.crashed {
            return;
        }
        let now = self.now;
        self.waiting.end_copies(|copy| copy.ends <= now);
        self.ask();
        let wake = self.current.as_ref().and_then(|process| process.wake);
        let is_ready = wake.is_some_and(|wake| wake.admin_state == AdminState::Ready);
        if let Some(wake) = wake {
            let until = Moment(now.0.saturating_sub(Moment(0).plus(wake.queue_timeout).0));
            let expired = self.waiting.expire(until);
            if 0 < expired && is_ready {
                self.waiting.refuse(expired);
                self.waiting.asks_again = now.plus(ASKS_AGAIN);
            } else if 0 < expired {
                self.fail(expired, true);
            }
        }
        if is_ready {
            self.waiting.hold(now);
        }
        if self.waiting.is_holding()
            && let Some(to) = self.waiting.forward.iter().find(|to| self.takes(**to)).copied()
        {
            let lasts = self.scenario.chance.between(10, self.session_longest_ms, REQUEST_MS);
            self.waiting.copy(now, to, now.plus(Duration::from_millis(lasts)));
        }
    }

    /// A connection to it opens.
    fn takes(&self, to: SocketAddr) -> bool {
        let takes = |unit: &SimContainer| {
            unit.address == Some(to.ip())
                && unit.state == ContainerState::Running
                && unit.is_well(self.now)
        };
        self.containers.iter().any(takes)
    }

    /// A server that leaves maintenance takes what waits in HAProxy.
    pub(crate) fn take_queue(&mut self) {
        let now = self.now;
        if self.waiting.is_empty() || !self.serves() {
            return;
        }
        if 0 < self.waiting.take_queue(now) {
            self.begin_sessions();
        }
    }

    /// The activator refuses the connection that it holds, and those that HAProxy then sends.
    pub(crate) fn refuse_held(&mut self) {
        if !self.waiting.is_holding() {
            return;
        }
        self.waiting.refuse_held();
        let behind = self.waiting.expire(self.now);
        self.waiting.refuse(behind);
        self.waiting.asks_again = self.now.plus(ASKS_AGAIN);
        self.settle_waiting();
    }

    /// When the next request comes, where that is the one that wakes the service, or when a
    /// connection of the activator's ends.
    pub(crate) fn next_request(&self) -> Option<Moment> {
        if !self.may_sleep() || self.crashed {
            return None;
        }
        let copies = self.waiting.copies.iter().map(|copy| copy.ends);
        let demand = &self.scenario.demand;
        let is_idle = self.waiting.is_empty() && 0 < demand.load.0 && !self.serves();
        let next = is_idle.then(|| match demand.is_of(Field::RequestRate) {
            true => {
                let left = WHOLE_REQUEST.saturating_sub(self.coming);
                let ms = left.div_ceil(u128::from(demand.load.0)).div_ceil(1_000_000);
                Moment(self.now.0.saturating_add(u64::try_from(ms).unwrap_or(u64::MAX)))
            }
            false => self.waiting.asks_again,
        });
        copies.chain(next).filter(|at| self.now < *at).min()
    }
}
