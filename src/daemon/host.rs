//! What the API shows of the host. Docker is asked at most as often as its answer can change.

use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::SystemClock;
use crate::docker::Docker;
use crate::model::host::Host;
use crate::model::time::Moment;
use crate::outside::{Clock, Engine};

const FRESH: Duration = Duration::from_secs(5);

/// A request that arrives while another one is being answered gets the previous answer, if any.
pub(crate) fn teller(
    engine: Arc<Docker>,
    clock: Arc<SystemClock>,
) -> Box<dyn Fn() -> Host + Send + Sync> {
    let told: Mutex<Told> = Mutex::default();
    Box::new(move || {
        {
            let mut told = lock(&told);
            if let Some((at, host)) = &told.last
                && (told.asking || clock.now().since(*at) < FRESH)
            {
                return host.clone();
            }
            told.asking = true;
        }
        let host = look(&engine);
        *lock(&told) = Told { last: Some((clock.now(), host.clone())), asking: false };
        host
    })
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct Told {
    last: Option<(Moment, Host)>,
    asking: bool,
}

/// As the kernel has it; `None` if it has none.
pub(super) fn name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn look(engine: &Docker) -> Host {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let memory = engine.host_memory();
    let own = Host {
        name: name(),
        cpus: std::thread::available_parallelism().ok().map(|cpus| cpus.get() as u64),
        load: load(&text("/proc/loadavg")),
        memory: memory.map(|memory| (memory.total, memory.available)),
        ..Host::default()
    };
    match engine.info() {
        Ok(info) => Host {
            name: Some(info.name),
            cpus: Some(info.cpus),
            containers: Some(info.containers),
            running: Some(info.running),
            ..own
        },
        Err(err) => Host { error: Some(err.to_string()), ..own },
    }
}

fn load(text: &str) -> Option<[f64; 3]> {
    let numbers: Vec<f64> = text.split(' ').take(3).map_while(|word| word.parse().ok()).collect();
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use crate::daemon::host::load;

    #[test]
    fn the_kernels_averages_are_read() {
        assert_eq!(load("0.25 1.00 12.50 3/456 789\n"), Some([0.25, 1.0, 12.5]));
        assert_eq!((load(""), load("0.25 x 1 2")), (None, None));
    }
}
