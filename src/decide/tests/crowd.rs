//! A host with several services, as the decisions see it: its memory is used up, starts and drains
//! take their time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::decide::all_services::plan_all;
use crate::decide::tests::{NOW, S, band};
use crate::model::action::Action;
use crate::model::bounds::Bounds;
use crate::model::host_cpu::{ProcessorObservation, ProcessorState};
use crate::model::image::RegistryObservation;
use crate::model::memory::{Hold, Memory, Pause};
use crate::model::owner::Owner;
use crate::model::plan::Plan;
use crate::model::preemption::PreemptionLimits;
use crate::model::replica::{ContainerId, ContainerState, Health, Load, Replica, ReplicaUsage};
use crate::model::schedule::Timetable;
use crate::model::service::{ContainerSpec, Cooldown, Origin, Percent, Service, ServiceName};
use crate::model::sleep::SleepObservation;
use crate::model::snapshot::{EngineSeen, ProxyObservation, Snapshot};
use crate::model::time::{Moment, Wall};

pub(crate) const STEP: Duration = Duration::from_secs(5);
/// An evaluation is each third step.
const EVALUATION: u64 = 3;
const START: Duration = Duration::from_secs(10);
const STOP: Duration = Duration::from_secs(5);

struct Unit {
    number: u32,
    ready_at: Moment,
    /// It is being removed.
    gone_at: Option<Moment>,
}

pub(crate) struct Member {
    pub(crate) service: Service,
    /// Percent of a replica's limit, of the whole service.
    pub(crate) load: u64,
    /// MiB that a replica that is ready uses.
    pub(crate) uses: u64,
    pub(crate) waiting: u64,
    /// What it starts ends at once.
    pub(crate) is_broken: bool,
    /// From the removal of a replica until its memory is free.
    pub(crate) stops_in: Duration,
    pub(crate) owner: Owner,
    failed: u32,
    units: Vec<Unit>,
}

pub(crate) struct Crowd {
    pub(crate) now: Moment,
    /// MiB above the reserve.
    pub(crate) memory: u64,
    pub(crate) idle: Option<u64>,
    /// The processors are looked at, and not known yet.
    pub(crate) is_idle_awaited: bool,
    pub(crate) members: BTreeMap<String, Member>,
    pub(crate) kept: Memory,
    pub(crate) plans: BTreeMap<String, Plan>,
    steps: u64,
}

impl Crowd {
    pub(crate) fn new(memory: u64) -> Crowd {
        Crowd {
            now: NOW,
            memory,
            idle: None,
            is_idle_awaited: false,
            members: BTreeMap::new(),
            kept: Memory::default(),
            plans: BTreeMap::new(),
            steps: 0,
        }
    }

    /// `size` MiB is the limit of a replica, and what it uses.
    pub(crate) fn add(&mut self, name: &str, priority: u8, (min, max): (u32, u32), size: u64) {
        let image = Origin::Image("app:1".to_owned());
        let always = Timetable::always(Bounds::new(min, max).unwrap());
        let container = ContainerSpec { memory: Some(size << 20), ..ContainerSpec::new(image) };
        let service = Service {
            priority,
            band: Some(band(30_00, 75_00)),
            cooldown: Cooldown { up: 15 * S, down: 30 * S },
            drain_timeout: 20 * S,
            ..Service::new(ServiceName::new(name).unwrap(), container, 80, always)
        };
        let member = Member {
            service,
            load: 0,
            uses: size,
            waiting: 0,
            is_broken: false,
            stops_in: STOP,
            owner: Owner::Ours,
            failed: 0,
            units: Vec::new(),
        };
        self.members.insert(name.to_owned(), member);
    }

    pub(crate) fn member(&mut self, name: &str) -> &mut Member {
        self.members.get_mut(name).unwrap()
    }

    pub(crate) fn load(&mut self, name: &str, load: u64) {
        self.member(name).load = load;
    }

    pub(crate) fn hold(&mut self, name: &str, count: u32) {
        let hold = Hold { count, until: None, reason: None };
        self.kept.services.entry(name.to_owned()).or_default().hold = Some(hold);
    }

    pub(crate) fn pause(&mut self, name: &str) {
        self.kept.services.entry(name.to_owned()).or_default().pause = Some(Pause { until: None });
    }

    /// All of its replicas are gone at once.
    pub(crate) fn kill(&mut self, name: &str) {
        self.member(name).units.clear();
    }

    /// Replicas that take requests.
    pub(crate) fn ready(&self, name: &str) -> usize {
        let drains = self.kept.services.get(name).map(|own| &own.drains);
        let is_ready = |unit: &&Unit| {
            unit.ready_at <= self.now
                && unit.gone_at.is_none()
                && drains.is_none_or(|drains| !drains.contains_key(&id(name, unit.number)))
        };
        self.members[name].units.iter().filter(is_ready).count()
    }

    pub(crate) fn desired(&self, name: &str) -> u32 {
        self.plans[name].decision.desired
    }

    /// MiB that nobody uses.
    pub(crate) fn free(&self) -> u64 {
        let used = self.members.values().map(|member| {
            let ready = member.units.iter().filter(|unit| unit.ready_at <= self.now).count();
            member.uses * ready as u64
        });
        self.memory.checked_sub(used.sum()).expect("more memory is used than there is")
    }

    /// The daemon is killed and started again: what it had begun and nobody saw is lost.
    pub(crate) fn restart(&mut self) {
        for member in self.members.values_mut() {
            let now = self.now;
            member.units.retain(|unit| unit.ready_at <= now);
            member.units.iter_mut().for_each(|unit| unit.gone_at = None);
        }
        self.kept.preemptions.room_since = None;
    }

    pub(crate) fn run(&mut self, steps: u64) {
        (0..steps).for_each(|_| self.step());
    }

    pub(crate) fn step(&mut self) {
        self.now = self.now.plus(STEP);
        self.steps += 1;
        let now = self.now;
        for member in self.members.values_mut() {
            member.units.retain(|unit| unit.gone_at.is_none_or(|gone_at| now < gone_at));
            let before = member.units.len();
            let is_broken = member.is_broken;
            member.units.retain(|unit| !is_broken || now < unit.ready_at);
            member.failed = u32::try_from(before - member.units.len()).unwrap();
        }
        let mut snapshots: Vec<Snapshot> =
            self.members.keys().map(|name| self.snapshot(name)).collect();
        let decided = plan_all(&mut snapshots, &mut [], &self.kept);
        assert_eq!(decided.panics, Vec::new());
        self.kept = decided.next;
        self.plans = decided.plans;
        for (name, plan) in &self.plans {
            let Member { units, stops_in, .. } = self.members.get_mut(name).unwrap();
            for action in &plan.actions {
                match action {
                    Action::Start { number, .. } => units.push(Unit {
                        number: *number,
                        ready_at: now.plus(START),
                        gone_at: None,
                    }),
                    Action::Remove(removal) => {
                        let unit = units.iter_mut().find(|unit| unit.number == removal.number);
                        unit.unwrap().gone_at = Some(now.plus(*stops_in));
                    }
                    _ => panic!("{action:?}"),
                }
            }
        }
    }

    fn processor(&self) -> ProcessorObservation {
        if self.is_idle_awaited {
            return ProcessorObservation::Awaited;
        }
        let state = |idle| ProcessorState {
            idle: Percent::from_hundredths(idle * 100),
            pressure: None,
            is_busy: idle < 5,
            reserve: Percent::from_hundredths(5_00),
            cores: 4,
        };
        self.idle.map_or(ProcessorObservation::Unlimited, |idle| {
            ProcessorObservation::Known(state(idle))
        })
    }

    fn snapshot(&self, name: &str) -> Snapshot {
        let member = &self.members[name];
        let ready = u64::try_from(self.ready(name)).unwrap();
        let load = member.load.checked_div(ready).unwrap_or(0) * 100;
        let replica = |unit: &Unit| {
            let is_ready = unit.ready_at <= self.now;
            let read = is_ready && unit.gone_at.is_none();
            Replica {
                address: Some(([10, 0, 0, 1], 80).into()),
                health: if is_ready { Health::Healthy } else { Health::Starting },
                load: if read { Load::Read(Percent::from_hundredths(load)) } else { Load::Missing },
                usage: ReplicaUsage {
                    memory: is_ready.then_some(member.uses << 20),
                    nano_cpus: read.then_some(load * 100_000),
                    has_cpu_limit: false,
                },
                busy: unit.gone_at.is_some(),
                owner: member.owner,
                ..Replica::bare(id(name, unit.number), unit.number, ContainerState::Running)
            }
        };
        let may_sleep = member.service.may_sleep();
        let sleep = may_sleep.then(|| SleepObservation {
            idle: Some(if 0 < member.load { Duration::ZERO } else { 3600 * S }),
            held: u32::try_from(member.waiting).unwrap(),
            held_since: None,
            queue: 0,
            copies: 0,
            answered: Vec::new(),
        });
        Snapshot {
            now: self.now,
            wall: Wall(0),
            due: self.steps.is_multiple_of(EVALUATION),
            service: Arc::new(member.service.clone()),
            replicas: member.units.iter().map(replica).collect(),
            readings: Vec::new(),
            forecast: None,
            starting: Vec::new(),
            failed_starts: member.failed,
            free_memory: Some(self.free() << 20),
            processor: self.processor(),
            preemption: PreemptionLimits::default(),
            engine: EngineSeen::Answers,
            proxy: ProxyObservation::Absent,
            sleep,
            registry: RegistryObservation::default(),
            swarm: None,
        }
    }
}

fn id(service: &str, number: u32) -> ContainerId {
    ContainerId(format!("{service}-{number}"))
}
