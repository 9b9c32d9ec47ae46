//! Windows of local time against another implementation of the zone rules: Python's, over many
//! zones and years, with generated windows; and against a table of its former answers, which shows
//! when the zone database of either side changes. The first needs python3 and fails without it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::{Dir, PLIMSOLL};
use crate::golden;

/// Each with something of its own: half-hour and quarter-hour offsets, clocks that change by half
/// an hour, by two hours, at midnight, in Ramadan, on a Friday; a day that did not happen.
const ZONES: [&str; 44] = [
    "UTC",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Johannesburg",
    "Africa/Lagos",
    "America/Asuncion",
    "America/Bogota",
    "America/Caracas",
    "America/Chicago",
    "America/Havana",
    "America/Los_Angeles",
    "America/Mexico_City",
    "America/New_York",
    "America/Nuuk",
    "America/Phoenix",
    "America/Santiago",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Amman",
    "Asia/Beirut",
    "Asia/Dhaka",
    "Asia/Gaza",
    "Asia/Hong_Kong",
    "Asia/Jerusalem",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Asia/Pyongyang",
    "Asia/Shanghai",
    "Asia/Tehran",
    "Asia/Tokyo",
    "Atlantic/Azores",
    "Australia/Adelaide",
    "Australia/Eucla",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/Istanbul",
    "Europe/London",
    "Europe/Moscow",
    "Pacific/Apia",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
];
/// From 2011, so that Samoa's lost day is in it.
const FROM: i64 = 1_293_840_000;
const YEARS: i64 = 10;
const UNTIL: i64 = FROM + YEARS * 365 * 86_400;
/// What the checked-in table covers: two years for a few zones.
const TABLE_UNTIL: i64 = FROM + 2 * 365 * 86_400;

/// A linear congruential generator: the same windows on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % sides
    }

    fn time(&mut self) -> String {
        // Mostly where clocks change; else anywhere.
        let hour = if self.roll(3) == 0 { self.roll(24) } else { self.roll(5) };
        format!("{hour:02}:{:02}", 15 * self.roll(4))
    }

    fn window(&mut self, zone: &str) -> Value {
        let all = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let mut days: Vec<&str> = all.into_iter().filter(|_| self.roll(3) == 0).collect();
        // The day on which most clocks change.
        days.extend((!days.contains(&"sun")).then_some("sun"));
        let holidays: Vec<String> = (0..6)
            .map(|_| {
                format!(
                    "20{}-{:02}-{:02}",
                    11 + self.roll(10),
                    1 + self.roll(12),
                    1 + self.roll(28)
                )
            })
            .collect();
        let start = self.time();
        let end = self.time();
        json!({ "timezone": zone, "start": start, "end": end, "days": days, "holidays": holidays })
    }
}

fn service(dice: &mut Dice, zone: &str) -> Value {
    let mut schedules = Vec::new();
    for name in ["first", "second"] {
        let elsewhere = ZONES[usize::try_from(dice.roll(ZONES.len() as u64)).unwrap()];
        let zone = if dice.roll(2) == 0 { zone } else { elsewhere };
        let mut schedule = dice.window(zone);
        schedule["name"] = json!(name);
        schedule["min_replicas"] = json!(2 + dice.roll(3));
        schedule["max_replicas"] = json!(6 + dice.roll(3));
        schedule["prewarm"] = json!(format!("{}s", 60 * dice.roll(90)));
        schedules.push(schedule);
    }
    let outside =
        [json!("hold"), json!("min"), json!(5)][usize::try_from(dice.roll(3)).unwrap()].clone();
    json!({
        "image": "a", "port": 80, "min_replicas": 1, "max_replicas": 9,
        "scale_up_threshold": 75, "scale_down_threshold": 25,
        "business_hours_only": true, "business_hours": dice.window(zone), "outside_hours": outside,
        "schedules": schedules,
    })
}

fn config(dir: &Dir, zones: &[&str]) -> std::path::PathBuf {
    let mut dice = Dice(20_110_101);
    let services: BTreeMap<String, Value> =
        zones.iter().map(|zone| (zone.replace('/', "."), service(&mut dice, zone))).collect();
    dir.write("config.json", &json!({ "services": services }).to_string())
}

/// As the oracle writes it: instants, bounds, scaling, window.
fn course(config: &Path, name: &str, until: i64) -> Vec<Value> {
    let show = |at| chrono_text(at);
    let out = Command::new(PLIMSOLL)
        .args(["schedule", name, "--json", "--from", &show(FROM), "--until", &show(until)])
        .arg("--config")
        .arg(config)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let rows: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
    let row = |row: Value| {
        let at = chrono::DateTime::parse_from_rfc3339(row["at"].as_str().unwrap()).unwrap();
        json!([at.timestamp(), row["min"], row["max"], row["scaling"], row["window"]])
    };
    rows.into_iter().map(row).collect()
}

fn chrono_text(at: i64) -> String {
    chrono::DateTime::from_timestamp(at, 0).unwrap().to_rfc3339()
}

/// Needs python3 with its zone database (`zoneinfo`).
#[track_caller]
fn oracle(config: &Path, until: i64) -> String {
    let mut command = Command::new("python3");
    command.arg("tests/zones/oracle.py").arg(config);
    let out = command.arg(FROM.to_string()).arg(until.to_string()).output();
    let out = out.unwrap_or_else(|err| panic!("cannot run python3: {err}; install it"));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// How many rows were compared.
#[track_caller]
fn compare(config: &Path, answers: &str, until: i64) -> usize {
    let mut compared = 0;
    for line in answers.lines() {
        let (name, want): (String, Vec<Value>) = serde_json::from_str(line).unwrap();
        let got = course(config, &name, until);
        let differs = want.iter().zip(&got).find(|(want, got)| want != got);
        assert!(differs.is_none(), "{name}: the oracle's row, then ours: {differs:?}");
        assert_eq!(want.len(), got.len(), "{name}");
        compared += want.len();
    }
    compared
}

#[test]
fn windows_agree_with_another_implementation_of_the_zone_rules() {
    let dir = Dir::new("zones");
    let config = config(&dir, &ZONES);
    let compared = compare(&config, &oracle(&config, UNTIL), UNTIL);
    println!("{} zones, {YEARS} years: {compared} changes compared, 0 differ", ZONES.len());
    assert!(200_000 < compared, "{compared}");
}

/// `UPDATE=1` makes the table anew.
#[test]
fn windows_agree_with_the_table_of_the_other_implementation() {
    let dir = Dir::new("zones");
    let config = config(&dir, &["Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]);
    let table = Path::new("tests/zones/table.jsonl");
    if golden::is_update() {
        std::fs::write(table, oracle(&config, TABLE_UNTIL)).unwrap();
    }
    let answers = std::fs::read_to_string(table).unwrap();
    assert!(1_000 < compare(&config, &answers, TABLE_UNTIL));
}
