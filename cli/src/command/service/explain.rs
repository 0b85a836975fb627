//! `swarm service explain`

use common::engine_api::service::Explanation;
use serde_json::Value;

use crate::client::{Client, escape};
use crate::output::inspect::{self, Format};
use crate::output::{print, table};

/// Say why a service is as it is: what its update waits for, which tasks wait and why, which nodes could take one
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Example:
  swarm service explain web")]
pub struct Args {
    /// Service by name, id, or start of an id
    pub service: String,

    /// `json`, or a Go template
    #[arg(short, long)]
    pub format: Option<Format>,
}

pub async fn run(args: Args, client: &Client) -> anyhow::Result<()> {
    let path = format!("/swarm/x/services/{}/explain", escape(&args.service));
    match &args.format {
        Some(format) => {
            let explanation: Value = client.get(&path).await?;
            print(&inspect::show(format, &explanation)?)?;
        }
        None => print(&text(&client.get(&path).await?))?,
    }
    Ok(())
}

fn text(explanation: &Explanation) -> String {
    let mut text = String::new();
    for line in &explanation.summary {
        text.push_str(&format!("{line}\n"));
    }
    if !explanation.waiting.is_empty() {
        let rows = explanation.waiting.iter().map(|task| {
            let id: String = task.id.chars().take(12).collect();
            format!("{id}\t{}\t{}\t{}\n", task.slot, task.state, task.reason)
        });
        text.push_str(&section(
            &text,
            &format!("TASK\tSLOT\tSTATE\tWAITS FOR\n{}", rows.collect::<String>()),
        ));
    }
    if !explanation.nodes.is_empty() {
        let rows = explanation.nodes.iter().map(|node| {
            let verdict = if node.suitable { "yes" } else { "no" };
            format!("{}\t{}\t{verdict}\t{}\n", node.hostname, node.tasks, node.reasons.join("; "))
        });
        text.push_str(&section(
            &text,
            &format!("NODE\tTASKS\tTAKES ONE MORE\tBECAUSE\n{}", rows.collect::<String>()),
        ));
    }
    text
}

/// A table, an empty line below what stands above it.
fn section(above: &str, cells: &str) -> String {
    let gap = if above.is_empty() { "" } else { "\n" };
    format!("{gap}{}", table::align(cells))
}

#[cfg(test)]
mod tests {
    use common::engine_api::service::{NodeVerdict, WaitingTask};

    use super::*;

    #[test]
    fn an_explanation_reads_from_the_whole_to_the_parts() {
        let explanation = Explanation {
            summary: vec!["1 of 2 tasks runs".into(), "an update goes on".into()],
            waiting: vec![WaitingTask {
                id: "t".repeat(25),
                slot: 2,
                state: "pending".into(),
                reason: "no suitable node".into(),
            }],
            nodes: vec![
                NodeVerdict { hostname: "node1".into(), suitable: true, tasks: 1, ..NodeVerdict::default() },
                NodeVerdict {
                    hostname: "node2".into(),
                    reasons: vec!["drained".into(), "too small".into()],
                    ..NodeVerdict::default()
                },
            ],
        };
        let expected = "\
1 of 2 tasks runs
an update goes on

TASK           SLOT      STATE     WAITS FOR
tttttttttttt   2         pending   no suitable node

NODE      TASKS     TAKES ONE MORE   BECAUSE
node1     1         yes              \nnode2     0         no               drained; too small
";
        assert_eq!(text(&explanation), expected);
        assert_eq!(text(&Explanation::default()), "");
    }
}
