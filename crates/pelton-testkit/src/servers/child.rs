//! A process that does not outlive the one that started it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc;

/// A server's process.
#[derive(Debug)]
pub struct Child {
    process: Mutex<std::process::Child>,
}

impl Child {
    /// Starts `program`, with what it says thrown away. `setpriv` has it killed when the thread
    /// that starts it is gone, which is one that stays until the process ends.
    #[must_use]
    pub fn start(program: &str, arguments: Vec<OsString>, settings: Vec<OsString>) -> Self {
        let path = find(program);
        let (sender, receiver) = mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let child = Command::new("setpriv")
                .args(["--pdeathsig", "KILL"])
                .args(settings)
                .arg(path)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn();
            sender.send(child).unwrap();
            loop {
                std::thread::park();
            }
        });
        let process = Mutex::new(receiver.recv().unwrap().unwrap());
        Self { process }
    }

    /// Ends it as a power cut would, with the processes that it has started itself: one of those
    /// may wait for ever for a lock that another held, and keep what a restart needs.
    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        let started = children_of(process.id());
        // It may have ended by itself.
        let _ = process.kill();
        process.wait().unwrap();
        if !started.is_empty() {
            // Some end by themselves, since their parent is gone.
            let _ = Command::new("sh")
                .arg("-c")
                .arg(format!("kill -KILL {}", started.join(" ")))
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.process.lock().unwrap().try_wait().unwrap().is_some()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The numbers of the processes that have this parent.
fn children_of(parent: u32) -> Vec<String> {
    let Ok(processes) = std::fs::read_dir("/proc") else { return Vec::new() };
    let is_child = |number: &String| {
        // After the name, which is in parentheses: the state, and the parent.
        let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        rest.split(' ').nth(1) == Some(&parent.to_string())
    };
    let numbers = processes.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    numbers.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).filter(is_child).collect()
}

/// Where a program is.
pub(crate) fn find(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        places.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    places.into_iter().map(|place| place.join(program)).find(|file| file.is_file()).unwrap_or_else(
        || panic!("there is no {program}: scripts/test installs it, by scripts/system-packages"),
    )
}
