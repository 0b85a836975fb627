//! `swarm secret create`, `swarm config create`

use common::engine_api::container::Driver;
use common::engine_api::payload::{PayloadCreated, PayloadSpec};
use common::object::PayloadKind;

use super::data::{self, DataArgs};
use super::path;
use crate::client::Client;
use crate::exit::Failure;
use crate::output::print_line;
use crate::parse::pair;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Name, unique in the cluster
    pub name: String,

    #[command(flatten)]
    pub data: DataArgs,

    /// Label
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair::label)]
    pub labels: Vec<(String, String)>,

    /// Fill the value in for each task, as a template; only golang is known
    #[arg(long, value_name = "DRIVER")]
    pub template_driver: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct SecretArgs {
    #[command(flatten)]
    pub common: Args,

    /// Who has the value instead of the cluster
    #[arg(short, long)]
    pub driver: Option<String>,
}

pub async fn run(args: Args, driver: Option<&str>, kind: PayloadKind, client: &Client) -> anyhow::Result<()> {
    let data = args.data.read()?;
    match (driver, &data) {
        (Some(_), Some(_)) => {
            return Err(Failure::usage("when using secret driver secret data must be empty").into());
        }
        (None, None) => return Err(data::missing()),
        (Some(_), None) | (None, Some(_)) => {}
    }
    let named = |name: &str| Driver { name: name.into(), ..Driver::default() };
    let spec = PayloadSpec {
        name: args.name,
        labels: args.labels.into_iter().collect(),
        data,
        driver: driver.map(named),
        templating: args.template_driver.as_deref().map(named),
    };
    let created: PayloadCreated = client.post_for(&format!("/{}/create", path(kind)), &spec).await?;
    Ok(print_line(&created.id)?)
}
