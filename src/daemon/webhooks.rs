//! Webhooks: each event to each hook that wants it, by a POST of its own. Every hook has a thread
//! and a bounded queue, so that one which is slow or dead delays nothing but itself.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::Duration;

use crate::daemon::spawn::spawn;
use crate::model::config::Webhook;
use crate::model::endpoint::Endpoint;
use crate::model::event::{Entry, Event, Kind, is_meant};
use crate::model::{units, url};
use crate::net::SystemNet;
use crate::outside::Result;
use crate::report::telemetry::Telemetry;

/// Events that wait for a hook.
const QUEUE: usize = 256;
const PATIENCE: RetryPolicy = RetryPolicy {
    tries: 8,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
    timeout: Duration::from_secs(10),
};
/// How long the end of the daemon waits for what was not sent yet.
const LAST_POSTS: Duration = Duration::from_secs(3);

/// How often an event is sent, and what lies between two tries: twice as long each time.
#[derive(Clone, Copy, Debug)]
struct RetryPolicy {
    tries: u32,
    first: Duration,
    longest: Duration,
    timeout: Duration,
}

/// Takes an event that is to be recorded.
pub(crate) type ReportEvent = Arc<dyn Fn(Event) + Send + Sync>;

/// Dropped, it sends what waits once each, until one fails.
pub(crate) struct WebhookSender {
    /// Its place in `notifications`.
    at: usize,
    events: Vec<String>,
    queue: SyncSender<Entry>,
    /// Gone with the hook, which its thread notices.
    _stays: SyncSender<()>,
    ended: Receiver<()>,
}

impl WebhookSender {
    pub(crate) fn start(
        at: usize,
        webhook: &Webhook,
        telemetry: &Arc<Telemetry>,
        report: &ReportEvent,
    ) -> Result<WebhookSender> {
        WebhookSender::with(PATIENCE, at, webhook, telemetry, report)
    }

    fn with(
        patience: RetryPolicy,
        at: usize,
        webhook: &Webhook,
        telemetry: &Arc<Telemetry>,
        report: &ReportEvent,
    ) -> Result<WebhookSender> {
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        let (_stays, leaves) = mpsc::sync_channel(0);
        let (ends, ended) = mpsc::sync_channel(1);
        let mut post = Post {
            at,
            endpoint: Endpoint::new(webhook.url.expose()),
            net: SystemNet::new(),
            patience,
            telemetry: telemetry.clone(),
            report: report.clone(),
            leaves,
            failing: None,
        };
        spawn(&format!("hook-{at}"), move || {
            while let Ok(entry) = waiting.recv() {
                post.send(&entry);
            }
            drop(ends);
        })?;
        Ok(WebhookSender { at, events: webhook.events.clone(), queue, _stays, ended })
    }

    /// False when there was no room for it. A webhook gets no event about itself: one that refuses
    /// just these would cause the next.
    pub(crate) fn tell(&self, event: &Event, entry: &Entry) -> bool {
        if event.webhook == Some(self.at) {
            return true;
        }
        let is_wanted = self.events.is_empty()
            || self.events.iter().any(|pattern| is_meant(&entry.kind, pattern));
        !is_wanted || self.queue.try_send(entry.clone()).is_ok()
    }
}

/// Waits for all of them together, within reason.
pub(crate) fn end(hooks: Vec<WebhookSender>) {
    let ended: Vec<Receiver<()>> = hooks.into_iter().map(|hook| hook.ended).collect();
    let share = LAST_POSTS / u32::try_from(ended.len().max(1)).unwrap_or(u32::MAX);
    for ended in ended {
        // Ended or out of time: either way the daemon ends.
        let _ = ended.recv_timeout(share);
    }
}

struct Post {
    at: usize,
    endpoint: Endpoint,
    net: SystemNet,
    patience: RetryPolicy,
    telemetry: Arc<Telemetry>,
    report: ReportEvent,
    leaves: Receiver<()>,
    /// Events that were given up since it works no more.
    failing: Option<u64>,
}

/// What became of one try.
enum Tried {
    Taken,
    /// A retry would be refused again.
    Refused(String),
    Failed(String),
}

impl Post {
    /// Once an event was given up, those after it are tried once each, until one is taken.
    fn send(&mut self, entry: &Entry) {
        let is_lost = self.failing.is_some_and(|lost| 0 < lost);
        if is_lost && self.leaves.try_recv() == Err(TryRecvError::Disconnected) {
            return self.give_up();
        }
        let tries = if is_lost { 1 } else { self.patience.tries };
        let mut pause = if is_lost { self.patience.longest } else { self.patience.first };
        for left in (0..tries).rev() {
            match self.once(entry) {
                Tried::Taken => return self.works(),
                Tried::Refused(why) => {
                    self.fails(&why);
                    return self.give_up();
                }
                Tried::Failed(why) => self.fails(&why),
            }
            if left == 0 && !is_lost {
                break;
            }
            if self.leaves.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                break;
            }
            pause = (pause * 2).min(self.patience.longest);
        }
        self.give_up();
    }

    fn once(&self, entry: &Entry) -> Tried {
        let body = ("application/json", entry.json.as_bytes());
        let answer = self.net.post(&self.endpoint, body, 0, self.patience.timeout);
        match answer.map(|answer| answer.status) {
            Ok(200..=299) => Tried::Taken,
            // Not in time, too many at once: that may be otherwise soon.
            Ok(status @ (408 | 429 | 500..=599)) => Tried::Failed(format!("it answered {status}")),
            Ok(status) => Tried::Refused(format!("it answered {status}")),
            Err(err) => Tried::Failed(err.to_string()),
        }
    }

    fn give_up(&mut self) {
        self.telemetry.dropped(1);
        *self.failing.get_or_insert(0) += 1;
    }

    /// Reported once when it begins.
    fn fails(&mut self, why: &str) {
        if self.failing.is_none() {
            self.failing = Some(0);
            let message = format!("{} takes no events: {why}", self.name());
            self.report(Event::new(Kind::WebhookFailed, message));
        }
    }

    fn works(&mut self) {
        if let Some(lost) = self.failing.take() {
            let lost = units::plural(lost, "event");
            let how = format!("{} takes events again; dropped: {lost}", self.name());
            self.report(Event::resolved(Kind::WebhookFailed, &how));
        }
    }

    /// Not once the hook is gone: its place may be another's by then.
    fn report(&self, event: Event) {
        if self.leaves.try_recv() != Err(TryRecvError::Disconnected) {
            (self.report)(Event { webhook: Some(self.at), ..event });
        }
    }

    /// The URL's path often contains a secret, so only its host is shown.
    fn name(&self) -> String {
        format!("notifications[{}] at {}", self.at, url::host(self.endpoint.url.expose()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::mpsc::{self, Receiver};
    use std::thread;
    use std::time::Duration;

    use crate::daemon::webhooks::{QUEUE, ReportEvent, RetryPolicy, WebhookSender, end};
    use crate::model::config::Webhook;
    use crate::model::event::{Entry, Event, Kind, Phase};
    use crate::model::secret::Secret;
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
                None if line.starts_with("POST /a-secret ") => (),
                None => break,
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    fn answer(mut stream: TcpStream, status: u16) {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        // A client that gave up is its own affair.
        drop(stream.write_all(answer.as_bytes()));
    }

    fn hook(url: &str, events: &[&str], telemetry: &Arc<Telemetry>) -> WebhookSender {
        let events = events.iter().map(|pattern| (*pattern).to_owned()).collect();
        let webhook = Webhook { url: Secret::new(url.to_owned()), events };
        let report: ReportEvent = Arc::new(drop);
        WebhookSender::with(PATIENCE, 0, &webhook, telemetry, &report).unwrap()
    }

    fn other() -> Event {
        Event::new(Kind::ScaleUp, "")
    }

    fn entry(json: &str) -> Entry {
        let kind = json.split('#').next().unwrap().to_owned();
        Entry { at_ms: 0, kind, service: None, json: json.to_owned() }
    }

    fn dropped(telemetry: &Telemetry) -> u64 {
        telemetry.read().numbers[&(Series::EventsDropped, Vec::new())]
    }

    #[test]
    fn an_event_is_sent_again_until_it_is_taken_or_refused() {
        for (statuses, events, want, lost) in [
            (&[][..], &["a", "b"][..], &["a", "b"][..], 0),
            (&[500, 429], &["a", "b"], &["a", "a", "a", "b"], 0),
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
        for kind in ["scale.down", "health", "scale.up", "scale.up.more", "health.suspect"] {
            assert!(hook.tell(&other(), &entry(&format!("{kind}#"))));
        }
        drop(hook);
        let got: Vec<String> = bodies.iter().take(2).collect();
        assert_eq!(got, ["scale.up#", "health.suspect#"]);
    }

    #[test]
    fn a_dead_hook_holds_nobody_up_and_what_it_misses_is_known() {
        let telemetry = Arc::new(Telemetry::new());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        // It takes connections, and answers none.
        let hook = hook(&url, &[], &telemetry);
        let refused = (0..2 * QUEUE).filter(|_| !hook.tell(&other(), &entry("a"))).count();
        assert!((QUEUE - 2..=QUEUE).contains(&refused), "{refused}");
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
        let webhook = Webhook { url: Secret::new(url), events: Vec::new() };
        let hook = WebhookSender::with(PATIENCE, 3, &webhook, &telemetry, &report).unwrap();
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
        drop(hook);
        let got: Vec<String> = bodies.iter().take(6).collect();
        assert_eq!(got, ["a", "a", "a", "b", "c", "about another"]);
        assert!(reports.recv_timeout(BOUND).is_err(), "nothing else is reported");
    }
}
