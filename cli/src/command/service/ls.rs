//! `swarm service ls`

use common::engine_api::service::{Port, Service};
use serde_json::{Value, json};

use super::flags::scale;
use crate::client::Client;
use crate::output::listing::{Format, Listing};
use crate::output::{natural, print};
use crate::parse::filter::{Filter, with_filters};
use crate::parse::image;

/// List services
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Filters:
  id, name, label, mode (replicated|global|replicated-job|global-job), runtime

Columns for --format:
  .ID .Name .Mode .Replicas .Image .Ports

Examples:
  swarm service ls
  swarm service ls --filter mode=global --filter label=team=web
  swarm service ls --format '{{.Name}}: {{.Replicas}}'")]
pub struct Args {
    /// Show only services that match; same key: any of the values, different keys: all of them
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each service
    #[arg(long, default_value = "table", hide_default_value = true)]
    pub format: Format,

    /// Print IDs only
    #[arg(short, long)]
    pub quiet: bool,
}

const LISTING: Listing<'_> = Listing {
    columns: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Mode", "MODE"),
        ("Replicas", "REPLICAS"),
        ("Image", "IMAGE"),
        ("Ports", "PORTS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
};

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let mut path = with_filters("/services", &args.filters);
    if !args.quiet {
        path.push_str(if args.filters.is_empty() { "?status=true" } else { "&status=true" });
    }
    let mut services: Vec<Service> = client.get(&path).await?;
    services.sort_by(|left, right| natural::compare(&left.spec.name, &right.spec.name));
    let rows: Vec<Value> = services.iter().map(row).collect();
    print(&LISTING.show(&args.format, args.quiet, &rows)?)?;
    Ok(())
}

fn row(service: &Service) -> Value {
    let written = service.spec.task_template.container_spec.as_ref();
    let written = written.map(|container| container.image.as_str()).unwrap_or_default();
    json!({
        "ID": service.id.chars().take(12).collect::<String>(),
        "Name": service.spec.name,
        "Mode": mode(service),
        "Replicas": replicas(service),
        "Image": image::shown(written),
        "Ports": ports(&service.endpoint.ports),
    })
}

fn mode(service: &Service) -> &'static str {
    let mode = json!({"Mode": service.spec.mode});
    match scale::kind(&mode) {
        Some("Replicated") => "replicated",
        Some("Global") => "global",
        Some("ReplicatedJob") => "replicated job",
        Some("GlobalJob") => "global job",
        _ => "",
    }
}

/// `running/desired`, and what else counts in this mode.
fn replicas(service: &Service) -> String {
    let status = service.service_status.clone().unwrap_or_default();
    let (running, desired, completed) = (status.running_tasks, status.desired_tasks, status.completed_tasks);
    let mode = &service.spec.mode;
    let total = match (&mode.replicated_job, &mode.global_job) {
        (Some(job), _) => Some(job.total_completions.unwrap_or_default()),
        // Desired are those that have yet to complete.
        (None, Some(_)) => Some(desired + completed),
        (None, None) => None,
    };
    let placement = service.spec.task_template.placement.as_ref();
    let max = placement.map_or(0, |placement| placement.max_replicas);
    match total {
        Some(total) => format!("{running}/{desired} ({completed}/{total} completed)"),
        None if max > 0 && mode.replicated.is_some() => format!("{running}/{desired} (max {max} per node)"),
        None => format!("{running}/{desired}"),
    }
}

/// Published ports of the mesh, neighbours in one: `*:8080-8081->80-81/tcp`.
fn ports(ports: &[Port]) -> String {
    struct Range<'a> {
        protocol: &'a str,
        published: (u32, u32),
        target: (u32, u32),
    }
    let mut sorted: Vec<&Port> = ports.iter().filter(|port| port.publish_mode == "ingress").collect();
    sorted.sort_by(|left, right| {
        (&left.protocol, left.published_port).cmp(&(&right.protocol, right.published_port))
    });
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for port in sorted {
        let (published, target) = (port.published_port, port.target_port);
        let last = ranges.last_mut().filter(|range| {
            let is_range = range.target.0 != range.target.1;
            let follows = |number: u32, last: u32| number.wrapping_sub(last) <= 1;
            range.protocol == port.protocol
                && follows(published, range.published.1)
                && follows(target, range.target.1)
                && !(is_range && target <= range.target.1)
        });
        match last {
            Some(range) => (range.published.1, range.target.1) = (published, target),
            None => ranges.push(Range {
                protocol: &port.protocol,
                published: (published, published),
                target: (target, target),
            }),
        }
    }
    let span =
        |(first, last): (u32, u32)| if last > first { format!("{first}-{last}") } else { first.to_string() };
    let shown: Vec<String> = ranges
        .iter()
        .map(|range| format!("*:{}->{}/{}", span(range.published), span(range.target), range.protocol))
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_ports_are_one_range() {
        type Given<'a> = &'a [(u32, u32, &'a str, &'a str)];
        #[rustfmt::skip]
        let cases: [(Given<'_>, &str); 7] = [
            (&[], ""),
            (&[(8080, 80, "tcp", "ingress")], "*:8080->80/tcp"),
            (&[(8080, 80, "tcp", "host")], ""),
            (&[(81, 81, "tcp", "ingress"), (80, 80, "tcp", "ingress")], "*:80-81->80-81/tcp"),
            (&[(80, 80, "tcp", "ingress"), (81, 80, "tcp", "ingress")], "*:80-81->80/tcp"),
            (&[(80, 80, "tcp", "ingress"), (81, 81, "tcp", "ingress"), (82, 80, "tcp", "ingress")], "*:80-81->80-81/tcp, *:82->80/tcp"),
            (&[(80, 80, "tcp", "ingress"), (80, 80, "udp", "ingress"), (90, 90, "tcp", "ingress")], "*:80->80/tcp, *:90->90/tcp, *:80->80/udp"),
        ];
        for (given, expected) in cases {
            let given: Vec<Port> = given
                .iter()
                .map(|(published, target, protocol, mode)| Port {
                    protocol: (*protocol).into(),
                    target_port: *target,
                    published_port: *published,
                    publish_mode: (*mode).into(),
                    ..Port::default()
                })
                .collect();
            assert_eq!(ports(&given), expected);
        }
    }
}
