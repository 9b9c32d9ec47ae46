//! What the scripted daemon says: four services, of which one has no ready replica; and from them
//! one service, or forty.

use std::fs;

use serde_json::{Map, Value, json};

use crate::site::Site;

/// When `answers.json` was said: 2026-11-28T03:12:00Z.
const NOW: i64 = 1_795_835_520;

fn answers() -> Map<String, Value> {
    let text = fs::read_to_string("tests/browser/answers.json").unwrap();
    let Value::Object(answers) = serde_json::from_str(&text).unwrap() else { unreachable!() };
    answers
}

/// A day's load in small, of `points` evaluations.
fn course(seconds: i64, points: i64, phase: f64) -> Value {
    let point = |i: i64| {
        let x = i as f64 / points as f64 * 12.0 + phase;
        let load = 0.75 + 0.3 * x.sin() + 0.08 * (x * 7.3).sin();
        let ready = (2.0 + 2.0 * load).round() as i64;
        json!([NOW - seconds + i * seconds / points, load, ready, ready.max(3)])
    };
    Value::Array((0..points).map(point).collect())
}

fn site_of(mut answers: Map<String, Value>) -> Site {
    let names = answers["/status"]["services"].as_array().unwrap().iter();
    let courses = names.zip(0..).map(|(service, i)| {
        (service["name"].as_str().unwrap().to_owned(), course(3600, 360, f64::from(i)))
    });
    let courses: Map<String, Value> = courses.collect();
    answers.insert("/history".to_owned(), Value::Object(courses));
    Site::new(answers.into_iter().collect())
}

pub(crate) fn four() -> Site {
    site_of(answers())
}

/// The service `api`, which is well.
pub(crate) fn one() -> Site {
    let mut answers = answers();
    let status = answers.get_mut("/status").unwrap();
    status["services"].as_array_mut().unwrap().truncate(1);
    status["problems"] = json!([]);
    answers.insert("/events".to_owned(), json!([]));
    site_of(answers)
}

/// The four, and 36 more that are well.
pub(crate) fn forty() -> Site {
    let mut answers = answers();
    let services = answers.get_mut("/status").unwrap()["services"].as_array_mut().unwrap();
    let well = services[0].clone();
    for i in 5..=40 {
        let mut more = well.clone();
        more["name"] = json!(format!("worker-{i:02}"));
        more["listen"] = json!(format!(":{}", 9000 + i));
        services.push(more);
    }
    site_of(answers)
}
