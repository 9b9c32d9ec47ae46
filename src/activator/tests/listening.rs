//! Addresses that are listened at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};

use crate::activator::listeners::AddressKinds;
use crate::activator::tests::{Rig, all, reached, replica};
use crate::model::sleep::abstract_wake_socket;
use crate::outside::Activator;

#[test]
fn a_service_that_is_not_named_any_more_is_closed() {
    let rig = Rig::new();
    let (address, _got) = replica(|mut stream| stream.read_exact(&mut [0; 4]));
    let mut copied = rig.copied(address);
    rig.reached(0, 1);
    rig.activator.forward("web", &[]);
    let stream = rig.connect();
    rig.reached(1, 1);
    assert_eq!(rig.listen(&["api"]), BTreeMap::new());
    assert_eq!(all(stream).unwrap(), b"");
    assert!(!rig.path("web").exists() && rig.path("api").exists());
    // What is copied already goes on to its end.
    rig.activator.forward("web", &[address]);
    rig.reached(0, 1);
    assert!(!rig.web().is_listening);
    // It begins anew: an address of before may be of another service by now.
    rig.listen(&["api", "web"]);
    let again = rig.connect();
    rig.reached(1, 1);
    drop(again);
    rig.reached(0, 1);
    rig.listen(&["api"]);
    copied.write_all(b"last").unwrap();
    drop(copied);
    assert!(reached(|| !rig.activator.look().contains_key("web")));
    // A file that another process put there is not removed.
    fs::remove_file(rig.path("api")).unwrap();
    let _other = UnixListener::bind(rig.path("api")).unwrap();
    rig.listen(&[]);
    assert!(rig.path("api").exists());
    assert_eq!(rig.activator.look(), BTreeMap::new());
}

#[test]
fn a_listener_is_opened_once_and_again_when_its_file_is_stale_or_lost() {
    let rig = Rig::of(None, AddressKinds::File);
    drop(UnixListener::bind(rig.path("web")).unwrap());
    assert_eq!(rig.listen(&["web"]), BTreeMap::new());
    let stream = rig.connect();
    rig.reached(1, 0);
    let inode = || fs::symlink_metadata(rig.path("web")).unwrap().ino();
    let first = inode();
    assert_eq!(rig.listen(&["web"]), BTreeMap::new());
    assert_eq!(inode(), first);
    fs::remove_file(rig.path("web")).unwrap();
    assert_eq!(rig.listen(&["web"]), BTreeMap::new());
    let _other = rig.connect();
    rig.reached(2, 0);
    drop(stream);
    rig.reached(1, 0);
}

#[test]
fn a_failure_has_a_name_and_is_tried_again_after_a_second() {
    let rig = Rig::of(None, AddressKinds::File);
    fs::create_dir(rig.path("web")).unwrap();
    let failures = rig.listen(&["web", "api"]);
    assert_eq!(failures.keys().collect::<Vec<_>>(), ["web"]);
    let why = format!("cannot listen at {}: ", rig.path("web").display());
    assert!(failures["web"].starts_with(&why), "{failures:?}");
    fs::remove_dir(rig.path("web")).unwrap();
    rig.clock.pass(999);
    assert_eq!(rig.listen(&["web", "api"]), failures);
    assert!(!rig.web().is_listening);
    rig.clock.pass(1);
    assert_eq!(rig.listen(&["web", "api"]), BTreeMap::new());
    assert!(rig.web().is_listening);
    let long = "x".repeat(200);
    let failures = rig.listen(&[&long]);
    assert!(failures[&long].contains("cannot listen at"), "{failures:?}");
}

#[test]
fn an_account_of_haproxys_is_the_only_one_that_may_connect() {
    let own = fs::metadata(Rig::of(None, AddressKinds::File).folder.as_path()).unwrap().uid();
    for (owner, mode) in [(None, 0o666), (Some(own), 0o600)] {
        let rig = Rig::of(owner, AddressKinds::File);
        assert_eq!(rig.listen(&["web"]), BTreeMap::new());
        let meta = fs::metadata(rig.path("web")).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.uid()), (mode, own));
    }
    let (owner, is_root) = (Some(own + 1), own == 0);
    let rig = Rig::of(owner, AddressKinds::File);
    assert_eq!(rig.listen(&["web"]).is_empty(), is_root);
    assert_eq!(rig.path("web").exists(), is_root);
}

#[test]
fn a_name_in_the_abstract_namespace_is_another_address() {
    for (kinds, has_file) in [(AddressKinds::Abstract, false), (AddressKinds::Both, true)] {
        let rig = Rig::of(None, kinds);
        let mut name = abstract_wake_socket(&rig.folder.join("haproxy.sock"), "web").into_bytes();
        name.resize(107, 0);
        let address = UnixAddress::from_abstract_name(name).unwrap();
        let taken = UnixListener::bind_addr(&address).unwrap();
        assert!(rig.listen(&["web"])["web"].starts_with("cannot listen at @plimsoll-wake-"));
        // HAProxy may be one that uses the other.
        assert!(!rig.web().is_listening);
        drop(taken);
        rig.clock.pass(1000);
        assert_eq!(rig.listen(&["web"]), BTreeMap::new());
        assert!(rig.web().is_listening);
        let _stream = UnixStream::connect_addr(&address).unwrap();
        rig.reached(1, 0);
        assert_eq!(rig.path("web").exists(), has_file);
        let _other = has_file.then(|| rig.connect());
        rig.reached(1 + u32::from(has_file), 0);
    }
}

#[test]
fn a_service_costs_no_thread() {
    let rig = Rig::of(None, AddressKinds::File);
    let services: Vec<String> = (0..50).map(|number| format!("web-{number}")).collect();
    let services: BTreeSet<String> = services.into_iter().collect();
    assert_eq!(rig.activator.listen(&services), BTreeMap::new());
    assert_eq!(rig.activator.look().len(), 50);
    let threads = || {
        let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
        let names = tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|name| ["activator\n", "copy\n"].contains(&name.as_str())).count()
    };
    // A thread names itself when it begins. Those of other tests are among them.
    assert!(reached(|| (1..50).contains(&threads())), "{}", threads());
}
