//! Kafka's jars: got once through Maven into the target folder, then taken from there.
//!
//! A folder of jars appears under its final name only when it is complete (one atomic rename), so test processes that run
//! side by side do not disturb each other: at worst both download, and one of them wins.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use super::folders;
use super::java;
use super::setup::Release;

/// How long Maven may take before the download counts as failed: a hundred small files.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(480);

/// The jars of one release, complete on this machine.
#[derive(Clone, Debug)]
pub(super) struct Jars {
    release: Release,
    folder: PathBuf,
}

impl Jars {
    /// Takes the jars from the cache folder, or gets them first. The error says why this machine cannot have them.
    pub(super) async fn obtain(release: Release) -> Result<Self, String> {
        java::check()?;
        let folder = folders::root().join("jars").join(release.number());
        if !folder.exists() {
            java::check_maven()?;
            download(release, &folder).await?;
        }
        Ok(Self { release, folder })
    }

    /// The release that these jars are of.
    pub(super) fn release(&self) -> Release {
        self.release
    }

    /// What every `java` with these jars is told: where they are, how to log, and to speak UTF-8.
    pub(super) fn java_arguments(&self) -> [String; 4] {
        let folder = self.folder.display();
        let (property, file, _) = log_settings(self.release);
        [
            "-Dfile.encoding=UTF-8".to_owned(),
            format!("-D{property}=file:{folder}/{file}"),
            "-cp".to_owned(),
            format!("{folder}/*"),
        ]
    }
}

async fn download(release: Release, folder: &Path) -> Result<(), String> {
    let number = release.number();
    let unfinished = folder.with_file_name(format!("{number}.unfinished-{}", std::process::id()));
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)
        .map_err(|error| format!("cannot create {}: {error}", unfinished.display()))?;
    let pom = unfinished.join("pom.xml");
    let (_, log_file, log_text) = log_settings(release);
    for (file, text) in [
        (&pom, pom_text(release).as_str()),
        (&unfinished.join(log_file), log_text),
    ] {
        fs::write(file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
    }

    let copied = copy_dependencies(&pom, &unfinished).await;
    let finished = copied.and_then(|()| match fs::rename(&unfinished, folder) {
        Err(_) if folder.exists() => Ok(()),
        renamed => renamed.map_err(|error| format!("cannot create {}: {error}", folder.display())),
    });
    let _ = fs::remove_dir_all(&unfinished);
    finished.map_err(|reason| format!("cannot get the jars of Kafka {number}: {reason}"))
}

async fn copy_dependencies(pom: &Path, folder: &Path) -> Result<(), String> {
    let maven = Command::new("mvn")
        .args(["--batch-mode", "--quiet", "--strict-checksums", "--file"])
        .arg(pom)
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", folder.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DOWNLOAD_LIMIT, maven)
        .await
        .map_err(|_| format!("Maven did not end within {} s", DOWNLOAD_LIMIT.as_secs()))?
        .map_err(|error| format!("cannot run mvn: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let reason = said
        .lines()
        .find(|line| line.contains("[ERROR]"))
        .unwrap_or("no reason given");
    Err(format!("Maven: {reason}"))
}

/// A project that consists of its dependencies. Kafka 4 ships no binding from slf4j to log4j2, so one is added: a broker
/// that fails must be able to say why.
fn pom_text(release: Release) -> String {
    let number = release.number();
    let mut artifacts = vec![
        ("org.apache.kafka", "kafka_2.13", number),
        ("org.apache.kafka", "kafka-tools", number),
    ];
    if release == Release::V4_3_1 {
        artifacts.push(("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.4"));
    }
    let dependencies: String = artifacts
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                 <version>{version}</version></dependency>\n"
            )
        })
        .collect();
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
         <groupId>kommit</groupId><artifactId>real-kafka</artifactId><version>1</version><packaging>pom</packaging>\n  \
         <dependencies>\n{dependencies}  </dependencies>\n</project>\n"
    )
}

/// Warnings and errors to standard error: the Java property that names the file, the file's name, and its text.
fn log_settings(release: Release) -> (&'static str, &'static str, &'static str) {
    match release {
        Release::V4_3_1 => ("log4j2.configurationFile", "log4j2.xml", LOG4J2),
        Release::V3_9_1 => ("log4j.configuration", "log4j.properties", LOG4J1),
    }
}

const LOG4J2: &str = r#"<Configuration status="error">
  <Appenders>
    <Console name="console" target="SYSTEM_ERR"><PatternLayout pattern="%d %p %m (%c)%n"/></Console>
  </Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="console"/></Root></Loggers>
</Configuration>
"#;

const LOG4J1: &str = "log4j.rootLogger=WARN, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %m (%c)%n
";
