//! Certificates for tests of TLS, made by `openssl`.

use std::path::Path;
use std::process::Command;

/// Makes, in `directory`: an authority (`ca.pem`, `ca.key`), certificates of it for a server called
/// `localhost` (`server`) and for a client (`client`), and an authority that nobody trusts
/// (`stranger`).
pub fn make_certificates(directory: &Path) {
    let request = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    let new =
        |name: &str| format!("req -x509 -days 2 {request} -keyout {name}.key -out {name}.pem");
    for name in ["ca", "stranger"] {
        openssl(directory, &format!("{} -subj /CN={name}", new(name)));
    }
    let signed = "-CA ca.pem -CAkey ca.key -addext basicConstraints=critical,CA:FALSE";
    for (name, host) in [("server", "-addext subjectAltName=DNS:localhost"), ("client", "")] {
        openssl(directory, &format!("{} {signed} -subj /CN={name} {host}", new(name)));
    }
}

fn openssl(directory: &Path, arguments: &str) {
    let done = Command::new("openssl")
        .current_dir(directory)
        .args(arguments.split_whitespace())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "openssl {arguments}: {said}");
}
