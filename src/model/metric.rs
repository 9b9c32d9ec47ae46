//! What a service is scaled by, beside the band on CPU.

use std::fmt;

use crate::model::endpoint::Endpoint;

/// Thousandths of a metric's own unit, as Kubernetes counts quantities: sums stay exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Milli(pub(crate) u64);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = format!("{:03}", self.0 % 1000);
        match part.trim_end_matches('0') {
            "" => write!(f, "{}", self.0 / 1000),
            part => write!(f, "{}.{part}", self.0 / 1000),
        }
    }
}

/// One number to hold at a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) source: Source,
    /// For each replica; percent for CPU and memory. More than 0.
    pub(crate) target: Milli,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Percent of each replica's CPU limit; without one, of one core.
    Cpu,
    /// Percent of each replica's memory limit; without one, of the host's.
    Memory,
    /// What HAProxy counts.
    Haproxy(Field),
    /// A number in a JSON document, for the service as a whole. `pointer` is RFC 6901's; empty is
    /// the document itself.
    Http { endpoint: Endpoint, pointer: String },
    /// The value of an instant query, for the service as a whole.
    Prometheus { endpoint: Endpoint, query: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    /// Requests in service, all servers together.
    Sessions,
    /// Requests that wait for a server.
    Queue,
    /// Requests a second.
    RequestRate,
    /// Average milliseconds to the response, of the last 1024 requests; 0 while there are none.
    ResponseTimeMs,
}

impl Source {
    /// Its name in output for people and programs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Source::Cpu => "cpu",
            Source::Memory => "memory",
            Source::Haproxy(Field::Sessions) => "haproxy sessions",
            Source::Haproxy(Field::Queue) => "haproxy queue",
            Source::Haproxy(Field::RequestRate) => "haproxy request_rate",
            Source::Haproxy(Field::ResponseTimeMs) => "haproxy response_time_ms",
            Source::Http { .. } => "http",
            Source::Prometheus { .. } => "prometheus",
        }
    }

    /// What its values are shown with.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Source::Cpu | Source::Memory => "%",
            Source::Haproxy(_) | Source::Http { .. } | Source::Prometheus { .. } => "",
        }
    }

    /// Its total is divided over the replicas, so that more of them have less of it each. A replica
    /// needs memory of its own, a time to the response is the same for all, and a queue is what
    /// they do not carry.
    pub(crate) fn is_divided(&self) -> bool {
        match self {
            Source::Cpu
            | Source::Haproxy(Field::Sessions | Field::RequestRate)
            | Source::Http { .. }
            | Source::Prometheus { .. } => true,
            Source::Memory | Source::Haproxy(Field::Queue | Field::ResponseTimeMs) => false,
        }
    }

    /// Asked over the network, for the service as a whole.
    pub(crate) fn is_remote(&self) -> bool {
        match self {
            Source::Cpu | Source::Memory | Source::Haproxy(_) => false,
            Source::Http { .. } | Source::Prometheus { .. } => true,
        }
    }
}

/// Whether the value of the metric of this name, as `Source` prints it, is a share of a total by
/// the number before the decision, as in HPA, whether these replicas are ready or not.
pub(crate) fn is_total(metric: &str) -> bool {
    let own = [Source::Cpu, Source::Memory, Source::Haproxy(Field::ResponseTimeMs)];
    !own.iter().any(|source| source.name() == metric)
}

/// As `Source::is_divided`, by the name.
pub(crate) fn is_divided(metric: &str) -> bool {
    let shared_by_none =
        [Source::Memory, Source::Haproxy(Field::Queue), Source::Haproxy(Field::ResponseTimeMs)];
    !shared_by_none.iter().any(|source| source.name() == metric)
}

/// Whether the value of the metric of this name says how each replica is, so that a sum over them
/// says nothing.
pub(crate) fn is_of_each(metric: &str) -> bool {
    !is_total(metric) && !is_divided(metric)
}

impl fmt::Display for Source {
    /// Distinguishes two of one kind, without parts of a URL that may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Source::Cpu | Source::Memory | Source::Haproxy(_) => Ok(()),
            Source::Http { endpoint, pointer } if pointer.is_empty() => write!(f, " {endpoint}"),
            Source::Http { endpoint, pointer } => write!(f, " {endpoint} {pointer}"),
            Source::Prometheus { endpoint, query } => {
                write!(f, " {endpoint} {}", shortened(query, QUERY_SHOWN))
            }
        }
    }
}

/// Characters of a query that tell which one it is.
const QUERY_SHOWN: usize = 80;

/// At most `longest` characters of it.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    let mut short: String = text.chars().take(longest).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

/// What one metric showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Each replica has a sample of its own.
    Replicas,
    /// Of all replicas together.
    Total(Milli),
    /// Already an average, whatever the number of replicas.
    Average(Milli),
    /// Why there is none.
    Failed(String),
    /// Too early to say: nothing was asked yet, or one look too few was taken.
    Pending,
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reading::Replicas => f.write_str("of each replica"),
            Reading::Total(value) => write!(f, "{value}"),
            Reading::Average(value) => write!(f, "{value} on average"),
            Reading::Failed(why) => write!(f, "failed: {why}"),
            Reading::Pending => f.write_str("pending"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::endpoint::Endpoint;
    use crate::model::metric::{Field, Milli, Source, is_divided, is_of_each, is_total, shortened};

    #[test]
    fn thousandths_print_no_more_than_they_know() {
        for (milli, text) in [(0, "0"), (1, "0.001"), (1_500, "1.5"), (20_010, "20.01")] {
            assert_eq!(Milli(milli).to_string(), text);
        }
    }

    #[test]
    fn a_source_is_shown_without_secrets() {
        let endpoint = Endpoint::new("http://me:pass@a/b?c");
        let http = Source::Http { endpoint: endpoint.clone(), pointer: "/d".to_owned() };
        assert_eq!(http.to_string(), "http http://a/b /d");
        let prometheus = Source::Prometheus { endpoint, query: "x".repeat(81) };
        let want = format!("prometheus http://a/b {}…", "x".repeat(80));
        assert_eq!(prometheus.to_string(), want);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        for (text, short) in [("", ""), ("äö", "äö"), ("äöü", "äö…")] {
            assert_eq!(shortened(text, 2), short);
        }
    }

    #[test]
    fn totals_are_shared_by_the_number_and_the_rest_by_the_ready_replicas() {
        for (metric, want) in [
            ("cpu", false),
            ("memory", false),
            ("haproxy response_time_ms", false),
            ("haproxy sessions", true),
            ("haproxy queue", true),
            ("haproxy request_rate", true),
            ("http http://a/load /queued", true),
            ("prometheus http://a up", true),
        ] {
            assert_eq!(is_total(metric), want, "{metric}");
        }
    }

    #[test]
    fn what_replicas_divide_is_known_by_its_name_too() {
        for (source, is_one_each) in [
            (Source::Cpu, false),
            (Source::Memory, true),
            (Source::Haproxy(Field::Sessions), false),
            (Source::Haproxy(Field::Queue), false),
            (Source::Haproxy(Field::RequestRate), false),
            (Source::Haproxy(Field::ResponseTimeMs), true),
        ] {
            let name = source.to_string();
            assert_eq!(is_divided(&name), source.is_divided(), "{name}");
            assert_eq!(is_of_each(&name), is_one_each, "{name}");
        }
        assert!(is_divided("http a:1 /load") && !is_of_each("prometheus a:1 sum(b)"));
    }
}
