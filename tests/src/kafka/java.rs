//! The programs that a real Kafka needs from the machine: `java`, and `mvn` when the jars are not there yet.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Kafka 4 needs at least this one.
const OLDEST_JAVA: u32 = 17;
/// What a `java` is told that lives for a second or a minute: it is not worth compiling well, and two cores have no use for more collectors.
pub(super) const SHORT_LIFE: [&str; 2] = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The `java` program: of `JAVA_HOME` when that is set, else of the path.
pub(super) fn program() -> PathBuf {
    match std::env::var_os("JAVA_HOME") {
        Some(home) if !home.is_empty() => PathBuf::from(home).join("bin/java"),
        _ => PathBuf::from("java"),
    }
}

/// Is there a `java` that is new enough? If not, the reason.
pub(super) fn check() -> Result<(), String> {
    let output = Command::new(program())
        .arg("-version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("no java {OLDEST_JAVA} or newer on this machine ({error})"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    match major_version(&text) {
        Some(major) if major >= OLDEST_JAVA => Ok(()),
        Some(major) => Err(format!(
            "java is version {major}, and Kafka needs {OLDEST_JAVA} or newer"
        )),
        None => Err("java does not tell its version".to_owned()),
    }
}

/// Is there a Maven? If not, the reason.
pub(super) fn check_maven() -> Result<(), String> {
    Command::new("mvn")
        .arg("-version")
        .stdin(Stdio::null())
        .output()
        .map(|_| ())
        .map_err(|error| format!("no mvn on this machine to get Kafka's jars with ({error})"))
}

/// The major version in the first quoted word of what `java -version` prints.
fn major_version(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    let mut numbers = version
        .split(['.', '-', '+'])
        .map(|number| number.parse::<u32>().ok());
    match numbers.next()?? {
        1 => numbers.next()?,
        major => Some(major),
    }
}

/// Sends a signal (`STOP`, `CONT`, `TERM`) to a process of ours.
pub(super) fn signal(pid: u32, name: &str) {
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{name} {pid}"))
        .stdin(Stdio::null())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "cannot send SIG{name} to process {pid}"
    );
}

/// Does a process with this number exist?
pub(super) fn is_alive(pid: u32) -> bool {
    let probe = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -0 {pid}"))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_java_is_read_from_its_own_words() {
        assert_eq!(
            major_version("openjdk version \"17.0.15\" 2025-04-15\nOpenJDK Runtime"),
            Some(17)
        );
        assert_eq!(major_version("openjdk version \"21-ea\" 2023-09-19"), Some(21));
        assert_eq!(major_version("java version \"1.8.0_392\""), Some(8));
        assert_eq!(major_version("sh: java: not found"), None);
    }
}
