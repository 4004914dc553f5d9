//! A child process that cannot outlive the test, without `unsafe`: not when the test returns, panics, or is killed.
//!
//! A shell starts a watchdog in its process group and then becomes the program. The watchdog reads from a pipe whose other end
//! only the test process holds. When that end is gone, for whatever reason, the watchdog kills the whole group, itself
//! included, so no process number is used after its owner has ended.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

const SCRIPT: &str =
    "exec 3<&0; (cat <&3 >/dev/null 2>&1; kill -9 0) >/dev/null 2>&1 & exec \"$@\" 3<&- </dev/null";

/// A program under a watchdog; dropping it kills the program and waits for its end.
#[derive(Debug)]
pub(super) struct Watched {
    child: Child,
}

impl Watched {
    /// Starts the program with both of its outputs appended to a file.
    pub(super) fn start(program: &Path, arguments: &[OsString], output: &Path) -> io::Result<Self> {
        let log = File::options().create(true).append(true).open(output)?;
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "watchdog"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }

    /// The number of the program's process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, when it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `kill -9`, and waits until it is gone.
    pub(super) fn kill(&mut self) {
        // An error of either call means that the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{folders, java};

    fn sleeper() -> Watched {
        let folder = folders::new_run();
        Watched::start(Path::new("sleep"), &["600".into()], &folder.join("out.log")).expect("sleep starts")
    }

    #[tokio::test]
    async fn a_program_ends_when_the_other_end_of_its_pipe_is_gone() {
        let mut watched = sleeper();
        assert!(watched.ended().is_none(), "it runs while the test holds its end");

        drop(watched.child.stdin.take());

        let gone = async {
            while watched.ended().is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), gone)
            .await
            .expect("the watchdog killed it");
    }

    #[test]
    fn a_dropped_program_is_gone() {
        let watched = sleeper();
        let pid = watched.pid();
        assert!(java::is_alive(pid));
        drop(watched);
        assert!(!java::is_alive(pid));
    }
}
