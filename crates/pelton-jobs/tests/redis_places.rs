//! The ways to a Redis: TLS, users, Unix sockets, Sentinels and a cluster, on real servers.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

#[expect(dead_code, reason = "what several tests share")]
mod working;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use pelton_jobs::broker::Broker;
use pelton_jobs::brokers::redis::RedisBroker;
use pelton_jobs::engine::Engine;
use pelton_jobs::state::State;
use pelton_testkit::TemporaryDirectory;
use pelton_testkit::broker_conformance::{Store, World, job};
use pelton_testkit::servers::{Child, RedisServer, free_port, unique_name, wait_until};

use self::working::{enqueue, lease, session, succeed};

struct At(String);

impl Store for At {
    fn open(&self) -> Box<dyn Broker> {
        Box::new(RedisBroker::open(&self.0).unwrap())
    }
}

/// A job's whole way by `url`.
fn works(url: &str) {
    let mut world = World::new(&At(url.to_owned()));
    let id = world.enqueue(vec![job()])[0];
    let leased = world.lease_one();
    assert_eq!(leased.id, id);
    assert_eq!(world.succeed(&leased, b"1").state, Some(State::Succeeded));
    assert_eq!(world.record(id).result.as_deref(), Some(&b"1"[..]));
}

fn refused(url: &str) -> String {
    RedisBroker::open(url).err().expect("it was to be refused").to_string()
}

fn run(program: &str, directory: &Path, arguments: &str) {
    let done = Command::new(program)
        .current_dir(directory)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    assert!(done.status.success(), "{program} {arguments}: {done:?}");
}

/// An authority, and a certificate of it for the server and one for us, as files.
fn certificates(directory: &Path) {
    let request = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let sign = "-CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE";
    let of = |name: &str| format!("-x509 -days 2 {request} -keyout {name}.key -out {name}.pem");
    run("openssl", directory, &format!("req {} -subj /CN=authority", of("ca")));
    run("openssl", directory, &format!("req {} -subj /CN=stranger", of("stranger")));
    for (name, subject) in [("server", "-addext subjectAltName=DNS:localhost"), ("client", "")] {
        let request = format!("req {} {sign} -subj /CN={name} {subject}", of(name));
        run("openssl", directory, &request);
    }
}

#[test]
fn tls_is_spoken_and_certificates_are_checked() {
    let directory = TemporaryDirectory::new().unwrap();
    let path = directory.path().to_string_lossy().into_owned();
    certificates(directory.path());
    let server = RedisServer::start_with(|| {
        let port = free_port();
        let options = format!(
            "--tls-port {port} --tls-cert-file {path}/server.pem --tls-key-file {path}/server.key \
             --tls-ca-cert-file {path}/ca.pem --tls-auth-clients yes"
        );
        options.split(' ').map(str::to_owned).collect()
    });
    let port = server.ask("CONFIG GET tls-port");
    let port = port.split("\r\n").nth(4).unwrap();
    let url = |host: &str, options: &str| {
        let name = unique_name();
        format!("rediss://{host}:{port}/0?namespace={name}&timeout=5&{options}")
    };
    let ours = format!("ssl_certfile={path}/client.pem&ssl_keyfile={path}/client.key");
    let all = format!("ssl_ca_certs={path}/ca.pem&{ours}");
    works(&url("localhost", &all));
    works(&url("127.0.0.1", &format!("{all}&ssl_check_hostname=false")));
    works(&url("127.0.0.1", &format!("{ours}&ssl_cert_reqs=none")));
    let error = refused(&url("127.0.0.1", &all));
    assert!(error.contains("TLS") && error.contains("certificate"), "{error}");
    let error = refused(&url("localhost", &format!("ssl_ca_certs={path}/stranger.pem&{ours}")));
    assert!(error.contains("TLS") && error.contains("certificate"), "{error}");
    refused(&url("localhost", &format!("ssl_ca_certs={path}/ca.pem")));
    let error = refused(&url("localhost", &format!("ssl_ca_certs={path}/none.pem")));
    assert!(error.contains("none.pem"), "{error}");
    // An engine listens on a connection of its own, too.
    let engine = Arc::new(Engine::open(&url("localhost", &all)).unwrap());
    let session = session(&engine);
    let id = enqueue(&engine);
    let leased = lease(&session, 1);
    assert_eq!(leased[0].id, id);
    assert_eq!(succeed(&session, &leased), [Some(State::Succeeded)]);
    session.close().unwrap();
}

#[test]
fn users_and_unix_sockets() {
    let directory = TemporaryDirectory::new().unwrap();
    let socket = directory.path().join("redis.sock").to_string_lossy().into_owned();
    let server = RedisServer::start_with(|| vec!["--unixsocket".into(), socket.clone()]);
    works(&format!("unix://{socket}?db=1&namespace={}", unique_name()));
    // What a broker needs, and no more: its keys and channels.
    server.command("ACL SETUSER pelton on >secret ~{shop}:* &{shop}:* +@all -@admin -@dangerous");
    server.command("ACL SETUSER default resetpass >other");
    let port = server.port();
    works(&format!("redis://pelton:secret@127.0.0.1:{port}/0?namespace=shop"));
    works(&format!("redis://:other@127.0.0.1:{port}/0?namespace={}", unique_name()));
    let error = refused(&format!("redis://pelton:wrong@127.0.0.1:{port}/0?namespace=shop"));
    assert!(error.contains("WRONGPASS") && !error.contains("wrong@"), "{error}");
    refused(&format!("redis://127.0.0.1:{port}/0"));
}

/// One that leads and one that follows; Sentinels change the lead when the first is gone.
#[test]
fn a_failover_is_followed() {
    let first = RedisServer::start();
    let second = RedisServer::start_with(|| {
        ["--replicaof", "127.0.0.1", &first.port().to_string()].map(str::to_owned).to_vec()
    });
    wait_until("the second to follow", || {
        second.ask("INFO replication").contains("link_status:up")
    });
    let directory = TemporaryDirectory::new().unwrap();
    let sentinels: Vec<(u16, Child)> = (0..3)
        .map(|n| {
            let port = free_port();
            let file = directory.path().join(format!("{n}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n",
                first.port()
            );
            std::fs::write(&file, text).unwrap();
            let arguments = vec![file.into_os_string(), "--sentinel".into()];
            (port, Child::start("redis-server", arguments, Vec::new()))
        })
        .collect();
    let ports: Vec<_> = sentinels.iter().map(|(port, _)| format!("127.0.0.1:{port}")).collect();
    let asked = |port: u16, words: &str| {
        use std::io::{Read, Write};
        let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
            return String::new();
        };
        stream.write_all(format!("{words}\r\n").as_bytes()).unwrap();
        let mut answer = [0; 8192];
        let read = stream.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    for (port, _) in &sentinels {
        wait_until("the Sentinels to know each other and the second", || {
            let told = asked(*port, "INFO sentinel");
            told.contains("slaves=1,sentinels=3")
        });
    }
    let hosts = ports.join(",");
    let url = format!("redis+sentinel://{hosts}/main/0?namespace={}&timeout=60", unique_name());
    let engine = Arc::new(Engine::open(&url).unwrap());
    let session = session(&engine);
    let before = enqueue(&engine);
    wait_until("the second to have all", || second.ask("DBSIZE") == first.ask("DBSIZE"));
    first.kill();
    let after = enqueue(&engine);
    let mut done = Vec::new();
    while done.len() < 2 {
        let leased = lease(&session, 2);
        assert_eq!(succeed(&session, &leased), vec![Some(State::Succeeded); leased.len()]);
        done.extend(leased.iter().map(|job| job.id));
    }
    done.sort_unstable();
    assert_eq!(done, [before, after]);
    assert!(second.ask("INFO replication").contains("role:master"));
    session.close().unwrap();
}

/// Three nodes, of which one has our keys: the others send us there.
#[test]
fn a_cluster_is_followed_to_our_keys() {
    let node = || {
        RedisServer::start_with(|| {
            let bus = free_port().to_string();
            ["--cluster-enabled", "yes", "--cluster-port", &bus].map(str::to_owned).to_vec()
        })
    };
    let nodes = [node(), node(), node()];
    let hosts: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let create = format!("--cluster create {} --cluster-yes", hosts.join(" "));
    run("redis-cli", Path::new("/"), &create);
    for node in &nodes {
        wait_until("the cluster", || node.ask("CLUSTER INFO").contains("cluster_state:ok"));
    }
    // Whichever is asked first, of names that lie on all of them.
    for name in ["a", "b", "c", "d", "e", "f"] {
        works(&format!("redis://{}?namespace={name}", hosts[0]));
    }
    let url = format!("redis+cluster://127.0.0.1:1,{},{}?namespace=b", hosts[1], hosts[2]);
    let engine = Arc::new(Engine::open(&url).unwrap());
    let session = session(&engine);
    let id = enqueue(&engine);
    let leased = lease(&session, 1);
    assert_eq!(leased[0].id, id);
    assert_eq!(succeed(&session, &leased), [Some(State::Succeeded)]);
    session.close().unwrap();
}
