//! Made-up histories with known best answers, and the search's figures beside the simulator's.

mod agreement;
mod answers;
mod brief;

use std::f64::consts::PI;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::advise::advice::{Advice, AdviceInput, NoAdvice, advise};
use crate::advise::effort::Effort;
use crate::advise::fragment::keys;
use crate::advise::screen::changes;
use crate::config;
use crate::model::config::Config;
use crate::model::load_history::{MinuteLoad, MinuteRow};
use crate::model::metric::Milli;
use crate::model::service::Service;
use crate::model::time::Wall;
use crate::model::zone::Zone;
use crate::sim::random::Random;
use crate::sim::workload::LoadMetric;

/// A Monday, midnight in Berlin.
const MONDAY: i64 = 1_772_406_000;
const DAY: i64 = 24 * 3600;

/// Evaluated once a minute, which is a quarter of the work.
fn parsed(service: &str) -> (Config, Arc<Service>) {
    parsed_with(60, service)
}

fn parsed_with(interval: u32, service: &str) -> (Config, Arc<Service>) {
    let text = format!(
        r#"{{ "autoscaler": {{ "check_interval": {interval} }},
             "services": {{ "web": {{ "image": "a:1", "port": 80, {service} }} }} }}"#
    );
    let loaded = config::parse("made up", &text);
    let config = loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems));
    let service = config.services.values().next().unwrap().clone();
    (config, service)
}

/// Rows of so many days from Monday on, of the load at each second since then; a minute of a
/// negative load is missing. There were always replicas enough.
fn history(days: i64, metric: &str, load: impl Fn(i64) -> f64) -> Vec<MinuteRow> {
    let row = |minute: i64| {
        let load = load(60 * minute);
        let milli = Some(Milli((load * 1000.0).round() as u64));
        let of = MinuteLoad {
            forecast: None,
            metric: metric.to_owned(),
            target: Milli(1_000_000_000),
            average: milli,
            highest: milli,
        };
        (0.0 <= load).then(|| MinuteRow {
            at: Wall(MONDAY + 60 * minute),
            ready: 1,
            desired: 1,
            requests: 0,
            errors_5xx: 0,
            queue: 0,
            host_cpu: None,
            host_memory: None,
            loads: vec![of],
        })
    };
    (0..days * 1440).filter_map(row).collect()
}

/// A hill at noon above a floor.
fn hill(s: i64, floor: f64, high: f64) -> f64 {
    let day = (s % DAY) as f64 / DAY as f64;
    floor + high * (1.0 - (2.0 * PI * day).cos()) / 2.0
}

fn noise(random: &mut Random, load: f64, percent: u64) -> f64 {
    load * (100 - percent + random.below(2 * percent + 1)) as f64 / 100.0
}

#[derive(Clone, Copy)]
struct Situation {
    slo: f64,
    start_up_s: u64,
}

fn advice(service: &str, rows: &[MinuteRow], situation: Situation) -> Result<Advice, NoAdvice> {
    let (config, service) = parsed(service);
    let zone = Zone::find("Europe/Berlin").unwrap();
    advise(&AdviceInput {
        config: &config,
        service: &service,
        rows,
        slo: situation.slo,
        start_up: Duration::from_secs(situation.start_up_s),
        zone: &zone,
        effort: Effort::full(&|| true),
    })
}

/// The service as its owner has it after the advice: with the keys in place of the old ones.
fn followed(service: &str, advice: &Advice) -> String {
    let mut own: Map<String, Value> = serde_json::from_str(&format!("{{{service}}}")).unwrap();
    own.extend(keys(&changes(advice)));
    let text = Value::Object(own).to_string();
    let inner = text[1..text.len() - 1].to_owned();
    // What was pasted is what was judged.
    let (_, new) = parsed(&inner);
    let basis = LoadMetric::replayable(&advice.service).unwrap();
    assert_eq!(*new, advice.found.tuning.applied(&advice.service, &basis));
    inner
}
