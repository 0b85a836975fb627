//! `swarm service inspect`

use std::collections::BTreeMap;

use common::engine_api::service::Service;
use common::time::{Clock, SystemClock};
use serde_json::{Value, json};

use super::pretty::pretty;
use crate::client::{Client, escape};
use crate::command::edit::text;
use crate::command::inspected::Inspected;
use crate::output::inspect::{self, Format};
use crate::output::print;

/// Show everything about services, with what holds where they say nothing
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  swarm service inspect --pretty web
  swarm service inspect --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}' web
  swarm service inspect --format '{{json .UpdateStatus}}' web")]
pub struct Args {
    /// Services by name, id, or start of an id
    #[arg(required = true, value_name = "SERVICE")]
    pub services: Vec<String>,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,

    /// Show in a form for people
    #[arg(long, conflicts_with = "format")]
    pub pretty: bool,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let ask = async |reference: &str| {
        Ok(client.get_bytes(&format!("/services/{}?insertDefaults=true", escape(reference))).await?)
    };
    let found = Inspected::ask(&args.services, ask).await;
    if !args.pretty {
        return found.show(args.format.as_ref(), |service| {
            fill(service);
            Ok(())
        });
    }
    for body in &found.bodies {
        let service: Service = serde_json::from_slice(body)?;
        let networks = network_names(client, &service).await;
        print(&pretty(&service, &networks, SystemClock.now()))?;
    }
    found.end()
}

/// Names of the service's networks by id; of one that cannot be asked for the id has to do.
async fn network_names(client: &Client, service: &Service) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for network in &service.spec.task_template.networks {
        let found = client.get::<Value>(&format!("/networks/{}", escape(&network.target))).await;
        if let Ok(found) = found
            && !text(&found, &["Name"]).is_empty()
        {
            names.insert(network.target.clone(), text(&found, &["Name"]).to_owned());
        }
    }
    names
}

/// What Docker's type has and its JSON leaves out.
fn fill(service: &mut Value) {
    let container = json!({
        "Image": "", "Labels": {}, "Command": [], "Args": [], "Hostname": "", "Env": [], "Dir": "", "User": "",
        "Groups": [], "Privileges": null, "Init": null, "StopSignal": "", "TTY": false, "OpenStdin": false,
        "ReadOnly": false, "Mounts": [], "StopGracePeriod": null, "Healthcheck": null, "Hosts": [],
        "DNSConfig": null, "Secrets": [], "Configs": [], "Isolation": "", "Sysctls": {}, "CapabilityAdd": [],
        "CapabilityDrop": [], "Ulimits": [], "OomScoreAdj": 0,
    });
    inspect::fill(
        service,
        &json!({
            "Spec": {
                "Name": "", "Labels": {}, "UpdateConfig": null, "RollbackConfig": null, "EndpointSpec": null,
                "Mode": {"Replicated": null, "Global": null, "ReplicatedJob": null, "GlobalJob": null},
                "TaskTemplate": {
                    "ContainerSpec": container, "Resources": null, "RestartPolicy": null, "Placement": null,
                    "Networks": [], "LogDriver": null, "ForceUpdate": 0, "Runtime": "",
                },
            },
            "PreviousSpec": null, "UpdateStatus": null, "ServiceStatus": null, "JobStatus": null,
            "Endpoint": {"Spec": {"Mode": "", "Ports": []}, "Ports": [], "VirtualIPs": []},
        }),
    );
}
