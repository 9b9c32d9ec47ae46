//! Creates a replica from the config and starts it.

use std::sync::{Arc, PoisonError};

use crate::docker::Docker;
use crate::docker::api_types::{Created, ListedContainer};
use crate::docker::client::{ApiResponse, Call};
use crate::docker::create_body::create_body;
use crate::docker::engine_calls::Method;
use crate::docker::labels::LABEL_SERVICE;
use crate::docker::owner::Identity;
use crate::model::owner::Owner;
use crate::model::service::{Adopted, Service};
use crate::model::url;
use crate::outside::{Error, Result};

impl Docker {
    pub(super) fn start_own(&self, service: &Service, number: u32, most: u32) -> Result<String> {
        let name = service.name.as_str();
        let made = self.one_at_a_time(name, || {
            let rows = self.listed(&format!("{LABEL_SERVICE}={name}"))?;
            let rows = self.identified(rows, &[]);
            let is_it = |identity: &Identity| match identity {
                Identity::Replica { service: its, number: of, owner } => {
                    its == name && *of == number && *owner == Owner::Ours
                }
                Identity::Stranger { .. } | Identity::Pending { .. } | Identity::Unrelated => false,
            };
            if let Some((row, _)) = rows.iter().find(|(_, identity)| is_it(identity)) {
                return Ok((row.id().to_owned(), false));
            }
            refuse_more(name, &rows, most)?;
            self.create(service, number).map(|id| (id, true))
        });
        let (id, is_new) = made?;
        let joined = self.join_networks(&id, service);
        if is_new {
            self.or_removed(&id, joined)?;
            self.run_new(&id)?;
        } else {
            joined?;
            self.run(&id)?;
        }
        Ok(id)
    }

    /// Runs `make` while no other container of the service is being created, so that each is
    /// counted before the next one is created.
    pub(super) fn one_at_a_time<T>(
        &self,
        service: &str,
        make: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut locks = self.create_locks.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = locks.entry(service.to_owned()).or_default().clone();
        // Locks of removed services are dropped.
        locks.retain(|name, lock| name == service || 1 < Arc::strong_count(lock));
        drop(locks);
        let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        make()
    }

    /// Each container with its identity, by what is known now.
    pub(super) fn identified(
        &self,
        rows: Vec<ListedContainer>,
        adopted: &[Adopted],
    ) -> Vec<(ListedContainer, Identity)> {
        let known = self.last_query.lock().unwrap_or_else(PoisonError::into_inner).known.clone();
        let identities = self.identities(&rows, adopted, &known, &[]);
        rows.into_iter().zip(identities).collect()
    }

    fn create(&self, service: &Service, number: u32) -> Result<String> {
        let name = service.replica_name(number);
        let answer = self.make(&name, &create_body(service, number)?)?;
        match answer.status {
            404 if answer.message().contains("image") => Err(Error::new(format!(
                "image {} is no longer on this host",
                service.container.origin
            ))),
            409 => Err(Error::new(format!(
                "the name {name} is taken by a container that is not ours; rename or remove that \
                 container"
            ))),
            _ => answer.ok().and_then(|answer| Ok(answer.json::<Created>()?.id)),
        }
    }

    pub(super) fn make(&self, name: &str, body: &[u8]) -> Result<ApiResponse> {
        let call = Call {
            method: Method::Post,
            query: &[("name", name)],
            body: Some(body),
            idempotent: false,
            ..Call::get("/containers/create")
        };
        self.client.call(call, self.timeout)
    }

    /// Joins the networks after the first, in which the container was created. Engines before API
    /// 1.44 can create a container in one network only.
    fn join_networks(&self, id: &str, service: &Service) -> Result<()> {
        for network in service.container.networks.iter().skip(1) {
            self.join(network, format!(r#"{{"Container":"{id}"}}"#).as_bytes())?;
        }
        Ok(())
    }

    pub(super) fn join(&self, network: &str, body: &[u8]) -> Result<()> {
        let mut name = String::new();
        url::encode(network, &mut name);
        let path = format!("/networks/{name}/connect");
        let call = Call { method: Method::Post, body: Some(body), ..Call::get(&path) };
        let answer = self.client.call(Call { idempotent: false, ..call }, self.timeout)?;
        // Already a member, as after an interrupted start.
        let is_in = answer.status == 403 && answer.message().contains("already exists");
        if is_in { Ok(()) } else { answer.ok().map(drop) }
    }

    pub(super) fn run(&self, id: &str) -> Result<()> {
        self.ask_to_run(id)?.map(drop)
    }

    /// Starts a container that was created now. One that Docker refuses to start is removed again.
    /// Without an answer it may run already, and serve: it stays, and the next tick decides.
    pub(super) fn run_new(&self, id: &str) -> Result<()> {
        let started = self.ask_to_run(id)?.map(drop);
        self.or_removed(id, started)
    }

    /// The outer error means that Docker did not answer.
    fn ask_to_run(&self, id: &str) -> Result<Result<ApiResponse>> {
        let path = format!("/containers/{id}/start");
        let call = Call { method: Method::Post, ..Call::get(&path) };
        let answer = self.client.call(call, self.timeout)?;
        // 304: already running.
        Ok(if answer.status == 304 { Ok(answer) } else { answer.ok() })
    }

    /// Removes a container that was created now and could not be started.
    pub(super) fn or_removed(&self, id: &str, started: Result<()>) -> Result<()> {
        started.map_err(|err| match self.delete(id, true) {
            Ok(()) => err,
            Err(left) => Error::caused(format!("{err}; and it could not be removed again"), left),
        })
    }
}

/// An error when the service has `most` containers or more, whatever the state of the service says.
/// Containers whose labels come from their image were made by somebody else and do not count.
pub(super) fn refuse_more(
    service: &str,
    rows: &[(ListedContainer, Identity)],
    most: u32,
) -> Result<()> {
    let mut count = 0_usize;
    let mut by_hand = Vec::new();
    for (row, identity) in rows {
        let its = match identity {
            Identity::Stranger { is_copy: true, .. } | Identity::Unrelated => continue,
            Identity::Stranger { service, is_copy: false, .. }
            | Identity::Replica { service, .. }
            | Identity::Pending { service } => service,
        };
        if its != service {
            continue;
        }
        if matches!(identity, Identity::Stranger { .. }) {
            by_hand.push(row.name());
        }
        count += 1;
    }
    if u32::try_from(count).is_ok_and(|count| count < most) {
        return Ok(());
    }
    let named = by_hand.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    let hint = if named.is_empty() {
        String::new()
    } else {
        format!("; {named} have its labels but are no replicas: remove them")
    };
    Err(Error::new(format!(
        "service {service} has {count} containers, and the limit is {most}{hint}"
    )))
}
