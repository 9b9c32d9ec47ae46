//! Whatever goes wrong when HAProxy is reloaded: its clients are served by what worked last, the
//! log says which step failed and in whose words, and it is over when its cause is.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command};

use crate::daemon::{Daemon, reached, secs};
use crate::load::Load;
use crate::testbed::{HAPROXY, Testbed, everyone};

/// A daemon, with an operator's own file, while clients ask.
struct Case {
    load: Load,
    daemon: Daemon,
    config: PathBuf,
    changes: u32,
    /// Where the files are that we write.
    disk: Disk,
    /// Somebody else's.
    taken: TcpListener,
    testbed: Testbed,
}

/// A file system that is full soon.
struct Disk {
    path: PathBuf,
}

impl Disk {
    fn mount(testbed: &Testbed) -> Disk {
        let path = testbed.dir.join("disk");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=128k,mode=0755", "plimsoll-test"]).arg(&path);
        assert!(mount.status().unwrap().success(), "cannot mount a tmpfs: is this root?");
        Disk { path }
    }

    fn fill(&self) {
        let mut file = File::create(self.path.join("filler")).unwrap();
        while file.write_all(&[0; 1024]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.path.join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: an HAProxy that is about to be killed may have a file there.
        drop(Command::new("umount").arg("--lazy").arg(&self.path).status());
    }
}

impl Case {
    fn new(name: &str) -> Case {
        let mut testbed = Testbed::new(name);
        testbed.haproxy = testbed.dir.join("haproxy");
        let disk = Disk::mount(&testbed);
        symlink(HAPROXY, &testbed.haproxy).unwrap();
        fs::create_dir(testbed.dir.join("jail")).unwrap();
        let base = testbed.dir.join("base.cfg");
        let config = testbed.configure(r#""min_replicas": 1, "max_replicas": 1"#);
        let text = fs::read_to_string(&config).unwrap();
        let dir = testbed.dir.path().display();
        let ours = format!(r#""config": "{dir}/haproxy.cfg""#);
        let moved =
            format!(r#""config": "{dir}/disk/haproxy.cfg", "base_config": "{}""#, base.display());
        fs::write(&config, text.replace(&ours, &moved)).unwrap();
        fs::write(&base, good_base(&testbed)).unwrap();
        let daemon = Daemon::start(&config);
        testbed.wait_serving(1, secs(30), &daemon);
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        Case { load: everyone(&testbed), daemon, config, changes: 0, disk, taken, testbed }
    }

    fn file(&self, ending: &str) -> PathBuf {
        self.disk.path.join(format!("haproxy.cfg{ending}"))
    }

    /// Has the daemon write another file, for another interval of the health check.
    fn change(&mut self) {
        let spelled = |n: u32| match n {
            0 => r#""interval": 1,"#.to_owned(),
            n => format!(r#""interval": "{}ms","#, 1000 + n),
        };
        let text = fs::read_to_string(&self.config).unwrap();
        let text = text.replace(&spelled(self.changes), &spelled(self.changes + 1));
        fs::write(&self.config, text).unwrap();
        self.changes += 1;
        self.daemon.signal("HUP");
    }

    /// So many more requests of each client, about.
    fn serve_on(&self) {
        let before = self.load.counts().sent();
        let counts = self.load.wait_for(secs(30), |c| before + 100 < c.sent());
        assert!(before + 100 < counts.sent(), "{counts}");
    }

    #[track_caller]
    fn assert_nothing_lost(&self, after: &str) {
        let counts = self.load.counts();
        assert_eq!(counts.failed(), 0, "after {after}: {counts}\n{:#?}", self.daemon.lines());
    }
}

fn good_base(testbed: &Testbed) -> String {
    format!("global\n    chroot {}\n    maxconn 500\n", testbed.dir.join("jail").display())
}

/// What goes wrong, what the log says of it, and how it is mended.
struct Row {
    name: &'static str,
    words: &'static str,
    spoil: fn(&Case),
    mend: fn(&Case),
}

const ROWS: [Row; 6] = [
    Row {
        name: "a file that is refused",
        words: "the file is refused: config : parsing [",
        spoil: |case| write_base(case, "global\n    no_such_keyword\n"),
        mend: |case| write_base(case, &good_base(&case.testbed)),
    },
    Row {
        name: "a chroot that is missing",
        words: "haproxy: cannot chroot to ",
        spoil: |case| fs::remove_dir(case.testbed.dir.join("jail")).unwrap(),
        mend: |case| fs::create_dir(case.testbed.dir.join("jail")).unwrap(),
    },
    Row {
        name: "a port of the operator's that somebody else has",
        words: "haproxy: cannot bind 127.0.0.1:",
        spoil: |case| {
            let place = case.taken.local_addr().unwrap();
            let front = format!("defaults\n    timeout client 5s\nlisten own\n    bind {place}\n");
            write_base(case, &(good_base(&case.testbed) + &front));
        },
        mend: |case| write_base(case, &good_base(&case.testbed)),
    },
    Row {
        name: "a limit of open files that the kernel does not grant",
        words: "Cannot raise FD limit to 2000000000",
        spoil: |case| write_base(case, "global\n    ulimit-n 2000000000\n    maxconn 500\n"),
        mend: |case| write_base(case, &good_base(&case.testbed)),
    },
    Row {
        name: "a binary that is gone",
        words: "haproxy (see load_balancer.binary): No such file or directory",
        spoil: |case| fs::remove_file(&case.testbed.haproxy).unwrap(),
        mend: |case| symlink(HAPROXY, &case.testbed.haproxy).unwrap(),
    },
    Row {
        name: "a disk that is full",
        words: "haproxy.cfg.new: No space left on device",
        spoil: |case| case.disk.fill(),
        mend: |case| case.disk.empty(),
    },
];

fn write_base(case: &Case, text: &str) {
    fs::write(case.testbed.dir.join("base.cfg"), text).unwrap();
}

#[test]
fn a_reload_that_fails_is_reported_costs_no_request_and_heals() {
    let mut case = Case::new("fails");
    for row in &ROWS {
        let pid = case.testbed.haproxy_pid();
        let from = case.daemon.lines().len();
        (row.spoil)(&case);
        case.change();
        case.daemon.wait_from(from, &["kind=haproxy.reload_failed", row.words], secs(30));
        case.serve_on();
        assert_eq!(case.testbed.haproxy_pid(), pid, "{}: the old process goes on", row.name);
        case.assert_nothing_lost(row.name);
        (row.mend)(&case);
        let healed = ["kind=haproxy.reloaded", "ms, after ", " failure"];
        case.daemon.wait_from(from, &healed, secs(30));
        case.serve_on();
        case.assert_nothing_lost(row.name);
    }
}

/// A name, and what it does to the files.
type Lie<'a> = (&'a str, &'a dyn Fn(&Case));

/// Ends with the test.
struct Bystander {
    child: Child,
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn files_that_lie_or_are_half_there_cost_no_request() {
    let mut case = Case::new("files");
    let child = Command::new("sleep").arg("600").spawn().unwrap();
    let mut bystander = Bystander { child };
    let pid_file = case.testbed.dir.join("haproxy.pid");
    let half = |path: PathBuf| {
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
    };
    let used_again = bystander.child.id().to_string();
    let lies: [Lie; 7] = [
        ("a pid file of a process that has ended", &|_| fs::write(&pid_file, "4000000").unwrap()),
        ("a pid file of somebody else", &|_| fs::write(&pid_file, &used_again).unwrap()),
        ("a pid file that is no number", &|_| fs::write(&pid_file, "x\n").unwrap()),
        ("no pid file", &|_| fs::remove_file(&pid_file).unwrap()),
        ("half of the file", &|case| half(case.file(""))),
        ("half of the last good file", &|case| half(case.file(".good"))),
        ("half of the servers' states", &|case| half(case.file(".state"))),
    ];
    // The first reload writes the states.
    case.change();
    case.daemon.wait(&["kind=haproxy.reloaded"], secs(30));
    for (name, lie) in lies {
        let pid = case.testbed.haproxy_pid();
        let from = case.daemon.lines().len();
        lie(&case);
        case.change();
        case.daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(30));
        assert_ne!(case.testbed.haproxy_pid(), pid, "{name}");
        case.serve_on();
        case.assert_nothing_lost(name);
    }
    assert!(bystander.child.try_wait().unwrap().is_none(), "a bystander was signalled");
    assert_eq!(case.daemon.count(&["kind=haproxy.reload_failed"]), 0);
}

#[test]
fn a_crash_between_two_files_is_mended_by_the_next_daemon() {
    let mut case = Case::new("halves");
    let whole = fs::read_to_string(case.file("")).unwrap();
    case.daemon.signal("KILL");
    case.daemon.wait_exit(secs(10));
    for ending in ["", ".new"] {
        fs::write(case.file(ending), &whole[..whole.len() / 3]).unwrap();
    }
    case.serve_on();
    case.daemon = Daemon::start(&case.config);
    let mended = || fs::read_to_string(case.file("")).is_ok_and(|text| text == whole);
    assert!(reached(secs(30), mended), "{:#?}", case.daemon.lines());
    case.testbed.wait_serving(1, secs(30), &case.daemon);
    case.serve_on();
    case.assert_nothing_lost("a crash");
}

#[test]
fn a_socket_that_is_gone_is_back_without_a_request_refused() {
    let case = Case::new("socket");
    let pid = case.testbed.haproxy_pid();
    fs::remove_file(case.testbed.dir.join("haproxy.sock")).unwrap();
    let from = case.daemon.lines().len();
    case.daemon.wait_from(from, &["kind=haproxy.reloaded"], secs(30));
    assert!(reached(secs(10), || case.testbed.serving().len() == 1));
    assert_ne!(case.testbed.haproxy_pid(), pid);
    case.serve_on();
    case.assert_nothing_lost("the socket was gone");
}
