//! The value of an instant query.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::model::endpoint::Endpoint;
use crate::model::metric::{Milli, shortened};
use crate::model::url;
use crate::observe::metric::{ANSWER_BYTES_MAX, milli_of_text};
use crate::outside::{Error, Net, Result};

#[derive(Deserialize)]
struct PrometheusResponse {
    data: Option<Data>,
    /// Why there is no data.
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(rename = "resultType")]
    kind: String,
    result: Value,
}

/// A time and a value.
#[derive(Deserialize)]
struct PrometheusSample(#[allow(dead_code, reason = "the time, which is now")] Value, String);

#[derive(Deserialize)]
struct Series {
    /// Not there for a native histogram.
    value: Option<PrometheusSample>,
}

/// Characters of Prometheus' own message that are shown.
const WORDS_SHOWN: usize = 200;

pub(crate) fn ask(net: &dyn Net, base: &Endpoint, query: &str, timeout: Duration) -> Result<Milli> {
    let endpoint = base.at(address(base.url.expose(), query)?);
    let (status, body) = net.get(&endpoint, ANSWER_BYTES_MAX, timeout)?;
    let answer = serde_json::from_slice::<PrometheusResponse>(&body);
    if let Ok(PrometheusResponse { error: Some(words), .. }) = &answer {
        return Err(Error::new(format!("prometheus says: {}", shortened(words, WORDS_SHOWN))));
    }
    if !(200..=299).contains(&status) {
        let why = format!("the answer is {status}; is this the address of a Prometheus?");
        return Err(Error::new(why));
    }
    let odd = |err| Error::caused("the answer is not that of a Prometheus", err);
    let data = answer.map_err(odd)?.data.ok_or_else(|| {
        Error::new("the answer is not that of a Prometheus: it holds neither data nor an error")
    })?;
    let sample = match data.kind.as_str() {
        "scalar" => serde_json::from_value::<PrometheusSample>(data.result).map_err(odd)?,
        "vector" => only(serde_json::from_value::<Vec<Series>>(data.result).map_err(odd)?)?,
        other => {
            return Err(Error::new(format!(
                "the query returns a {}; expected an instant vector of one series, or a scalar",
                shortened(other, WORDS_SHOWN)
            )));
        }
    };
    milli_of_text(&sample.1)
}

fn address(base: &str, query: &str) -> Result<String> {
    if base.contains(['?', '#']) {
        return Err(Error::new(
            "the address of a Prometheus has no `?` and no `#`; the query has a key of its own",
        ));
    }
    let mut address = format!("{}/api/v1/query?query=", base.trim_end_matches('/'));
    url::encode(query, &mut address);
    Ok(address)
}

fn only(series: Vec<Series>) -> Result<PrometheusSample> {
    let count = series.len();
    let mut series = series.into_iter();
    match (series.next(), count) {
        (None, _) => Err(Error::new("the query returns no series; is the metric there at all?")),
        (Some(first), 1) => {
            let why = "the query returns a histogram; take histogram_quantile() or the like of it";
            first.value.ok_or_else(|| Error::new(why))
        }
        (Some(_), _) => Err(Error::new(format!(
            "the query returns {count} series, expected one; put sum() or max() around it"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::endpoint::Endpoint;
    use crate::model::metric::Milli;
    use crate::observe::metric::prometheus::ask;
    use crate::observe::metric::scripted::Scripted;

    #[track_caller]
    fn check(status: u16, body: &str, want: Result<u64, &str>) {
        let net = Scripted::new(status, body);
        let got = ask(&net, &Endpoint::new("http://p:9090"), "up", Duration::from_secs(1));
        match want {
            Ok(milli) => assert_eq!(got.map_err(|e| e.to_string()), Ok(Milli(milli)), "{body}"),
            Err(why) => {
                let err = got.expect_err(body).to_string();
                assert!(err.contains(why), "{err}");
            }
        }
    }

    #[track_caller]
    fn check_data(kind: &str, result: &str, want: Result<u64, &str>) {
        let body =
            format!(r#"{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}}}"#);
        check(200, &body, want);
    }

    #[test]
    fn the_query_is_appended_whatever_the_base_ends_with() {
        let path = "/api/v1/query?query=sum%28rate%28x%7Ba%3D%22b%26c%22%7D%5B1m%5D%29%29";
        for base in ["http://p:9090", "http://p:9090/", "http://p/a/b", "http://p/a/b//"] {
            let net = Scripted::new(500, "");
            ask(&net, &Endpoint::new(base), r#"sum(rate(x{a="b&c"}[1m]))"#, Duration::from_secs(1))
                .unwrap_err();
            let base = base.trim_end_matches('/');
            assert_eq!(net.asked(), [format!("{base}{path}")]);
        }
        for base in ["http://p?x=secret", "http://p/#secret"] {
            let net = Scripted::new(200, "");
            let err = ask(&net, &Endpoint::new(base), "up", Duration::from_secs(1))
                .unwrap_err()
                .to_string();
            assert!(err.contains("has no `?` and no `#`") && !err.contains("secret"), "{err}");
            assert_eq!(net.asked(), [""; 0]);
        }
    }

    #[test]
    fn one_series_or_a_scalar_gives_its_value() {
        let one = |value: &str| format!(r#"[{{"metric":{{"a":"b"}},"value":[1.5,"{value}"]}}]"#);
        check_data("scalar", r#"[1435781451.781,"1.5"]"#, Ok(1_500));
        check_data("vector", &one("20"), Ok(20_000));
        check_data("vector", &one("1.5e+06"), Ok(1_500_000_000));
        check_data("vector", &one("-0"), Ok(0));
        for (value, why) in [
            ("NaN", r#""NaN" is no number that can be counted with"#),
            ("+Inf", r#""+Inf" is no number that can be counted with"#),
            ("-Inf", "is no number that can be counted with"),
            ("-1", "-1 is less than 0"),
            ("1e17", "100000000000000000 is too large"),
        ] {
            check_data("vector", &one(value), Err(why));
        }
    }

    #[test]
    fn no_series_and_several_are_errors_with_the_way_out() {
        check_data("vector", "[]", Err("the query returns no series"));
        let two = r#"[{"value":[1,"1"]},{"value":[1,"1"]}]"#;
        check_data("vector", two, Err("returns 2 series, expected one; put sum() or max()"));
        check_data("vector", r#"[{"histogram":[1,{}]}]"#, Err("the query returns a histogram"));
        check_data("matrix", "[]", Err("the query returns a matrix; expected an instant vector"));
        check_data("string", r#"[1,"x"]"#, Err("the query returns a string"));
    }

    #[test]
    fn prometheus_own_words_are_passed_on_shortened() {
        let refusal = |words: &str| {
            format!(r#"{{"status":"error","errorType":"bad_data","error":"{words}"}}"#)
        };
        check(400, &refusal("1:3: parse error"), Err("prometheus says: 1:3: parse error"));
        check(503, &refusal("query timed out"), Err("prometheus says: query timed out"));
        let long = format!("says: {}…", "x".repeat(200));
        check(422, &refusal(&"x".repeat(201)), Err(&long));
    }

    #[test]
    fn what_is_no_prometheus_is_told() {
        let other = "the answer is not that of a Prometheus";
        check(404, "not found", Err("the answer is 404; is this the address of a Prometheus?"));
        check(302, "", Err("the answer is 302"));
        check(200, "<html>", Err(other));
        check(200, "{}", Err("it holds neither data nor an error"));
        check(200, "[]", Err(other));
        check_data("scalar", "7", Err(other));
        check_data("vector", r#"[{"value":["1"]}]"#, Err(other));
    }
}
