//! Who has the host's processors, for the event that they are busy.

use crate::model::snapshot::Snapshot;

/// Services that are named.
const NAMED_MAX: usize = 5;

/// `it works for web 62%, api 20%, others 16%`: shares of all processors, by the samples of the
/// last evaluation. `None`: nothing is known of the processors.
pub(crate) fn text(snapshots: &[Snapshot]) -> Option<String> {
    let processor = snapshots.iter().find_map(|snapshot| snapshot.processor.state())?;
    let cores = u64::from(processor.cores.max(1));
    let used = |snapshot: &Snapshot| {
        let nano = snapshot.replicas.iter().filter_map(|replica| replica.usage.nano_cpus);
        // Hundredths of a percent.
        let share = nano.fold(0, u64::saturating_add) / 100_000 / cores;
        (share, snapshot.service.name.as_str().to_owned())
    };
    let mut users: Vec<(u64, String)> = snapshots.iter().map(used).collect();
    users.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    users.retain(|(share, _)| 100 <= *share);
    users.truncate(NAMED_MAX);
    let named = users.iter().fold(0, |sum: u64, (share, _)| sum.saturating_add(*share));
    let others = 100_00_u64.saturating_sub(processor.idle.hundredths()).saturating_sub(named);
    let all = users.into_iter().chain((100 <= others).then(|| (others, "others".to_owned())));
    let texts: Vec<String> = all.map(|(share, name)| format!("{name} {}%", share / 100)).collect();
    (!texts.is_empty()).then(|| format!("it works for {}", texts.join(", ")))
}
