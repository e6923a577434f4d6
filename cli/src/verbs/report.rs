//! `report`: what others need to find a cause, in one file.

use std::{
    fmt::Debug,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
};

use arl_crds::{Sandbox, Task, WarmPool, labels};
use clap::Args;
use flate2::{Compression, write::GzEncoder};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{Event, Pod},
};
use kube::{
    Api, Resource,
    api::{ListParams, LogParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tar::{Builder, Header};

use crate::{
    connect::Connection,
    failure::Failure,
    installed,
    listing::{self, Format},
    local_file::{self, Place},
    print,
    redact::redact,
    table,
};

/// Lines of an operator's log.
const LOG_MAX: i64 = 5000;
/// The folder in the archive.
const FOLDER: &str = "arl-report";

/// Write an archive for an issue: objects, pods, Events and the operator's log, without contents, outputs, commands and values of variables.
#[derive(Args, Debug)]
pub struct Flags {
    /// The file; unset: arl-report-TIME.tar.gz.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What is collected, and what could not be.
struct Report {
    files: Vec<(String, String)>,
    missing: String,
}

/// Writes it, and prints its name.
pub async fn report(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    connection.check_namespace().await?;
    let mut report = Report { files: Vec::new(), missing: String::new() };
    report.versions(connection).await;
    report.objects::<WarmPool>(connection, "").await;
    report.objects::<Sandbox>(connection, "").await;
    report.objects::<Task>(connection, "").await;
    report.objects::<Pod>(connection, labels::WARMPOOL).await;
    report.objects::<Event>(connection, "").await;
    report.logs(connection).await;
    let missing = std::mem::take(&mut report.missing);
    if !missing.is_empty() {
        print::note("left out:");
        missing.lines().for_each(print::note);
        report.files.push(("missing.txt".to_owned(), missing));
    }
    let file = flags.file.unwrap_or_else(|| {
        let time = table::now().strftime("%Y%m%dT%H%M%SZ");
        PathBuf::from(format!("{FOLDER}-{time}.tar.gz"))
    });
    // A pipe may be written once somebody reads it.
    let (path, files) = (file.clone(), report.files);
    let written = tokio::task::spawn_blocking(move || write(&path, &files)).await;
    written
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|error| Failure::ours(format!("{} cannot be written: {error}", file.display())))?;
    print::note("look through it before it leaves your hands: names of objects, images and nodes are in it");
    print::line(file.display())
}

impl Report {
    async fn versions(&mut self, connection: &Connection) {
        let mut text = format!("kubectl-arl {}\n", env!("CARGO_PKG_VERSION"));
        let lines = [
            installed::cluster(connection).await.map(|version| format!("Kubernetes {version}")),
            installed::definitions(connection).await.map(|definitions| format!("definitions {definitions}")),
            installed::operators(connection).await.map(|found| {
                found.iter().map(|operator| format!("operator {operator}")).collect::<Vec<_>>().join("\n")
            }),
        ];
        for line in lines {
            match line {
                Ok(line) => text.extend([&line, "\n"]),
                Err(failure) => self.missing.extend([&failure.message, "\n"]),
            }
        }
        self.files.push(("versions.txt".to_owned(), text));
    }

    async fn objects<K>(&mut self, connection: &Connection, selector: &str)
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    {
        let plural = K::plural(&());
        let selected = ListParams::default().labels(selector);
        let listed = listing::all(&connection.api::<K>(), &selected, &plural).await;
        match listed.and_then(|objects| text(&objects)) {
            Ok(text) => self.files.push((format!("{plural}.yaml"), text)),
            Err(failure) => self.missing.extend([&failure.message, "\n"]),
        }
    }

    async fn logs(&mut self, connection: &Connection) {
        for operator in installed::operators(connection).await.unwrap_or_default() {
            let pods: Api<Pod> = Api::namespaced(connection.kube.clone(), &operator.namespace);
            let parameters = LogParams { tail_lines: Some(LOG_MAX), ..LogParams::default() };
            match pods.logs(&operator.pod, &parameters).await {
                Ok(log) => self.files.push((format!("operator/{}.log", operator.pod), log)),
                Err(error) => {
                    let failure = Failure::api(&format!("read the log of pod {}", operator.pod), &error);
                    self.missing.extend([&failure.message, "\n"]);
                }
            }
        }
    }
}

fn text<K: Serialize>(objects: &[K]) -> Result<String, Failure> {
    let mut values = objects.iter().map(listing::value).collect::<Result<Vec<Value>, _>>()?;
    values.iter_mut().for_each(redact);
    listing::list(Format::Yaml, &values)
}

/// At once or not at all: an archive that ends in its middle is no report.
fn write(path: &Path, files: &[(String, String)]) -> std::io::Result<()> {
    match Place::of(path)? {
        Place::File(target) => {
            let new = local_file::beside(&target)?;
            archive(new.as_file(), files)?.sync_all()?;
            new.persist(target).map(drop).map_err(|error| error.error)
        }
        Place::Other => archive(File::options().write(true).open(path)?, files).map(drop),
    }
}

fn archive<W: Write>(to: W, files: &[(String, String)]) -> std::io::Result<W> {
    let mut archive = Builder::new(GzEncoder::new(to, Compression::default()));
    for (name, text) in files {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, format!("{FOLDER}/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}
