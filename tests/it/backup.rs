//! `contrib/backup.sh`: what it saves comes back whole, and nothing of anybody else's is touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::daemon::Dir;

/// Names that a careless script falls over.
const ODD: &[&str] = &["a token", "-rf", "it's $HOME `id`", "ü * [x]", "back\\slash", "e.tar.gz"];

/// Of the load history.
const DAYS: [&str; 3] = ["web-2026-11-28.csv", "web-2026-11-29.csv", "a.b-c_2-2026-11-29.csv"];

struct Installation {
    dir: Dir,
}

impl Installation {
    fn new(name: &str) -> Installation {
        let dir = Dir::new(name);
        fs::create_dir_all(dir.join("etc here")).unwrap();
        fs::create_dir_all(dir.join("state")).unwrap();
        dir.write("etc here/config.json", "{ \"services\": {} }\n");
        dir.write("state/state.json", "{\"version\":1}\n");
        dir.write("state/events.jsonl", "{\"kind\":\"daemon.started\"}\n{\"kind\":\"sca");
        dir.write("state/report.json", "{\"monday\":null}\n");
        fs::create_dir_all(dir.join("state/history")).unwrap();
        for day in DAYS {
            dir.write(&format!("state/history/{day}"), &format!("rows of {day}\n"));
        }
        // Beside them what no daemon writes.
        dir.write("state/history/notes.csv", "mine\n");
        dir.write("state/lock", "");
        dir.write("state/haproxy.cfg", "rendered anew\n");
        dir.write("state/haproxy.cfg.good", "the last good one\n");
        fs::set_permissions(dir.join("state/state.json"), fs::Permissions::from_mode(0o600))
            .unwrap();
        Installation { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("contrib/backup.sh");
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env("PLIMSOLL_CONFIG", self.at("etc here/config.json"));
        command.env("PLIMSOLL_STATE_DIR", self.at("state"));
        command.env("PLIMSOLL_HAPROXY_CONFIG", self.at("state/haproxy.cfg"));
        command.env("PLIMSOLL_BACKUP_DIR", self.at("saved"));
        command
    }

    #[track_caller]
    fn good(&self, args: &[&str]) -> String {
        let (status, said) = outcome(&self.command(args).output().unwrap());
        assert_eq!(status, 0, "{args:?}: {said}");
        said
    }

    #[track_caller]
    fn bad(&self, args: &[&str], word: &str) {
        let (status, said) = outcome(&self.command(args).output().unwrap());
        assert!(status == 1 && said.contains(word), "{args:?}: {status}: {said}");
    }

    /// The archives, oldest first.
    fn archives(&self) -> Vec<String> {
        let list = self.good(&["list"]);
        list.lines().map(|name| self.at("saved").join(name).to_str().unwrap().to_owned()).collect()
    }
}

fn outcome(output: &Output) -> (i32, String) {
    let bytes = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&bytes).into_owned())
}

/// Every file below, by its path, with what is in it.
fn tree(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let bytes = fs::read(&path).unwrap();
                    found.push((path, String::from_utf8_lossy(&bytes).into_owned()));
                }
            }
        }
    }
    found.sort();
    found
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn what_was_saved_comes_back() {
    let installation = Installation::new("backup-round");
    let odd: Vec<String> = ODD.iter().map(|name| format!("etc here/{name}")).collect();
    let odd: Vec<PathBuf> = odd.iter().map(|name| installation.dir.write(name, name)).collect();
    let odd: Vec<&str> = odd.iter().map(|path| path.to_str().unwrap()).collect();
    let said = installation.good(&[&["save"], &odd[..]].concat());
    assert!(said.contains(&format!(", {} files", 5 + DAYS.len() + ODD.len())), "{said}");
    let archive = &installation.archives()[0];
    assert_eq!((mode(archive), mode(installation.at("saved"))), (0o600, 0o700));
    assert!(installation.good(&["verify", archive]).contains("is complete"));

    // To another place first: what is left out is not there.
    let root = installation.at("root");
    fs::create_dir(&root).unwrap();
    let to_root = ["restore", archive, "--root", root.to_str().unwrap()];
    // An archive does not say alone where is written.
    installation.bad(&to_root, "the archive also has ");
    assert!(tree(&root).is_empty());
    installation.good(&[&to_root, &odd[..]].concat());
    let below = root.join(installation.dir.path().strip_prefix("/").unwrap());
    let mut names = vec!["config.json"];
    names.extend(ODD);
    let mut whole: Vec<_> =
        names.iter().map(|name| installation.at("etc here").join(name)).collect();
    whole.extend(
        ["events.jsonl", "haproxy.cfg.good", "state.json", "report.json"]
            .map(|n| installation.at("state").join(n)),
    );
    whole.extend(DAYS.map(|day| installation.at("state/history").join(day)));
    whole.sort();
    let whole: Vec<_> = whole
        .into_iter()
        .map(|p| {
            (
                below.join(p.strip_prefix(installation.dir.path()).unwrap()),
                fs::read_to_string(p).unwrap(),
            )
        })
        .collect();
    assert_eq!(tree(&root), whole);
    fs::remove_dir_all(&root).unwrap();

    // Then over what was changed, taken away, and left.
    let before = tree(installation.dir.path());
    fs::write(installation.at("etc here/config.json"), "broken").unwrap();
    fs::remove_file(installation.at("state/state.json")).unwrap();
    let day = |n: usize| installation.at("state/history").join(DAYS[n]);
    fs::remove_file(day(0)).unwrap();
    fs::write(day(1), "torn").unwrap();
    let changed = tree(installation.dir.path());
    let said = installation.good(&[&["restore", archive, "--dry-run"], &odd[..]].concat());
    for word in [
        "config.json, which differs",
        "state.json, which does not",
        "good, which is unchanged",
        "history: 1 do not exist now, 1 differ",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(tree(installation.dir.path()), changed, "a dry run writes nothing");
    installation.good(&[&["restore", archive], &odd[..]].concat());
    let kept = installation.at("etc here/config.json.before-restore");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "broken");
    fs::remove_file(kept).unwrap();
    let kept = day(1).with_extension("csv.before-restore");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "torn");
    fs::remove_file(kept).unwrap();
    assert_eq!(tree(installation.dir.path()), before);
    assert_eq!(mode(installation.at("state/state.json")), 0o600);
}

#[test]
fn a_full_disk_costs_the_new_archive_alone() {
    let installation = Installation::new("backup-full");
    let noise: String =
        (0_u64..40_000).map(|i| format!("{:x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    installation.dir.write("noise", &noise);
    fs::create_dir(installation.at("saved")).unwrap();
    let script = "mount -t tmpfs -o size=128k tmpfs \"$PLIMSOLL_BACKUP_DIR\" || exit 9
        contrib/backup.sh save && ls -A \"$PLIMSOLL_BACKUP_DIR\" && echo --
        contrib/backup.sh save \"$1\" && exit 8
        ls -A \"$PLIMSOLL_BACKUP_DIR\"; contrib/backup.sh verify \"$PLIMSOLL_BACKUP_DIR\"/p*";
    let mut full = Command::new("unshare");
    full.args(["--mount", "sh", "-c", script, "sh"]).arg(installation.at("noise"));
    let of = installation.command(&[]);
    full.envs(of.get_envs().map(|(key, value)| (key, value.unwrap())));
    let (status, said) = outcome(&full.output().unwrap());
    assert!(status == 0 && said.contains("is the disk full?"), "{status}: {said}");
    let (before, after) = said.split_once("--\n").unwrap();
    let listed = |text: &str| {
        text.lines().filter(|l| !l.starts_with("backup: ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = listed(before);
    let after = listed(after);
    assert_eq!(before, &after[..before.len()], "{said}");
}

#[test]
fn two_at_once_make_two_archives() {
    let installation = Installation::new("backup-two");
    let many: Vec<_> = (0..4).map(|_| installation.command(&["save"]).spawn().unwrap()).collect();
    for one in many {
        let (status, said) = outcome(&one.wait_with_output().unwrap());
        assert_eq!(status, 0, "{said}");
    }
    let archives = installation.archives();
    assert_eq!(archives.len(), 4);
    archives.iter().for_each(|archive| drop(installation.good(&["verify", archive])));
}

#[test]
fn only_archives_of_ours_are_ever_deleted() {
    let installation = Installation::new("backup-keep");
    let saved = installation.at("saved");
    let exact = "plimsoll-20200101T000000Z.tar.gz";
    fs::create_dir_all(saved.join("elsewhere")).unwrap();
    fs::create_dir_all(saved.join("plimsoll-20200102T000000Z.tar.gz")).unwrap();
    fs::create_dir_all(saved.join(".plimsoll-work-mine")).unwrap();
    let strangers = [
        "notes.txt",
        "plimsoll-20200101T000000Z.tar.gz.bak",
        "plimsoll-20200101T000000Z.tar",
        "plimsoll-2020.tar.gz",
        "my plimsoll-20200101T000000Z.tar.gz",
        "elsewhere/plimsoll-20200101T000000Z.tar.gz",
        "plimsoll-20200102T000000Z.tar.gz/mine",
        ".plimsoll-work-mine/mine",
    ];
    strangers.iter().for_each(|name| fs::write(saved.join(name), name).unwrap());
    fs::write(installation.at(exact), "beside the folder").unwrap();
    // An archive of long ago, and what a killed run left.
    fs::write(saved.join(exact), "old").unwrap();
    fs::create_dir_all(saved.join(".plimsoll-work-aB3dE5gH/files")).unwrap();
    let save = || {
        outcome(&installation.command(&["save"]).env("PLIMSOLL_BACKUP_KEEP", "1").output().unwrap())
    };
    for gone in [format!("{exact} deleted, 1 are kept"), "deleted, 1 are kept".to_owned()] {
        let (status, said) = save();
        assert!(status == 0 && said.contains(&gone), "{status}: {said}");
    }
    assert_eq!(installation.archives().len(), 1);
    for name in strangers {
        assert_eq!(fs::read_to_string(saved.join(name)).unwrap(), name);
    }
    assert!(installation.at(exact).exists() && !saved.join(exact).exists());
    assert!(!saved.join(".plimsoll-work-aB3dE5gH").exists());
    // A failure deletes none.
    fs::remove_file(installation.at("etc here/config.json")).unwrap();
    assert_eq!(save().0, 1);
    assert_eq!(installation.archives().len(), 1);
}

#[test]
fn what_is_damaged_or_not_ours_is_not_restored() {
    let installation = Installation::new("backup-bad");
    installation.good(&["save"]);
    let archive = &installation.archives()[0];
    let bytes = fs::read(archive).unwrap();
    let half = installation.at("half.tar.gz");
    fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();
    installation.bad(&["restore", half.to_str().unwrap()], "not a complete archive");
    // Whole as an archive, with another content than was saved.
    let script = r#"cd "$1" && mkdir x && tar -xzf "$2" -C x || exit
        find x -name state.json -exec sh -c 'echo >>"$1"' sh {} \; || exit
        tar -czf other.tar.gz -C x . && rm x/SHA256SUMS && tar -czf foreign.tar.gz -C x ."#;
    let mut pack = Command::new("sh");
    pack.args(["-c", script, "sh"]).arg(installation.dir.path()).arg(archive);
    assert!(pack.status().unwrap().success());
    let before = tree(installation.dir.path());
    installation.bad(&["restore", installation.at("other.tar.gz").to_str().unwrap()], "is damaged");
    installation.bad(
        &["restore", installation.at("foreign.tar.gz").to_str().unwrap()],
        "is not an archive of this script",
    );
    installation
        .bad(&["restore", installation.at("none.tar.gz").to_str().unwrap()], "does not exist");
    // A daemon would write over it.
    let lock = fs::File::open(installation.at("state/lock")).unwrap();
    lock.lock().unwrap();
    installation.bad(&["restore", archive], "a daemon uses");
    assert_eq!(tree(installation.dir.path()), before);
    drop(lock);
    installation.good(&["restore", archive]);
}

#[test]
fn a_state_that_may_not_be_read_is_not_taken_for_none() {
    let installation = Installation::new("backup-closed");
    fs::set_permissions(installation.at("state"), fs::Permissions::from_mode(0o000)).unwrap();
    // Root without the rights that let it pass.
    let mut save = Command::new("setpriv");
    save.args(["--bounding-set=-all", "--inh-caps=-all", "contrib/backup.sh", "save"]);
    let of = installation.command(&[]);
    save.envs(of.get_envs().map(|(key, value)| (key, value.unwrap())));
    let (status, said) = outcome(&save.output().unwrap());
    assert!(status == 1 && said.contains("cannot be read"), "{status}: {said}");
    fs::set_permissions(installation.at("state"), fs::Permissions::from_mode(0o700)).unwrap();
}

/// Number of the daemon's account, and of one that has nothing to do with it.
const ACCOUNT: u32 = 12_345;

/// The state as it is under the unit: of an account, which may put there what it likes.
fn of_account(name: &str) -> (Installation, PathBuf) {
    let installation = Installation::new(name);
    let state = installation.at("state");
    fs::set_permissions(installation.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    chown(&state, Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    for folder in [&state, &state.join("history")] {
        for file in fs::read_dir(folder).unwrap() {
            chown(file.unwrap().path(), Some(ACCOUNT), Some(ACCOUNT)).unwrap();
        }
    }
    let foreign = installation.dir.write("foreign", "of root alone\n");
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o600)).unwrap();
    (installation, foreign)
}

#[test]
fn what_the_account_put_in_the_place_of_its_files_is_not_saved() {
    let (installation, foreign) = of_account("backup-planted");
    for name in ["state.json", "events.jsonl", "events.jsonl.1", "haproxy.cfg.good"] {
        let at = installation.at("state").join(name);
        let aside = installation.at("aside");
        let was = fs::rename(&at, &aside).is_ok();
        symlink(&foreign, &at).unwrap();
        installation.bad(&["save"], "is not a regular file");
        fs::remove_file(&at).unwrap();
        assert!(Command::new("mkfifo").arg(&at).status().unwrap().success());
        installation.bad(&["save"], "is not a regular file");
        fs::remove_file(&at).unwrap();
        fs::hard_link(&foreign, &at).unwrap();
        installation.bad(&["save"], "has 2 names");
        fs::remove_file(&at).unwrap();
        fs::File::create(&at).unwrap().set_len((64 << 20) + 1).unwrap();
        installation.bad(&["save"], "bytes, more than");
        fs::remove_file(&at).unwrap();
        if was {
            fs::rename(&aside, &at).unwrap();
        }
    }
    assert!(installation.archives().is_empty());
    installation.good(&["save"]);
}

#[test]
fn of_the_history_only_what_a_daemon_writes_is_saved() {
    let (installation, foreign) = of_account("backup-history");
    let history = installation.at("state/history");
    let at = |name: &str| history.join(name);
    symlink(&foreign, at("x-2026-01-01.csv")).unwrap();
    assert!(Command::new("mkfifo").arg(at("x-2026-01-02.csv")).status().unwrap().success());
    fs::create_dir(at("x-2026-01-03.csv")).unwrap();
    fs::hard_link(&foreign, at("x-2026-01-04.csv")).unwrap();
    fs::File::create(at("x-2026-01-05.csv")).unwrap().set_len((1 << 20) + 1).unwrap();
    let said = installation.good(&["save"]);
    assert_eq!(said.matches("is left out: it has other names").count(), 2, "{said}");
    assert!(said.contains(&format!(", {} files", 5 + DAYS.len())), "{said}");
    // The newest of what is too much, with a limit that a test comes to.
    for day in 1..=4 {
        let file = fs::File::create(at(&format!("web-2025-01-0{day}.csv"))).unwrap();
        file.set_len(1 << 20).unwrap();
    }
    let script = fs::read_to_string("contrib/backup.sh").unwrap();
    assert!(script.contains("$((192 << 20))"));
    let script = script.replace("$((192 << 20))", "$((3 << 20))");
    let mut save = Command::new("bash");
    save.args(["-c", &script, "backup.sh", "save"]);
    let of = installation.command(&[]);
    save.envs(of.get_envs().map(|(key, value)| (key, value.unwrap())));
    let (status, said) = outcome(&save.output().unwrap());
    assert!(status == 0 && said.contains("over 3 MiB: its 2 oldest files are left out"), "{said}");
    let newest = installation.archives().pop().unwrap();
    let listed = Command::new("tar").args(["-tzf", &newest]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(DAYS[0]) && listed.contains("web-2025-01-03.csv"), "{listed}");
    assert!(!listed.contains("web-2025-01-02.csv"), "{listed}");
    // No folder but its own.
    fs::remove_dir_all(&history).unwrap();
    symlink(installation.at("etc here"), &history).unwrap();
    installation.bad(&["save"], "history is not a folder");
}

#[test]
fn a_restore_as_root_follows_no_link_of_the_accounts() {
    let (installation, foreign) = of_account("backup-links");
    installation.good(&["save"]);
    let archive = &installation.archives()[0];
    let state = installation.at("state/state.json");
    let before = fs::metadata(&foreign).unwrap();
    fs::remove_file(&state).unwrap();
    for name in ["state.json", "state.json.restoring", "state.json.before-restore"] {
        symlink(&foreign, installation.at("state").join(name)).unwrap();
    }
    fs::remove_file(installation.at("state/events.jsonl")).unwrap();
    symlink(installation.at("made"), installation.at("state/events.jsonl")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(installation.at("state/haproxy.cfg.good.before-restore"))
            .status()
            .unwrap()
            .success()
    );
    // The folder of the history may be anything by then, and its files too.
    let history = installation.at("state/history");
    fs::remove_dir_all(&history).unwrap();
    let guarded = installation.at("guarded");
    fs::create_dir(&guarded).unwrap();
    fs::set_permissions(&guarded, fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&guarded, &history).unwrap();
    installation.bad(&["restore", archive], "the load history cannot be written to ");
    assert!(tree(&guarded).is_empty());
    fs::remove_file(&history).unwrap();
    fs::create_dir(&history).unwrap();
    chown(&history, Some(ACCOUNT), Some(ACCOUNT)).unwrap();
    symlink(&foreign, history.join(DAYS[0])).unwrap();
    assert!(Command::new("mkfifo").arg(history.join(DAYS[1])).status().unwrap().success());
    installation.good(&["restore", archive]);
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "of root alone\n");
    let after = fs::metadata(&foreign).unwrap();
    assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
    assert!(!installation.at("made").exists());
    for name in ["state.json", "events.jsonl"] {
        let meta = fs::symlink_metadata(installation.at("state").join(name)).unwrap();
        assert!(meta.is_file(), "{name}");
        assert_eq!(meta.uid(), ACCOUNT, "{name}");
    }
    assert_eq!(fs::read_to_string(&state).unwrap(), "{\"version\":1}\n");
    for day in DAYS {
        let meta = fs::symlink_metadata(installation.at("state/history").join(day)).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o7777), (ACCOUNT, 0o600), "{day}");
    }
    let left =
        fs::read_dir(installation.at("state")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with(".plimsoll")));
}

#[test]
fn an_archive_writes_nothing_but_what_a_backup_may_hold() {
    let (installation, foreign) = of_account("backup-made-up");
    installation.good(&["save"]);
    let archive = installation.archives()[0].clone();
    let before = tree(&installation.at("state"));
    // Each makes `x` another archive, whose sums are right.
    for (script, word) in [
        ("tar -rPf t ../escape", "file names outside of it"),
        ("tar -rPf t \"$dir/escape\"", "file names outside of it"),
        ("ln -s \"$dir/foreign\" x/link; tar -rf t -C x ./link", "entries that are not files"),
        ("ln x/SHA256SUMS x/link; tar -cf t -C x .", "entries that are not files"),
        ("mknod x/null c 1 3; tar -rf t -C x ./null", "entries that are not files"),
        ("mkfifo x/pipe; tar -rf t -C x ./pipe", "entries that are not files"),
        ("mkdir -p x/etc; echo >x/etc/passwd; sums; tar -cf t -C x .", "also has /etc/passwd"),
        ("truncate -s 300M x/large; tar -rf t -C x ./large", "unpacks to over 256 MiB"),
    ] {
        let whole = format!(
            "set -e; dir=$1; cd \"$1\"; rm -rf work; mkdir -p work/x; echo >escape; cd work
            echo >../escape; tar -xzf \"$2\" -C x; gzip -dc \"$2\" >t
            sums() {{ (cd x && rm SHA256SUMS &&
                find . -type f -exec sha256sum {{}} + >../s && mv ../s SHA256SUMS); }}
            {script}; gzip -c t >../made-up.tar.gz; rm -f ../escape"
        );
        let mut make = Command::new("sh");
        make.args(["-c", &whole, "sh"]).arg(installation.dir.path()).arg(&archive);
        assert!(make.status().unwrap().success(), "{script}");
        installation.bad(&["restore", installation.at("made-up.tar.gz").to_str().unwrap()], word);
        assert_eq!(tree(&installation.at("state")), before, "{script}");
        assert!(!installation.at("escape").exists(), "{script}");
    }
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "of root alone\n");
    // A file that is known, with the right of root's.
    let script = "set -e; cd \"$1\"; rm -rf work; mkdir -p work/x; cd work; tar -xzpf \"$2\" -C x
        find x -name config.json -exec chown 0:0 {} + -exec chmod 6757 {} +
        tar -czf ../made-up.tar.gz -C x .";
    let mut make = Command::new("sh");
    make.args(["-c", script, "sh"]).arg(installation.dir.path()).arg(&archive);
    assert!(make.status().unwrap().success());
    installation.good(&["restore", installation.at("made-up.tar.gz").to_str().unwrap()]);
    let config = fs::metadata(installation.at("etc here/config.json")).unwrap();
    assert_eq!(config.mode() & 0o7777, 0o755);
}
