//! `get`: pools, Sandboxes and Tasks, on one screen or a kind alone.

use std::{fmt::Debug, pin::pin};

use arl_client::guarded::Guarded;
use arl_crds::{Sandbox, Task, WarmPool};
use clap::Args;
use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource, ResourceExt,
    api::ListParams,
    runtime::{WatchStreamExt, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    connect::Connection,
    failure::Failure,
    failures::Failures,
    kind::{self, Kind},
    listing::{self, Format},
    print,
    rows::{Row, Rows},
    screen::{self, Objects, View},
    table,
    versions::WatchFailures,
};

/// Show pools, Sandboxes and Tasks.
#[derive(Args, Debug)]
pub struct Flags {
    /// Only this kind.
    #[arg(value_enum)]
    kind: Option<Kind>,
    /// Only these objects.
    #[arg(requires = "kind", value_parser = kind::either)]
    name: Vec<String>,
    /// Of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "name")]
    all_namespaces: bool,
    /// Only those with these labels.
    #[arg(short = 'l', long, conflicts_with = "name")]
    selector: Option<String>,
    /// As json, yaml, name or wide.
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Go on with each change of this kind; an object that is deleted is shown as it was last.
    #[arg(short, long, requires = "kind", conflicts_with = "name")]
    watch: bool,
    /// Leave the names of the columns out.
    #[arg(long)]
    no_headers: bool,
}

/// Prints what is there.
pub async fn get(connection: &Connection, mut flags: Flags) -> Result<(), Failure> {
    if let Some(kind) = flags.kind {
        let names = flags.name.iter().map(|name| kind.name(name));
        flags.name = names.collect::<Result<_, _>>().map_err(Failure::ours)?;
    }
    // Of all namespaces none is missing.
    let of_all = flags.all_namespaces;
    print_all(connection, flags)
        .await
        .map_err(|failure| Failure { is_absence: failure.is_absence && !of_all, ..failure })
}

async fn print_all(connection: &Connection, flags: Flags) -> Result<(), Failure> {
    if flags.watch {
        return match flags.kind {
            Some(Kind::Pools) => changes::<WarmPool>(connection, &flags).await,
            Some(Kind::Sandboxes) => changes::<Sandbox>(connection, &flags).await,
            _ => changes::<Task>(connection, &flags).await,
        };
    }
    let mut failures = Failures::default();
    let objects = fetch_all(connection, &flags, &mut failures).await?;
    if !objects.is_empty() || flags.name.is_empty() {
        show_all(connection, &flags, &objects).await?;
    }
    failures.result()
}

async fn show_all(connection: &Connection, flags: &Flags, objects: &Objects) -> Result<(), Failure> {
    if objects.is_empty() && !flags.all_namespaces {
        connection.check_namespace().await?;
    }
    match flags.output {
        Some(Format::Name) => print::data(&names(objects)),
        Some(format @ (Format::Json | Format::Yaml)) => {
            let items = values(objects)?;
            let text = match items.as_slice() {
                [item] if flags.name.len() == 1 => listing::one(format, item)?,
                _ => listing::list(format, &items)?,
            };
            print::data(&text)
        }
        None | Some(Format::Wide) => {
            let view = View {
                is_wide: flags.output.is_some(),
                has_header: !flags.no_headers,
                has_namespace: flags.all_namespaces,
                now: table::now(),
            };
            let text = screen::render(view, objects);
            if text.is_empty() {
                print::note(nothing(connection, flags));
            }
            print::data(&text)
        }
    }
}

/// What is said where nothing is there.
fn nothing(connection: &Connection, flags: &Flags) -> String {
    let (what, next) = match flags.kind {
        Some(Kind::Pools) => ("pools", "; `kubectl arl pool create IMAGE` makes one"),
        Some(Kind::Sandboxes) => ("Sandboxes", "; `kubectl arl claim POOL` claims one"),
        Some(Kind::Tasks) => ("Tasks", ""),
        None => ("pools, Sandboxes or Tasks", "; `kubectl arl pool create IMAGE` makes a pool"),
    };
    let labels = flags.selector.as_ref().map_or_else(String::new, |selector| format!(" with the labels {selector}"));
    let place =
        if flags.all_namespaces { "the cluster".to_owned() } else { format!("namespace {}", connection.namespace) };
    format!("there are no {what}{labels} in {place}{next}")
}

/// Prints what is there, and each object again when it has changed.
async fn changes<K>(connection: &Connection, flags: &Flags) -> Result<(), Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Row
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize
        + Send
        + 'static,
{
    let api = api::<Guarded<K>>(connection, flags);
    let selected = ListParams { label_selector: flags.selector.clone(), ..ListParams::default() };
    listing::allowed(&api, &selected).await?;
    let config = watcher::Config { label_selector: flags.selector.clone(), ..watcher::Config::default() };
    let mut events = pin!(watcher(api, config).default_backoff());
    let mut rows = Rows::new(flags.output == Some(Format::Wide), !flags.no_headers, flags.all_namespaces);
    let (mut listed, mut is_listing) = (Vec::new(), true);
    let (mut failing, what) = (WatchFailures::default(), K::plural(&()));
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(object)) => listed.extend(listing::readable(object)),
            // A list that is made again, since the watch broke, says little that is new.
            Ok(watcher::Event::InitDone) => {
                failing.is_over();
                if std::mem::take(&mut is_listing) {
                    if listed.is_empty() && !flags.all_namespaces {
                        connection.check_namespace().await?;
                    }
                    show(flags, &mut rows, &listed)?;
                }
            }
            Ok(watcher::Event::Apply(object) | watcher::Event::Delete(object)) => {
                failing.is_over();
                show(flags, &mut rows, listing::readable(object).as_slice())?;
            }
            // It goes on where it was.
            Err(error) => failing.of(&what, &error),
        }
    }
    Ok(())
}

fn show<K: Row + Resource<DynamicType = ()> + Serialize>(
    flags: &Flags,
    rows: &mut Rows,
    objects: &[K],
) -> Result<(), Failure> {
    match flags.output {
        Some(Format::Name) => print::data(&objects.iter().map(name).collect::<String>()),
        Some(format @ (Format::Json | Format::Yaml)) => objects.iter().try_for_each(|object| {
            let start = if format == Format::Yaml { "---\n" } else { "" };
            print::data(&format!("{start}{}", listing::one(format, &listing::value(object)?)?))
        }),
        None | Some(Format::Wide) => print::data(&rows.lines(objects, table::now())),
    }
}

async fn fetch_all(connection: &Connection, flags: &Flags, failures: &mut Failures) -> Result<Objects, Failure> {
    let wants = |kind| flags.kind.is_none_or(|wanted| wanted == kind);
    let is_table = flags.output.is_none_or(|format| format == Format::Wide);
    let mut objects = Objects::default();
    if wants(Kind::Pools) {
        objects.pools = Some(fetch(connection, flags, failures, |pool: WarmPool| pool).await?);
    }
    if wants(Kind::Pools) && is_table {
        let pending = ListParams::default().fields("status.phase=Pending");
        objects.waiting = listing::all(&api::<Sandbox>(connection, flags), &pending, "Sandboxes").await?;
    }
    if wants(Kind::Sandboxes) {
        objects.sandboxes = Some(fetch(connection, flags, failures, |sandbox: Sandbox| sandbox).await?);
    }
    if wants(Kind::Tasks) {
        let keep = |mut task: Task| {
            if is_table {
                listing::without_outputs(&mut task);
            }
            task
        };
        objects.tasks = Some(fetch(connection, flags, failures, keep).await?);
    }
    Ok(objects)
}

fn api<K>(connection: &Connection, flags: &Flags) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if flags.all_namespaces { Api::all(connection.kube.clone()) } else { connection.api() }
}

/// All, or those that are named: one that is not there does not keep the others.
async fn fetch<K>(
    connection: &Connection,
    flags: &Flags,
    failures: &mut Failures,
    keep: impl Fn(K) -> K,
) -> Result<Vec<K>, Failure>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let (api, plural) = (api::<K>(connection, flags), K::plural(&()));
    if flags.name.is_empty() {
        let selected = ListParams { label_selector: flags.selector.clone(), ..ListParams::default() };
        return listing::all_as(&api, &selected, &plural, keep).await;
    }
    let mut found = Vec::new();
    for name in &flags.name {
        let object = api.get(name).await.map_err(|error| connection.failed::<K>("get", name, &error));
        found.extend(failures.take(object).map(&keep));
    }
    Ok(found)
}

fn names(objects: &Objects) -> String {
    fn of<K: Resource<DynamicType = ()>>(objects: Option<&Vec<K>>) -> String {
        objects.into_iter().flatten().map(name).collect()
    }
    of(objects.pools.as_ref()) + &of(objects.sandboxes.as_ref()) + &of(objects.tasks.as_ref())
}

fn name<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}.{}/{}\n", K::kind(&()).to_lowercase(), arl_crds::GROUP, object.name_any())
}

fn values(objects: &Objects) -> Result<Vec<Value>, Failure> {
    fn of<K: Serialize>(objects: Option<&Vec<K>>) -> impl Iterator<Item = Result<Value, Failure>> {
        objects.into_iter().flatten().map(listing::value)
    }
    of(objects.pools.as_ref()).chain(of(objects.sandboxes.as_ref())).chain(of(objects.tasks.as_ref())).collect()
}
