//! The zone of this host's clock.

use std::{env, fs};

use crate::model::config::Config;
use crate::model::service::Service;
use crate::model::zone::Zone;

/// Where the zone is linked to.
const LOCAL_TIME: &str = "/etc/localtime";
const ZONE_FOLDER: &str = "zoneinfo/";

/// For schedules that are proposed: where people think of the service, else of this host.
pub(crate) fn for_schedules(config: &Config, service: &Service) -> Zone {
    config.zone_of(Some(service)).or_else(host_zone).unwrap_or(Zone::UTC)
}

fn host_zone() -> Option<Zone> {
    let named = env::var("TZ").ok().and_then(|name| Zone::find(name.trim_start_matches(':')));
    named.or_else(|| {
        let target = fs::read_link(LOCAL_TIME).ok()?;
        let (_, name) = target.to_str()?.split_once(ZONE_FOLDER)?;
        Zone::find(name)
    })
}
