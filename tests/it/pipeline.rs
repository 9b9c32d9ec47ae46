//! `.gitlab-ci.yml`: it is YAML, its commands are there, and a deploy is begun by a person and
//! shows no key.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::doc_blocks::Known;

const PIPELINE: &str = ".gitlab-ci.yml";
const STAGES: [&str; 4] = ["check", "test", "build", "deploy"];

/// What shows a key, or takes whatever host answers. Also in what the deploy runs.
const LOOSE: &[&str] = &[
    "set -x",
    "xtrace",
    "set -o verbose",
    "ssh -v",
    "CI_DEBUG_TRACE",
    "StrictHostKeyChecking=no",
    "StrictHostKeyChecking=accept-new",
    "echo \"$PLIMSOLL_DEPLOY_KEY",
    "echo $PLIMSOLL_DEPLOY_KEY",
    "printenv",
];

#[track_caller]
fn read(yaml: &str) -> Value {
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(sys.stdin), sys.stdout)";
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let child = python.spawn();
    let mut child =
        child.unwrap_or_else(|e| panic!("{e}; contrib/setup.sh test gets python3-yaml"));
    child.stdin.take().unwrap().write_all(yaml.as_bytes()).unwrap();
    let read = child.wait_with_output().unwrap();
    assert!(read.status.success(), "{PIPELINE} is no YAML");
    serde_json::from_slice(&read.stdout).unwrap()
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect()
}

fn faults(yaml: &str) -> Vec<String> {
    let known = Known::new();
    let pipeline = read(yaml);
    let mut faults = Vec::new();
    if texts(&pipeline["stages"]) != STAGES {
        faults.push(format!("the stages are not {STAGES:?}"));
    }
    let jobs = pipeline.as_object().unwrap().iter().filter(|(name, _)| {
        !["stages", "default", "variables", "workflow", "include"].contains(&name.as_str())
    });
    let mut staged = Vec::new();
    for (name, job) in jobs {
        staged.push(job["stage"].as_str().unwrap_or_default());
        let lines = [texts(&job["before_script"]), texts(&job["script"])].concat();
        if texts(&job["script"]).is_empty() {
            faults.push(format!("{name} has no script"));
        }
        let wrong = lines.iter().flat_map(|line| known.faults(line));
        faults.extend(wrong.map(|fault| format!("{name}: {fault}")));
        let is_deploy = lines.iter().any(|line| line.contains("deploy"));
        if is_deploy || job["stage"] == "deploy" {
            faults.extend(deploy_faults(job).into_iter().map(|fault| format!("{name}: {fault}")));
        }
    }
    let empty = STAGES.iter().filter(|stage| !staged.contains(stage));
    faults.extend(empty.map(|stage| format!("no job is in stage {stage}")));
    let loose = LOOSE.iter().filter(|word| yaml.contains(**word));
    faults.extend(loose.map(|word| format!("it has `{word}`")));
    faults
}

fn deploy_faults(job: &Value) -> Vec<&'static str> {
    let rules = job["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let by_hand = |rule: &Value| rule["when"] == "manual" || rule["when"] == "never";
    let is_protected = |rule: &Value| {
        rule["if"].as_str().is_some_and(|rule| rule.contains("CI_COMMIT_REF_PROTECTED"))
    };
    let has_when = job["when"] == "manual" && rules.is_empty();
    let mut faults = Vec::new();
    if !has_when && (rules.is_empty() || !rules.iter().all(by_hand)) {
        faults.push("is not `when: manual`");
    }
    if !rules.iter().all(is_protected) || rules.is_empty() {
        faults.push("is not for protected branches alone");
    }
    if job["environment"].is_null() || job["resource_group"].is_null() {
        faults.push("has no environment and resource_group of its own");
    }
    faults
}

#[test]
fn it_is_good() {
    let yaml = fs::read_to_string(PIPELINE).unwrap();
    assert_eq!(faults(&yaml), Vec::<String>::new());
    let run = ["make check", "make check-examples", "make test", "make dist"];
    let missing: Vec<_> = run.iter().filter(|run| !yaml.contains(&format!("- {run}\n"))).collect();
    assert!(missing.is_empty(), "{PIPELINE} does not run {missing:?}");
}

#[test]
fn what_it_deploys_with_is_as_careful() {
    for script in ["contrib/deploy.sh", "contrib/deploy-target.sh"] {
        let text = fs::read_to_string(script).unwrap();
        let loose: Vec<_> = LOOSE.iter().filter(|word| text.contains(**word)).collect();
        assert!(loose.is_empty(), "{script} has {loose:?}");
    }
    let text = fs::read_to_string("contrib/deploy.sh").unwrap();
    for word in
        ["StrictHostKeyChecking=yes", "UserKnownHostsFile=", "GlobalKnownHostsFile=/dev/null"]
    {
        assert!(text.contains(word), "{word}");
    }
}

#[test]
fn a_careless_pipeline_is_found() {
    let good = fs::read_to_string(PIPELINE).unwrap();
    let bad = [
        ("when: manual", "when: on_success", "is not `when: manual`"),
        ("make dist", "make distt", "no target distt"),
        ("CI_COMMIT_REF_PROTECTED", "CI_COMMIT_BRANCH", "protected branches"),
        ("resource_group", "tags", "of its own"),
        ("- contrib/deploy.sh", "- set -x\n    - contrib/deploy.sh", "it has `set -x`"),
        ("contrib/deploy.sh \"", "contrib/deplo.sh \"", "contrib/deplo.sh is not there"),
        ("stage: test", "stage: check", "no job is in stage test"),
    ];
    for (from, to, reported) in bad {
        let found = faults(&good.replace(from, to));
        assert!(found.iter().any(|fault| fault.contains(reported)), "{to}: {found:?}");
    }
}
