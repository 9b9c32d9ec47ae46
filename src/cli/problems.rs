//! The problems that stand, as `status`, `explain` and `healthcheck --verbose` print them.

use chrono::DateTime;
use serde_json::Value;

use crate::cli::paint::{Colour, Paint};
use crate::cli::table::{hanging, span, word};
use crate::model::units::plural;

const INDENT: &str = "          ";

/// Those of `document`, also of one service only. `at` is the time of the document.
pub(crate) fn of<'d>(document: &'d Value, service: Option<&str>) -> Vec<&'d Value> {
    let all = document["problems"].as_array().into_iter().flatten();
    all.filter(|problem| service.is_none_or(|name| problem["service"] == name)).collect()
}

/// Each with its message, its age and what to do.
pub(crate) fn lines(problems: &[&Value], at: &Value, paint: Paint, width: usize) -> Vec<String> {
    problems.iter().flat_map(|problem| one(problem, at, paint, width)).collect()
}

fn one(problem: &Value, at: &Value, paint: Paint, width: usize) -> Vec<String> {
    let severity = word(&problem["severity"]);
    let colour = if severity == "critical" { Colour::Bad } else { Colour::Odd };
    let subject = problem["service"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
    let message = format!("{subject}{}", word(&problem["message"]));
    let mut lines: Vec<String> = hanging(&format!("{severity:<8}  "), &message, width)
        .iter()
        .map(|line| paint.paint(colour, line))
        .collect();
    lines.extend(hanging(&format!("{INDENT}fix: "), &word(&problem["fix"]), width));
    let since = &problem["since"];
    let since = match ago(at, since) {
        Some(ago) => format!("{INDENT}since {}, {ago} ago", word(since)),
        None => format!("{INDENT}since {}", word(since)),
    };
    lines.push(paint.paint(Colour::Faint, &since));
    lines
}

/// How long before the time `now` a time was.
pub(crate) fn ago(now: &Value, at: &Value) -> Option<String> {
    let time = |value: &Value| DateTime::parse_from_rfc3339(value.as_str()?).ok();
    let seconds = (time(now)? - time(at)?).num_seconds();
    Some(span(u64::try_from(seconds).unwrap_or(0)))
}

/// `1 problem`, `3 problems, 1 of them critical`.
pub(crate) fn counted(problems: &[&Value]) -> String {
    let critical = problems.iter().filter(|problem| problem["severity"] == "critical").count();
    let all = plural(problems.len() as u64, "problem");
    match critical {
        0 => all,
        _ if critical == problems.len() => format!("{all}, critical"),
        _ => format!("{all}, {critical} of them critical"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::cli::paint::Paint;
    use crate::cli::problems::{counted, lines, of};
    use crate::cli::table::ended;

    #[test]
    fn each_problem_names_cause_fix_and_age() {
        let web = json!({
            "since": "2026-11-23T10:00:00Z", "kind": "service.none_ready", "service": "web",
            "severity": "critical", "message": "none of 2 replicas is ready: web-1: refused",
            "fix": "let the app listen on 0.0.0.0",
        });
        let mut docker = web.clone();
        docker["service"] = json!(null);
        docker["severity"] = json!("warning");
        let document = json!({ "problems": [web, docker] });
        let at = json!("2026-11-23T10:05:00Z");
        let all = of(&document, None);
        let want = "\
critical  web: none of 2 replicas
          is ready: web-1: refused
          fix: let the app listen
               on 0.0.0.0
          since 2026-11-23T10:00:00Z, 5m ago
";
        let web = of(&document, Some("web"));
        assert_eq!(ended(&lines(&web, &at, Paint::none(), 35)), want);
        assert_eq!(counted(&web), "1 problem, critical");
        assert_eq!(counted(&all), "2 problems, 1 of them critical");
        assert_eq!(counted(&all[1..]), "1 problem");
    }
}
