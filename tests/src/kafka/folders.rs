//! Where the harness keeps its files: under the target folder of the running test, never in the source tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::java;

/// The folder for everything that concerns a real Kafka.
///
/// The running test program lies in the target folder, wherever `CARGO_TARGET_DIR` or a configuration has put it;
/// cargo marks the top of that folder with a `CACHEDIR.TAG`.
pub(super) fn root() -> PathBuf {
    let program = std::env::current_exe().expect("a running test has a path");
    let target = program
        .ancestors()
        .skip(1)
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    let target = match target {
        Some(target) => target.to_owned(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
    };
    target.join("real-kafka")
}

/// A new folder for one broker's files, named after this process.
pub(super) fn new_run() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let runs = root().join("run");
    remove_leftovers(&runs);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let run = runs.join(format!("{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&run);
    fs::create_dir_all(&run).unwrap_or_else(|error| panic!("cannot create {}: {error}", run.display()));
    run
}

/// Removes what test processes left behind that are gone now: a failed test keeps its files until the next run.
fn remove_leftovers(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.split('-').next().and_then(|pid| pid.parse::<u32>().ok());
        if owner.is_some_and(|pid| !java::is_alive(pid)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The bytes in the segments of all partitions of a topic. What cannot be read counts as nothing: a folder may just appear.
pub(super) fn size_of_logs(logs: &Path, topic: &str) -> u64 {
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    let is_partition = |name: &str| {
        name.strip_prefix(topic)
            .and_then(|rest| rest.strip_prefix('-'))
            .is_some_and(|rest| rest.parse::<u32>().is_ok())
    };
    entries(logs)
        .filter(|folder| is_partition(&folder.file_name().to_string_lossy()))
        .flat_map(|folder| entries(&folder.path()))
        .filter(|file| file.path().extension().is_some_and(|end| end == "log"))
        .filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}
