//! Webhooks against a scripted server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::webhooks::outbox::ROOM;
use crate::daemon::webhooks::{ReportEvent, RetryPolicy, WebhookSender, end};
use crate::model::endpoint::Endpoint;
use crate::model::event::{Entry, Event, Kind, Phase};
use crate::model::notification::{Webhook, WebhookFormat};
use crate::model::url;
use crate::report::series::Series;
use crate::report::telemetry::Telemetry;

const PATIENCE: RetryPolicy = RetryPolicy {
    tries: 3,
    first: Duration::from_millis(5),
    longest: Duration::from_millis(10),
    timeout: Duration::from_millis(500),
};
/// On a busy machine.
const BOUND: Duration = Duration::from_secs(30);

/// Answers each POST with the next of these statuses, and with 200 after them; 0 is no answer.
/// Gives its address and the bodies, as they come.
fn server(statuses: &[u16]) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a-secret", listener.local_addr().unwrap());
    let (sender, bodies) = mpsc::channel();
    let statuses = statuses.to_vec();
    thread::spawn(move || {
        let mut held = Vec::new();
        let mut statuses = statuses.into_iter();
        for stream in listener.incoming().flatten() {
            let body = body(&stream);
            match statuses.next().unwrap_or(200) {
                0 => held.push(stream),
                status => answer(stream, status),
            }
            if sender.send(body).is_err() {
                return;
            }
        }
    });
    (url, bodies)
}

fn body(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.to_ascii_lowercase().trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("content-type", value)) => assert_eq!(value, "application/json"),
            Some(_) => (),
            None if line.starts_with("POST /a-secret") => (),
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    String::from_utf8(body).unwrap()
}

fn answer(mut stream: TcpStream, status: u16) {
    // Too long to be waited for in a test.
    let wait = if status == 429 { "Retry-After: 200\r\n" } else { "" };
    let answer = format!("HTTP/1.1 {status} X\r\n{wait}Content-Length: 0\r\n\r\n");
    // A client that gave up is its own affair.
    drop(stream.write_all(answer.as_bytes()));
}

fn json_to(url: &str) -> Webhook {
    Webhook {
        endpoint: Endpoint::new(url),
        format: WebhookFormat::Json,
        events: Vec::new(),
        min_level: log::Level::Info,
        every: Duration::ZERO,
    }
}

fn hook(url: &str, events: &[&str], telemetry: &Arc<Telemetry>) -> WebhookSender {
    let events = events.iter().map(|pattern| (*pattern).to_owned()).collect();
    let webhook = Webhook { events, ..json_to(url) };
    let report: ReportEvent = Arc::new(drop);
    WebhookSender::with(PATIENCE, 0, &webhook, telemetry, &report).unwrap()
}

fn other() -> Event {
    Event::new(Kind::ScaleUp, "")
}

fn entry(json: &str) -> Entry {
    Entry { at_ms: 0, kind: String::new(), service: None, json: json.to_owned() }
}

fn dropped(telemetry: &Telemetry) -> u64 {
    telemetry.read().numbers[&(Series::EventsDropped, Vec::new())]
}

#[test]
fn an_event_is_sent_again_until_it_is_taken_or_refused() {
    for (statuses, events, want, lost) in [
        (&[][..], &["a", "b"][..], &["a", "b"][..], 0),
        (&[500, 408], &["a", "b"], &["a", "a", "a", "b"], 0),
        (&[0, 204], &["a", "b"], &["a", "a", "b"], 0),
        (&[404], &["a", "b"], &["a", "b"], 1),
        (&[302, 200], &["a", "b"], &["a", "b"], 1),
        // Given up, and the next one tried once.
        (&[500, 500, 500, 503], &["a", "b", "c"], &["a", "a", "a", "b", "c"], 2),
    ] {
        let telemetry = Arc::new(Telemetry::new());
        let (url, bodies) = server(statuses);
        let hook = hook(&url, &[], &telemetry);
        events.iter().for_each(|event| assert!(hook.tell(&other(), &entry(event))));
        for want in want {
            assert_eq!(bodies.recv_timeout(BOUND).unwrap(), *want, "{statuses:?}");
        }
        end(vec![hook]);
        assert_eq!(dropped(&telemetry), lost, "{statuses:?}");
    }
}

#[test]
fn only_what_is_meant_is_sent() {
    let telemetry = Arc::new(Telemetry::new());
    let (url, bodies) = server(&[]);
    let hook = hook(&url, &["health.*", "scale.up"], &telemetry);
    for kind in [Kind::ScaleDown, Kind::ScaleUp, Kind::ScaleCapped, Kind::HealthSuspect] {
        assert!(hook.tell(&Event::new(kind, ""), &entry(kind.word())));
    }
    drop(hook);
    let got: Vec<String> = bodies.iter().take(2).collect();
    assert_eq!(got, ["scale.up", "health.suspect"]);
}

#[test]
fn a_dead_hook_holds_nobody_up_and_what_it_misses_is_known() {
    let telemetry = Arc::new(Telemetry::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // It takes connections, and answers none.
    let hook = hook(&url, &[], &telemetry);
    let refused = (0..2 * ROOM).filter(|_| !hook.tell(&other(), &entry("a"))).count();
    assert!((ROOM - 2..=ROOM).contains(&refused), "{refused}");
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        end(vec![hook]);
        done.send(()).unwrap();
    });
    ended.recv_timeout(BOUND).unwrap();
}

#[test]
fn that_it_fails_and_works_again_is_reported_once_each_and_not_to_itself() {
    let telemetry = Arc::new(Telemetry::new());
    let (sender, reports) = mpsc::sync_channel(8);
    let report: ReportEvent = Arc::new(move |event| sender.send(event).unwrap());
    let (url, bodies) = server(&[500, 503, 404, 200, 200]);
    let host = url::host(&url).to_owned();
    let hook = WebhookSender::with(PATIENCE, 3, &json_to(&url), &telemetry, &report).unwrap();
    ["a", "b", "c"].iter().for_each(|json| assert!(hook.tell(&other(), &entry(json))));
    let began = reports.recv_timeout(BOUND).unwrap();
    assert_eq!((began.kind, began.phase), (Kind::WebhookFailed, Phase::Started));
    let message = format!("notifications[3] at {host} takes no events: it answered 500");
    assert_eq!(began.message, message);
    let ended = reports.recv_timeout(BOUND).unwrap();
    assert_eq!((ended.kind, ended.phase), (Kind::WebhookFailed, Phase::Resolved));
    let again = format!("notifications[3] at {host} takes events again; dropped: 1 event");
    assert_eq!(ended.message, format!("resolved: {again}"));
    assert!(hook.tell(&began, &entry("about itself")));
    let about_another = Event { webhook: Some(0), ..began };
    assert!(hook.tell(&about_another, &entry("about another")));
    drop((hook, report));
    let got: Vec<String> = bodies.iter().take(6).collect();
    assert_eq!(got, ["a", "a", "a", "b", "c", "about another"]);
    assert!(reports.recv_timeout(BOUND).is_err(), "nothing else is reported");
}

#[test]
fn a_pause_that_the_receiver_asks_for_is_kept_and_the_end_does_not_wait_for_it() {
    let telemetry = Arc::new(Telemetry::new());
    let (url, bodies) = server(&[429]);
    let hook = hook(&url, &[], &telemetry);
    assert!(hook.tell(&other(), &entry("a")));
    assert_eq!(bodies.recv_timeout(BOUND).unwrap(), "a");
    // Without it, the next try would be after 5 ms.
    assert!(bodies.recv_timeout(Duration::from_millis(300)).is_err(), "it is tried again at once");
    end(vec![hook]);
    assert_eq!(dropped(&telemetry), 1);
}

#[test]
fn what_is_held_back_is_sent_when_its_time_is_over_and_at_the_end() {
    let telemetry = Arc::new(Telemetry::new());
    let report: ReportEvent = Arc::new(drop);
    for every in [Duration::from_secs(3600), Duration::from_millis(20)] {
        let (url, bodies) = server(&[]);
        let webhook = Webhook { every, ..json_to(&url) };
        let hook = WebhookSender::with(PATIENCE, 0, &webhook, &telemetry, &report).unwrap();
        (0..4).for_each(|_| assert!(hook.tell(&other(), &entry(r#"{"a":1}"#))));
        assert_eq!(bodies.recv_timeout(BOUND).unwrap(), r#"{"a":1}"#);
        if every < BOUND {
            let next = bodies.recv_timeout(BOUND).unwrap();
            assert!(next.starts_with(r#"{"a":1"#), "{next}");
            continue;
        }
        end(vec![hook]);
        let last = bodies.recv_timeout(BOUND).unwrap();
        assert_eq!(last, r#"{"a":1,"more":2,"since":"1970-01-01T00:00:00Z"}"#);
    }
    assert_eq!(dropped(&telemetry), 0);
}

#[test]
fn a_condition_that_stands_is_ended_by_an_alert_with_the_same_labels() {
    let telemetry = Arc::new(Telemetry::new());
    let report: ReportEvent = Arc::new(drop);
    let (url, bodies) = server(&[]);
    let webhook = Webhook { format: WebhookFormat::Alertmanager, ..json_to(&url) };
    let hook = WebhookSender::with(PATIENCE, 0, &webhook, &telemetry, &report).unwrap();
    let began = Event::new(Kind::ScaleCapped, "no memory").service("web");
    let ended = Event::resolved(Kind::ScaleCapped, "memory").service("web");
    for (at_ms, event) in [(1000, began), (5000, ended)] {
        assert!(hook.tell(&event, &Entry { at_ms, ..entry("") }));
    }
    let alert = || -> Value {
        let body: Value = serde_json::from_str(&bodies.recv_timeout(BOUND).unwrap()).unwrap();
        body[0].clone()
    };
    let (began, ended) = (alert(), alert());
    assert_eq!(began["labels"], ended["labels"]);
    assert_eq!(began["startsAt"], ended["startsAt"]);
    assert_eq!(
        (&began["endsAt"], &ended["endsAt"]),
        (&"1970-01-01T00:05:01.000Z".into(), &"1970-01-01T00:00:05.000Z".into())
    );
}
