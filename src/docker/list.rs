//! Sorts the listed containers into replicas and strangers, and adds details from inspects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::PoisonError;
use std::time::{Duration, UNIX_EPOCH};

use crate::docker::Docker;
use crate::docker::api_types::ListedContainer;
use crate::docker::compose_clone::LABEL_HASH;
use crate::docker::event_journal::ExitSeen;
use crate::docker::inspect_cache::Cached;
use crate::docker::inspected::Inspected;
use crate::docker::label_sets::labelled;
use crate::docker::labels::LABEL_SERVICE;
use crate::docker::owner::{Facts, Identity, ImageLabels, LabelMap, identify};
use crate::model::docker_host::{DEFAULT_SOCKET, DockerHost};
use crate::model::replica::{Container, ContainerId, ContainerState, DockerHealth, Ended, Exit};
use crate::model::service::Adopted;
use crate::model::stranger::Stranger;
use crate::outside::{ListQuery, Listing, Result};

/// Time that a tick waits for inspects; then it goes on without them.
const DETAILS_MAX: Duration = Duration::from_millis(300);

impl Docker {
    pub(super) fn list_replicas(&self, query: &ListQuery) -> Result<Listing> {
        let ListQuery { adopted, known, labels } = query;
        let rows = self.rows(!adopted.is_empty() || *labels)?;
        let labelled = if *labels { labelled(&rows) } else { Vec::new() };
        let of_labelled = labelled.iter().flat_map(|service| &service.rows);
        let of_labelled: Vec<&str> = of_labelled.map(|row| row.image_id()).collect();
        let identities = self.identities(&rows, adopted, known, &of_labelled);
        let sources = self.label_sources(&labelled, known);
        let mut listing = Listing::default();
        let mut replicas = Vec::new();
        for (row, identity) in rows.iter().zip(identities) {
            match identity {
                Identity::Unrelated => (),
                Identity::Pending { service } => drop(listing.unsettled.insert(service)),
                Identity::Stranger { service, why, .. } => listing.strangers.push(Stranger {
                    id: ContainerId(row.id().to_owned()),
                    name: row.name().to_owned(),
                    service,
                    why,
                }),
                Identity::Replica { service, number, owner } => {
                    let condition = row.condition();
                    replicas.push((row.to_container(service, number, owner), condition));
                }
            }
        }
        let inspected: Vec<&str> =
            sources.iter().filter_map(|source| source.to_inspect()).collect();
        self.detail(&mut replicas, &inspected);
        let label_set = |source| self.label_set(source);
        listing.label_sets = sources.into_iter().map(label_set).collect();
        listing.containers = replicas.into_iter().map(|(container, _)| container).collect();
        let now = self.clock.now();
        let waits = [self.inspected.wait(now), self.images.wait(now)];
        listing.wait = waits.into_iter().flatten().min();
        Ok(listing)
    }

    /// Every container that has our label or, if asked for, compose's, each once.
    pub(super) fn rows(&self, of_compose: bool) -> Result<Vec<ListedContainer>> {
        let mut rows = self.listed(LABEL_SERVICE)?;
        if of_compose {
            // Clones carry both labels.
            let new = |row: &ListedContainer| !row.labels().contains_key(LABEL_SERVICE);
            rows.extend(self.listed(LABEL_HASH)?.into_iter().filter(new));
        }
        Ok(rows)
    }

    pub(super) fn identities(
        &self,
        rows: &[ListedContainer],
        adopted: &[Adopted],
        known: &BTreeSet<ContainerId>,
        more_images: &[&str],
    ) -> Vec<Identity> {
        let identity = |row: &ListedContainer, image: ImageLabels| {
            let is_known = known.contains(&ContainerId(row.id().to_owned()));
            identify(&Facts { labels: row.labels(), name: row.name(), image, is_known }, adopted)
        };
        // By image id: the labels of an id never change, so each is inspected once.
        let pending = |row: &&ListedContainer| {
            matches!(identity(row, ImageLabels::Pending), Identity::Pending { .. })
        };
        let images = rows.iter().filter(pending).map(ListedContainer::image_id);
        let images = images.chain(more_images.iter().copied()).filter(|id| !id.is_empty());
        self.images.update(images, &self.client, &self.clock, DETAILS_MAX);
        let one =
            |row: &ListedContainer| self.by_image(row.image_id(), |image| identity(row, image));
        rows.iter().map(one).collect()
    }

    /// Calls `of` with what is known of the image's labels.
    pub(super) fn by_image<T>(&self, id: &str, of: impl Fn(ImageLabels) -> T) -> T {
        let none = LabelMap::new();
        match self.images.get(id) {
            _ if id.is_empty() => of(ImageLabels::Unknown),
            Cached::Is(image) => of(ImageLabels::Are(image.labels().unwrap_or(&none))),
            Cached::Absent | Cached::Failed => of(ImageLabels::Unknown),
            Cached::Pending => of(ImageLabels::Pending),
        }
    }

    /// Adds what only an inspect shows; inspects also the containers `more`.
    fn detail(&self, replicas: &mut [(Container, String)], more: &[&str]) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        match journal.take_changed() {
            Some(ids) => ids.iter().for_each(|id| self.inspected.invalidate(&id.0)),
            None => self.inspected.invalidate_all(),
        }
        drop(journal);
        let mut before = self.last_states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut conditions = BTreeMap::new();
        for (container, condition) in &mut *replicas {
            let condition = std::mem::take(condition);
            if before.get(&container.id).is_some_and(|before| *before != condition) {
                self.inspected.invalidate(&container.id.0);
            }
            conditions.insert(container.id.clone(), condition);
        }
        *before = conditions;
        drop(before);
        for (container, _) in &*replicas {
            if container.docker_health == Some(DockerHealth::Healthy) {
                self.look_again(&container.id);
            }
        }
        let ids = replicas.iter().map(|(container, _)| container.id.0.as_str());
        let ids = ids.chain(more.iter().copied());
        self.inspected.update(ids, &self.client, &self.clock, DETAILS_MAX);
        let up_ms = (host_up_ms(), engine_up_ms(self.client.host()));
        for (container, _) in replicas {
            let has_exited = container.state == ContainerState::Exited;
            match self.inspected.get(&container.id.0) {
                Cached::Is(inspected) if !(has_exited && inspected.is_up()) => {
                    self.complete(container, &inspected, up_ms);
                }
                Cached::Is(_) | Cached::Absent | Cached::Pending | Cached::Failed => {
                    container.ended = has_exited.then(|| self.ended_unseen(container));
                }
            }
        }
    }

    /// Why a container exited that was not inspected since, by its events alone. While the inspect
    /// may still succeed, the end counts as just now.
    fn ended_unseen(&self, container: &Container) -> Ended {
        let now = self.clock.now();
        let seen = ExitSeen {
            exit_code: container.exit.map_or(0, |exit| exit.code),
            is_oom: false,
            finished_ms: (!self.inspected.is_failing(&container.id.0)).then_some(now.0),
            host_up_ms: 0,
            engine_up_ms: 0,
        };
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.ended(&container.id, &seen, now)
    }

    fn complete(&self, container: &mut Container, shown: &Inspected, up_ms: (u64, u64)) {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        container.started = shown.started_ms();
        container.restarts = shown.restarts();
        if container.state == ContainerState::Exited {
            let exit = shown.exit();
            container.exit = Some(exit);
            let (host_up_ms, engine_up_ms) = up_ms;
            let seen = ExitSeen {
                exit_code: exit.code,
                is_oom: exit.oom,
                finished_ms: shown.finished_ms(),
                host_up_ms,
                engine_up_ms,
            };
            container.ended = Some(journal.ended(&container.id, &seen, self.clock.now()));
        } else if 0 < container.restarts {
            let code = journal.exit_code(&container.id);
            container.exit = code.map(|code| Exit { code, oom: false });
        }
        match &mut container.docker_health {
            Some(DockerHealth::Unhealthy(complaint)) => *complaint = shown.complaint(),
            Some(health @ DockerHealth::Healthy) => {
                let age = self.unchecked(&container.id, shown);
                if let Some((age, _)) = age.filter(|(age, longest)| longest < age) {
                    *health = DockerHealth::Stale(age.as_secs());
                }
            }
            Some(DockerHealth::Starting | DockerHealth::Stale(_)) | None => (),
        }
    }

    /// Time since Docker's last health check at the time of the inspect, and the longest normal
    /// time. After a restart of dockerd with live-restore, Docker no longer runs checks of
    /// containers that kept running, and still reports them healthy.
    fn unchecked(&self, id: &ContainerId, shown: &Inspected) -> Option<(Duration, Duration)> {
        let (last_ms, longest) = shown.checked()?;
        let now_ms = u64::try_from(self.clock.wall().0).ok()?.saturating_mul(1000);
        let age = Duration::from_millis(now_ms.saturating_sub(last_ms));
        Some((age.saturating_sub(self.inspected.age(&id.0, self.clock.now())), longest))
    }

    /// Docker sends no event for a check with an unchanged result. So a container whose last known
    /// check is too old is inspected again, once in the longest normal time.
    fn look_again(&self, id: &ContainerId) {
        let Cached::Is(shown) = self.inspected.get(&id.0) else { return };
        let Some((age, longest)) = self.unchecked(id, &shown) else { return };
        let known_for = self.inspected.age(&id.0, self.clock.now());
        let is_due = if longest < age { longest <= known_for } else { longest < age + known_for };
        if is_due {
            self.inspected.invalidate_if_current(&id.0);
        }
    }
}

/// Boot time of the host, in milliseconds since 1970; 0: unknown.
fn host_up_ms() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    seconds.unwrap_or(0_u64).saturating_mul(1000)
}

/// Start time of the engine, in milliseconds since 1970; 0: unknown. At its start it writes its pid
/// file, by default beside its socket, and creates the socket unless systemd holds it. Behind TCP
/// it is taken for the engine of this host with Docker's own default.
fn engine_up_ms(host: &DockerHost) -> u64 {
    let socket = host.path().unwrap_or(Path::new(DEFAULT_SOCKET));
    let made = [socket.to_path_buf(), socket.with_extension("pid")].map(|path| {
        let written = fs::metadata(path).and_then(|file| file.modified());
        let since = written.ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        since.and_then(|since| u64::try_from(since.as_millis()).ok())
    });
    made.into_iter().flatten().max().unwrap_or(0)
}
