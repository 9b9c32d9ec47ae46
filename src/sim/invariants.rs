//! Invariants: each violation is recorded with its time.

use std::time::Duration;

use crate::controller::tick::TickOutput;
use crate::model::action::{Action, ActionOutput, HookRun};
use crate::model::memory::ServiceMemory;
use crate::model::owner::Owner;
use crate::model::plan::{Plan, ReplicaTransition};
use crate::model::proxy::KEEP_ALIVE;
use crate::model::replica::{AdminState, ContainerId, ContainerState, Ending};
use crate::model::service::{Origin, replica_name};
use crate::sim::world::{START, SimContainer, SimProcess, SimServer, WorldState};

/// The longest that a reload takes here.
const LATELY: Duration = Duration::from_millis(600);

impl WorldState {
    pub(crate) fn record_violation(&mut self, what: String) {
        let at = self.now.since(START).as_millis();
        self.violations.push(format!("at {at} ms: {what}"));
    }

    /// How many serve that the controller has no reason to distrust.
    pub(crate) fn trusted(&self) -> usize {
        // One that was started anew leaves until its health check has passed, and what was decided
        // before it did may still be on its way.
        let is_unproven = |container: &SimContainer| {
            let proven = self.believed.known.get(&container.id).and_then(|known| known.proven);
            let is_other =
                proven.zip(container.started).is_some_and(|(proven, now)| proven != now.0);
            is_other || container.started.is_some_and(|at| self.now.since(at) < LATELY)
        };
        let is_shunned = |number: &u32| {
            let container = self.containers.iter().find(|u| u.number == *number);
            container.is_some_and(|container| {
                self.believed.is_unhealthy(&container.id) || is_unproven(container)
            })
        };
        self.serving().iter().filter(|number| !is_shunned(number)).count()
    }

    /// Records a violation when the last action left fewer serving than the minimum.
    pub(crate) fn check_floor(&mut self, before: usize, what: &str) {
        let after = self.trusted();
        if before <= after {
            return;
        }
        let service = &self.scenario.service;
        let min = service.timetable.at(self.wall()).bounds.min();
        let min = min.saturating_sub(service.rollout.max_unavailable);
        if after < before.min(usize::try_from(min).unwrap_or(usize::MAX)) {
            self.record_violation(format!("{what}: from {before} to {after} that serve"));
        }
    }

    /// A replica enters HAProxy only once it can serve.
    pub(crate) fn check_entry(&mut self, lines: &[SimServer]) {
        let before = self.current.as_ref().map_or(&[][..], |p| &p.servers);
        let is_known = |l: &SimServer| {
            before.iter().any(|o| o.address == l.address && o.admin_state != AdminState::Maint)
        };
        let enters = |l: &&SimServer| l.admin_state == AdminState::Ready && !is_known(l);
        let is_early = |l: &&SimServer| {
            let mut containers = self.containers.iter();
            containers.any(|u| u.address == Some(l.address.ip()) && self.now < u.ready_at)
        };
        let early = lines.iter().filter(enters).find(is_early);
        let has_hook = !self.scenario.service.hooks.after_ready.is_empty();
        let awaits = |l: &&SimServer| {
            let own = |u: &&SimContainer| u.address == Some(l.address.ip());
            let unit = self.containers.iter().find(own);
            has_hook && unit.is_some_and(|u| u.hooked.is_none() || u.hooked != u.started)
        };
        let unhooked = lines.iter().filter(enters).find(awaits);
        if let Some(line) = early {
            self.record_violation(format!("{} enters before it can serve", line.name));
        }
        if let Some(line) = unhooked {
            self.record_violation(format!("{} enters before its hook ended", line.name));
        }
    }

    /// Runs the hook `after_ready`. While its replica gets requests, it must not run again.
    pub(crate) fn run_hook(&mut self, run: &HookRun) -> ActionOutput {
        let current = self.current.iter().flat_map(|process| &process.servers);
        let served: Vec<_> = current
            .filter(|line| line.admin_state == AdminState::Ready)
            .map(|line| line.address.ip())
            .collect();
        let Some(unit) = self.containers.iter_mut().find(|u| u.id == run.id) else {
            return ActionOutput::Unchanged;
        };
        let is_its = unit.started.map(|at| at.0) == run.started;
        if unit.state != ContainerState::Running || !is_its {
            return ActionOutput::Unchanged;
        }
        let is_again = unit.hooked.is_some() && unit.hooked == unit.started;
        unit.hooked = unit.started;
        if is_again && unit.address.is_some_and(|address| served.contains(&address)) {
            let name = unit.name.clone();
            self.record_violation(format!("the hook of {name} runs while it serves"));
        }
        ActionOutput::Changed
    }

    /// Stops a container, and records the sessions that this cut.
    pub(crate) fn stop(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.iter().find(|u| u.id == *id) else { return };
        let Some(address) =
            container.address.filter(|_| container.state == ContainerState::Running)
        else {
            return self.end(id, Ending::Stopped);
        };
        let name = replica_name(self.service(), container.number);
        if !self.timed_out.contains(id) {
            let open = self.sessions.iter().filter(|s| s.address == address).count();
            let open = open + self.waiting.copies.iter().filter(|c| c.to.ip() == address).count();
            if 0 < open {
                self.record_violation(format!("{name} stopped with {open} sessions"));
            }
            let own = |l: &&SimServer| l.name == name && l.address.ip() == address;
            let has = |p: &SimProcess| {
                p.servers.iter().any(|l| own(&l) && l.admin_state != AdminState::Maint)
            };
            if !self.silent && self.current.as_ref().is_some_and(has) {
                self.record_violation(format!("{name} stopped while HAProxy has it"));
            }
            let current = self.current.iter().flat_map(|p| &p.servers);
            if current.filter(own).any(|l| l.admin_state == AdminState::Ready) {
                self.record_violation(format!("{name} stopped while HAProxy sends it requests"));
            }
            let sends = |p: &SimProcess| {
                let mut open = p.servers.iter().filter(own);
                p.has_idle_clients
                    && self.now < p.told_at.plus(KEEP_ALIVE)
                    && open.any(|l| l.admin_state == AdminState::Ready)
            };
            if self.old.iter().any(sends) {
                self.record_violation(format!(
                    "{name} stopped while an earlier HAProxy may send it requests"
                ));
            }
        }
        let before = self.trusted();
        self.end(id, Ending::Stopped);
        self.check_floor(before, &format!("stop of {name}"));
    }

    /// Requests got 503 because neither a replica nor the activator took them: while the service
    /// sleeps, falls asleep or wakes, none may.
    pub(crate) fn check_failed(&mut self, count: u64, has_waited: bool) {
        let sleep = &self.believed.sleep;
        let is_waking = sleep.wake_up.is_some_and(|wake_up| !wake_up.is_ready);
        let is_due = sleep.asleep.is_some() || is_waking || has_waited;
        if is_due && self.may_wake() {
            self.record_violation(format!("{count} requests failed around a sleep"));
        }
    }

    /// Compose's own go only when there are too many, and never the last of them.
    pub(crate) fn check_removal(&mut self, id: &ContainerId) {
        if self.strangers.iter().any(|stranger| stranger.id == *id) {
            self.record_violation(format!("{id}, which is a stranger, is removed"));
        }
        // Somebody may have been quicker.
        let Some(container) = self.containers.iter().find(|u| u.id == *id) else { return };
        if container.owner != Owner::Compose {
            return;
        }
        let name = container.name.clone();
        let others = self.containers.iter().filter(|u| u.id != *id);
        let mut own = 0;
        let mut runs = 0;
        for other in others {
            own += u32::from(other.owner == Owner::Compose);
            runs += u32::from(other.state == ContainerState::Running);
        }
        if own == 0 || runs < self.believed.desired.unwrap_or(0) {
            self.record_violation(format!(
                "{name} of compose's is removed beside {own} of its own, {runs} run"
            ));
        }
    }

    /// No more are started than the config allows above the number.
    fn check_surge(&mut self, plan: &Plan, before: &ServiceMemory) {
        let starting = || plan.actions.iter().filter_map(Action::as_start);
        let starts = starting().count();
        let is_made = |(_, number): &(_, u32)| self.containers.iter().any(|u| u.number == *number);
        let again = starting().filter(is_made).count();
        let drained = |u: &SimContainer| {
            plan.transitions.contains(&ReplicaTransition::DrainStarted { number: u.number })
        };
        // Those of compose's that hold no seat are not started by us.
        let is_idle = |u: &SimContainer| {
            u.owner == Owner::Compose
                && (u.state != ContainerState::Running || self.believed.is_unhealthy(&u.id))
        };
        let stays = |u: &&SimContainer| {
            u.exists() && !is_idle(u) && !before.drains.contains_key(&u.id) && !drained(u)
        };
        let there = self.containers.iter().filter(stays).count();
        let surge = self.scenario.service.rollout.max_surge;
        let most =
            usize::try_from(plan.decision.desired.saturating_add(surge)).unwrap_or(usize::MAX);
        if again < starts && most < there + starts - again {
            self.record_violation(format!(
                "{starts} started beside {there}, for {}",
                plan.decision.desired
            ));
        }
    }

    /// The decision of a tick; `before` is what was remembered when it was taken.
    pub(crate) fn check_tick(&mut self, output: &TickOutput, before: &ServiceMemory) {
        let Some(plan) = output.plans.get(self.service()) else { return };
        if plan.decision.because.is_empty() {
            self.record_violation("a plan without a reason".to_owned());
        }
        let bounds = self.scenario.service.timetable.at(self.wall()).bounds;
        // What compose made of the number stands for a cooldown.
        let is_composed = matches!(self.scenario.service.container.origin, Origin::Compose { .. });
        let is_ours = output.engine_error.is_none() && !is_composed;
        if is_ours && !(bounds.min()..=bounds.max()).contains(&plan.decision.desired) {
            self.record_violation(format!("{} is outside the bounds", plan.decision.desired));
        }
        self.check_surge(plan, before);
        for transition in &plan.transitions {
            if let ReplicaTransition::DrainEnded { number, .. } = transition {
                let mut matching = self.containers.iter().filter(|u| u.number == *number);
                let id = matching.next().map(|u| u.id.clone());
                let drain = id.and_then(|id| Some((before.drains.get(&id)?.since, id)));
                let longest = self.scenario.service.drain_timeout;
                let now = self.now;
                if let Some((_, id)) = drain.filter(|(since, _)| longest <= now.since(*since)) {
                    self.timed_out.insert(id);
                }
            }
        }
    }
}
