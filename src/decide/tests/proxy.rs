//! When HAProxy is reloaded, when server states are set, and when it is left alone.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::decide::proxy::{ProxyPlan, plan_proxy, remember, remember_update};
use crate::decide::tests::{NOW, S, address};
use crate::model::action::{Action, ActionError, RollbackState};
use crate::model::health::HealthCheck;
use crate::model::proxy::{
    Backend, Lingering, ProxyMemory, ProxySeen, ReloadFailure, Routes, SeenServer, Server,
    WakeServer,
};
use crate::model::replica::{AdminState, ServerCheck, ServerSeen};
use crate::model::service::{Listen, Retry, ServiceName};
use crate::model::sleep::SleepPolicy;
use crate::model::time::Moment;
use crate::model::traffic_policy::TrafficPolicy;

const MIN_RELOAD_INTERVAL: Duration = Duration::from_secs(2);

/// One row is `ours seen applied [facts…] | answer`. Lists are numbers of servers with commas;
/// behind a number a tilde stands for one that drains, a bang for one that is out of use, a
/// question mark for one that HAProxy has not looked at, `@N` for one at another's address; `:P` at
/// the end is the port that the service listens on. `-` is an empty list; `silent`, that HAProxy
/// does not answer; `none`, that nothing was applied yet. `reloaded=MS` and `updated=MS` are how
/// long ago the last one ended, `failed=COUNT/MS/LIST` gives failures in a row, `unset`,
/// that HAProxy did not take the last order, `fixed`, that its servers cannot change while it runs,
/// `stale`, that it has an earlier certificate, `old=N` counts earlier processes, `lingering=MS`,
/// that one of them, number 7, still listens so long after its successor serves.
#[track_caller]
fn table(rows: &str) {
    let mut bad = String::new();
    for row in rows.lines().map(str::trim).filter(|r| !r.is_empty()) {
        let (input, want) = row.split_once('|').expect("a row is `world | answer`");
        let mut words = input.split_whitespace();
        let mut next = || words.next().expect("ours seen applied");
        let mut ours = routes(next());
        let mut seen = seen(next());
        let applied = next();
        let applied = (applied != "none").then(|| routes(applied));
        let mut memory = ProxyMemory { applied, ..ProxyMemory::default() };
        for fact in words {
            match fact.split_once('=').unwrap_or((fact, "")) {
                ("reloaded", ms) => memory.reloaded_at = Some(ago(ms)),
                ("updated", ms) => memory.servers_updated_at = Some(ago(ms)),
                ("old", count) => {
                    let count = count.parse().unwrap();
                    seen.iter_mut().for_each(|seen| seen.old_processes = count);
                }
                ("lingering", ms) => {
                    let lingering = Lingering { process: 7, since: ago(ms) };
                    seen.iter_mut().for_each(|seen| seen.lingering.push(lingering));
                }
                ("stale", _) => seen.iter_mut().for_each(|seen| seen.is_stale = true),
                // Its requests are to go to the daemon, or not, and do or do not.
                ("wake", state) => {
                    let is_ready = state == "ready";
                    let policy = SleepPolicy::default();
                    let wake = Some(WakeServer { policy, is_ready });
                    let all = memory.applied.iter_mut().chain([&mut ours]);
                    all.for_each(|routes| routes.backends[0].wake = wake);
                }
                ("wakes", state) => {
                    let is_ready = state == "ready";
                    let state = if is_ready { AdminState::Ready } else { AdminState::Maint };
                    let seen = seen.as_mut().unwrap();
                    seen.wakes.insert("web".to_owned(), state);
                }
                ("unset", _) => memory.is_state_unset = true,
                ("fixed", _) => seen.iter_mut().for_each(|seen| seen.takes_dynamic_servers = false),
                ("failed", value) => {
                    let [count, ms, list] = value.split('/').collect::<Vec<_>>()[..] else {
                        panic!("failed=COUNT/MS/LIST");
                    };
                    let routes = routes(list);
                    let count = count.parse().unwrap();
                    let left_out = BTreeSet::new();
                    let words = String::new();
                    let at = ago(ms);
                    memory.failure = Some(ReloadFailure { routes, left_out, words, at, count });
                }
                (other, _) => panic!("no such fact: {other}"),
            }
        }
        let got = plan_proxy(NOW, &ours, seen.as_ref(), &memory, MIN_RELOAD_INTERVAL);
        let got = shown(&got, &ours);
        if got != want.trim() {
            bad += &format!("\n  {input}| {got}\n    but the table says {want}");
        }
    }
    assert!(bad.is_empty(), "rows that differ:{bad}");
}

fn ago(ms: &str) -> Moment {
    Moment(NOW.0 - ms.parse::<u64>().unwrap())
}

fn shown(plan: &ProxyPlan, ours: &Routes) -> String {
    match plan {
        ProxyPlan::Nothing => "nothing".to_owned(),
        ProxyPlan::Wait(left) => format!("wait {}", left.as_millis()),
        ProxyPlan::Crowded { old_processes } => format!("crowded {old_processes}"),
        ProxyPlan::Do(Action::Reload { routes }) => {
            assert_eq!(routes, ours, "a reload brings HAProxy to what is desired now");
            "reload".to_owned()
        }
        ProxyPlan::Do(Action::UpdateServers { routes }) => {
            assert_eq!(routes, ours, "so does an update of servers");
            "update".to_owned()
        }
        ProxyPlan::Do(action) => action.to_string(),
    }
}

/// Name, address, admin state, and whether it was checked.
fn entries(list: &str) -> Vec<(String, u32, AdminState, bool)> {
    let entry = |word: &str| {
        let is_checked = !word.contains('?');
        let admin_state = match word.chars().find(|c| "~!".contains(*c)) {
            Some('~') => AdminState::Drain,
            Some(_) => AdminState::Maint,
            None => AdminState::Ready,
        };
        let word = word.trim_end_matches(['~', '!', '?']);
        let (name, at) = word.split_once('@').unwrap_or((word, word));
        (format!("web-{name}"), at.parse().unwrap(), admin_state, is_checked)
    };
    list.split(',').filter(|w| *w != "-").map(entry).collect()
}

fn routes(list: &str) -> Routes {
    let (list, port) = list.split_once(':').unwrap_or((list, "80"));
    let server = |(name, at, admin_state, _)| {
        assert_ne!(admin_state, AdminState::Maint, "nobody is to have a server out of use");
        Server { name, address: address(at), draining: admin_state == AdminState::Drain }
    };
    let backend = Backend {
        service: ServiceName::new("web").unwrap(),
        listen: Some(Listen { address: None, port: port.parse().unwrap() }),
        routes: Vec::new(),
        health: HealthCheck::default(),
        retry: Retry::Connect,
        policy: TrafficPolicy::default(),
        is_single: false,
        wake: None,
        servers: entries(list).into_iter().map(server).collect(),
    };
    Routes { backends: vec![backend], ..Routes::default() }
}

fn seen(list: &str) -> Option<ProxySeen> {
    let server = |(name, at, admin_state, is_checked)| SeenServer {
        backend: "web".to_owned(),
        name,
        seen: ServerSeen {
            address: address(at),
            admin_state,
            is_checked,
            sessions: 1,
            check: ServerCheck::default(),
        },
    };
    let servers = || entries(list).into_iter().map(server).collect();
    let seen =
        || ProxySeen { servers: servers(), takes_dynamic_servers: true, ..ProxySeen::default() };
    (list != "silent").then(seen)
}

#[test]
fn what_is_right_is_left_alone() {
    table(
        "
        1,2    1,2      1,2                     | nothing
        1,2    2,1      1,2                     | nothing
        1,2~   1,2~     1,2                     | nothing
        -      -        -                       | nothing
        1,2    1,2      1,2   reloaded=1        | nothing
    ",
    );
}

#[test]
fn who_drains_is_told_to_the_running_process() {
    table(
        "
        1,2~   1,2      1,2                     | set server state web-2=drain
        1,2    1,2~     1,2                     | set server state web-2=ready
        1~,2   1,2~     1,2                     | set server state web-2=ready
        1,2~   1,2      1,2   reloaded=1        | set server state web-2=drain
        1,2~   1,2!     1,2                     | set server state web-2=drain
        1,2    1,2!     1,2                     | set server state web-2=ready
        1,2~   1,2      none                    | set server state web-2=drain
        1,2~   1,2      1,2   unset             | set server state web-2=drain
    ",
    );
}

/// The first server leaves maintenance, or what waits would go on to wait: HAProxy's queue is not
/// taken by a server that leaves drain.
#[test]
fn requests_wait_at_the_daemon_while_no_server_serves() {
    table(
        "
        -      -        -     wake=ready wakes=ready  | nothing
        -      -        -     wake=ready wakes=maint  | set server state wake=ready
        1      -        -     wake=ready wakes=ready  | update
        1      1~?      1     wake=ready wakes=ready  | wait 50
        1      1~       1     wake=ready wakes=ready  | set server state web-1=maint web-1=ready wake=maint
        1      1!       1     wake=ready wakes=ready  | set server state web-1=ready wake=maint
        1      1        1     wake=maint wakes=ready  | set server state wake=maint
        1      1        1     wake=maint wakes=maint  | nothing
        1,2    1,2~     1,2   wake=maint wakes=maint  | set server state web-2=ready
        1~     1        1     wake=ready wakes=maint  | set server state wake=ready web-1=drain
        1~     1        1     wake=ready wakes=ready  | set server state web-1=drain
        1~     1~       1     wake=ready wakes=ready  | nothing
        1      1~       1     wake=ready wakes=maint  | set server state web-1=ready
        -      -        -     wake=maint wakes=ready  | set server state wake=maint
    ",
    );
}

#[test]
fn a_new_server_gets_requests_once_haproxy_looked_at_it() {
    table(
        "
        1,2    1,2~?    1,2                     | wait 250
        1,2    1,2~     1,2                     | set server state web-2=ready
        1,2~   1,2~?    1,2                     | nothing
        1,2    1?,2     1,2                     | nothing
    ",
    );
}

#[test]
fn whoever_goes_stays_until_those_have_come_that_take_its_place() {
    table(
        "
        1~,2   1        1                       | update
        1~,2   1,2~?    1,2                     | wait 250
        1~,2   1,2~     1,2                     | set server state web-2=ready
        1~,2   1,2      1,2                     | set server state web-1=drain
        1~     1        1                       | set server state web-1=drain
        1~,2,3 1,2      1                       | update
        1~,2,3 1,2      none failed=3/0/1,2,3   | wait 4000
        1~,3   1        none failed=3/3999/1,3  | wait 1
    ",
    );
}

/// Docker gives its address away again, and a reload may be long in coming.
#[test]
fn what_should_not_be_there_is_put_out_of_use_before_all_else() {
    table(
        "
        1      1,2      1,2                             | set server state web-2=maint
        1      1,2~     1,2                             | set server state web-2=maint
        1      1,2      1,2  fixed reloaded=1           | set server state web-2=maint
        1      1,2      none failed=7/0/1               | set server state web-2=maint
        1,2    1,2@9    1,2                             | set server state web-2=maint
        1,2    1,2,9    1,2                             | set server state web-9=maint
        -      1        1                               | set server state web-1=maint
        1      1,2      1,2  unset                  | update
        1      1,2      1,2  unset fixed            | reload
    ",
    );
}

#[test]
fn servers_come_and_go_while_haproxy_runs() {
    table(
        "
        1,2    1        1                               | update
        1,2    1        1    reloaded=1                 | update
        1      1,2!     1,2                             | update
        -      1!       1                               | update
        1,2    1,3!     1,3                             | update
        1,2    1,2@9!   1,2                             | update
        1,2    1,2      1                               | update
        1,2    1        1:81                            | reload
        1,2    1        none                            | reload
        1,2    1        1    fixed                      | reload
        1,2    1        1    failed=1/0/1               | reload
    ",
    );
}

#[test]
fn what_idle_clients_hold_on_to_is_swept_up_later() {
    table(
        "
        1      1,2!     1    updated=4999               | wait 1
        1      1,2!     1    updated=5000               | update
        1      1,2!     1                               | update
        1      1,2!     1    fixed                      | nothing
        1,3    1,2!     1    updated=1                  | update
    ",
    );
}

#[test]
fn what_cannot_change_while_it_runs_is_a_reload() {
    table(
        "
        1,2    1        1     fixed             | reload
        1      1,2!     1,2   fixed             | reload
        1,2    1,3!     1,3   fixed             | reload
        1,2~   1        1     fixed             | reload
        1,2    1,2      none                    | reload
        1,2    1,2      1     fixed             | reload
        1:81   1        1:80                    | reload
        1:80   1        1:80                    | nothing
    ",
    );
}

#[test]
fn a_new_certificate_is_a_reload_once_the_servers_are_right() {
    table(
        "
        1,2    1,2      1,2   stale                   | reload
        1,2    1,2      1,2   stale reloaded=1999     | wait 1
        1,2    1        1     stale                   | update
        1,2~   1,2      1,2   stale                   | set server state web-2=drain
        1,2    1,2      none  stale failed=3/3999/1,2 | wait 1
    ",
    );
}

#[test]
fn a_reload_waits_while_too_many_earlier_processes_finish() {
    table(
        "
        1:81   1        1     old=9                   | reload
        1:81   1        1     old=10                  | crowded 10
        1,2    1        1     old=10                  | update
        1,2    1,2      1,2   old=10                  | nothing
        1:81   silent   1     old=10                  | reload
    ",
    );
}

#[test]
fn reloads_keep_their_distance() {
    table(
        "
        1:81   1        1     reloaded=1999     | wait 1
        1:81   1        1     reloaded=2000     | reload
        1:81   1        1     reloaded=0        | wait 2000
        1,2    1,2      none  reloaded=1999     | wait 1
    ",
    );
}

#[test]
fn a_process_that_is_not_there_is_started_at_once() {
    table(
        "
        1,2    silent   1,2                     | reload
        1,2    silent   1,2   reloaded=1        | reload
        1,2    silent   none                    | reload
        -      silent   -     reloaded=1        | reload
    ",
    );
}

#[test]
fn what_failed_is_tried_again_ever_more_slowly() {
    table(
        "
        1,2    1        none  failed=1/999/1,2        | wait 1
        1,2    1        none  failed=1/1000/1,2       | reload
        1,2    1        none  failed=2/1999/1,2       | wait 1
        1,2    1        none  failed=2/2000/1,2       | reload
        1,2    1        none  failed=6/31999/1,2      | wait 1
        1,2    1        none  failed=6/32000/1,2      | reload
        1,2    1        none  failed=7/59999/1,2      | wait 1
        1,2    1        none  failed=7/60000/1,2      | reload
        1,2    1        none  failed=99/59999/1,2     | wait 1
        1,2    1        none  failed=99/60000/1,2     | reload
        1,2    silent   none  failed=3/3999/1,2       | wait 1
        1,2    silent   none  failed=3/4000/1,2       | reload
        1,2~   1        none  failed=3/3999/1,2       | wait 1
    ",
    );
}

#[test]
fn other_routes_than_those_that_failed_wait_for_no_retry() {
    table(
        "
        1,3    1        none  failed=7/0/1,2                  | reload
        1,3    1        none  failed=7/0/1,2 reloaded=1999    | wait 1
        1,3    1        none  failed=7/0/1,2 reloaded=2000    | reload
        1,3    1        1     failed=7/0/1,2                  | reload
        1,3    silent   none  failed=7/0/1,2 reloaded=0       | reload
        1:81   1        none  failed=7/0/1:80                 | reload
    ",
    );
}

fn trouble(rollback_state: RollbackState) -> ActionError {
    ActionError { message: "no".to_owned(), rollback_state }
}

#[test]
fn the_end_of_a_reload_is_remembered() {
    let fresh = ProxyMemory::default();
    let good = remember(NOW, &routes("1,2~"), None, &fresh);
    let applied = Some(routes("1,2~"));
    let want = ProxyMemory { applied, reloaded_at: Some(NOW), ..ProxyMemory::default() };
    assert_eq!(good, want);

    let later = NOW.plus(S);
    let failed = |count, list| {
        let left_out = BTreeSet::new();
        let words = "no".to_owned();
        Some(ReloadFailure { routes: routes(list), left_out, words, at: later, count })
    };
    let before = trouble(RollbackState::AsBefore);
    let before = Some(&before);
    let once = remember(later, &routes("1,3"), before, &good);
    assert_eq!(once.failure, failed(1, "1,3"));
    assert_eq!(
        (once.applied.as_ref(), once.reloaded_at),
        (None, Some(later)),
        "what runs is unsure"
    );
    let twice = remember(later, &routes("1~,3"), before, &once);
    assert_eq!(twice.failure, failed(2, "1~,3"), "who drains is not in the file");
    let other = remember(later, &routes("1,4"), before, &twice);
    assert_eq!(other.failure, failed(1, "1,4"), "another list begins anew");
    assert_eq!(remember(later, &routes("1,4"), None, &other).failure, None);
}

#[test]
fn what_a_reload_left_out_is_tried_again_while_the_rest_goes_on() {
    let partly = trouble(RollbackState::PartiallyApplied { left_out: BTreeSet::new() });
    let memory = remember(NOW, &routes("1,2"), Some(&partly), &ProxyMemory::default());
    assert!(memory.applied.is_some() && memory.failure.is_some());
    let at = |ms: u64, desired: &str, shown: Option<&str>| {
        let now = Moment(NOW.0 + ms);
        let seen = shown.and_then(seen);
        plan_proxy(now, &routes(desired), seen.as_ref(), &memory, Duration::from_secs(2))
    };
    assert_eq!(at(999, "1,2", Some("1,2")), ProxyPlan::Wait(Duration::from_millis(1)));
    assert!(matches!(at(1000, "1,2", Some("1,2")), ProxyPlan::Do(Action::Reload { .. })));
    assert!(matches!(at(500, "1,2~", Some("1,2")), ProxyPlan::Do(Action::SetServerStates { .. })));
    // HAProxy went away: that is worth no waiting.
    assert!(matches!(at(1, "1,2", None), ProxyPlan::Do(Action::Reload { .. })));
    assert!(matches!(at(1999, "1,3", Some("1")), ProxyPlan::Wait(_)));
    assert!(matches!(at(2000, "1,3", Some("1")), ProxyPlan::Do(Action::Reload { .. })));
}

#[test]
fn an_earlier_process_that_still_listens_is_ended_after_two_seconds() {
    table(
        "
        1      1        1     lingering=0                     | wait 2000
        1      1        1     lingering=1999                  | wait 1
        1      1        1     lingering=2000                  | end haproxy [7]
        1      1        1     lingering=2000 lingering=1999   | end haproxy [7]
        1      1        1     old=1                           | nothing
        1,2~   1,2      1,2   lingering=2000                  | set server state web-2=drain
        1      1        1     lingering=1000 updated=0        | wait 1000
        1:81   1        1     lingering=2000                  | end haproxy [7]
        1:81   1        1     lingering=1999                  | reload
        1      silent   1                                     | reload
    ",
    );
}

#[test]
fn what_haproxy_does_not_take_is_not_waited_for() {
    let mut both = routes("1");
    both.backends.push(Backend {
        service: ServiceName::new("bad").unwrap(),
        ..routes("2").backends.remove(0)
    });
    let left_out: BTreeSet<String> = ["bad".to_owned()].into();
    let trouble = trouble(RollbackState::PartiallyApplied { left_out: left_out.clone() });
    let memory = remember(NOW, &both, Some(&trouble), &ProxyMemory::default());
    assert_eq!(memory.failure.as_ref().map(|f| &f.left_out), Some(&left_out));
    let plan = |ms: u64, routes: &Routes| {
        let now = Moment(NOW.0 + ms);
        plan_proxy(now, routes, seen("1").as_ref(), &memory, MIN_RELOAD_INTERVAL)
    };
    // As often as a part that failed is tried again, and not in a row.
    assert_eq!(plan(999, &both), ProxyPlan::Wait(Duration::from_millis(1)));
    assert!(matches!(plan(1000, &both), ProxyPlan::Do(Action::Reload { .. })));
    // The config is corrected.
    both.backends[1].health.interval *= 2;
    assert!(matches!(plan(2000, &both), ProxyPlan::Do(Action::Reload { .. })));
}

#[test]
fn what_haproxy_refused_while_it_ran_is_put_right_by_a_reload() {
    let before = remember(NOW, &routes("1"), None, &ProxyMemory::default());
    let later = NOW.plus(S);
    let good = remember_update(later, &routes("1,2"), false, &before);
    assert_eq!((&good.applied, good.reloaded_at), (&Some(routes("1,2")), Some(NOW)));
    let refused = remember_update(later, &routes("1,2"), true, &before);
    let plan = |shown: &str, memory: &ProxyMemory| {
        let at = NOW.plus(S * 3);
        plan_proxy(at, &routes("1,2"), seen(shown).as_ref(), memory, MIN_RELOAD_INTERVAL)
    };
    assert!(matches!(plan("1", &refused), ProxyPlan::Do(Action::Reload { .. })));
    assert!(matches!(plan("1,2", &refused), ProxyPlan::Do(Action::Reload { .. })));
    assert_eq!(plan("1,2", &good), ProxyPlan::Nothing);
}
