//! Keeps a server where the tasks of each runtime find it.
//!
//! Containers ask at the node's own address on the engine's bridge, port 53: no container can be told another port.
//! Where that cannot be had (another resolver has it, or another daemon of the same engine), the node goes on without
//! names for containers, says so, and tries again.
//!
//! Processes all come from the same address, so each has a server at the loopback address that is its own: who is asked
//! there says who asks. No more than that keeps a process from another one's: on one machine they are not apart.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};

use common::limits::{DNS_BIND_RETRY, ENGINE_SURVEY_PERIOD};
use common::object::TaskId;
use common::random::SystemRandom;
use common::shutdown::Tasks;
use common::time::Clock;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::given::PROCESS_PORT;
use super::{Askers, Dns, DnsSettings, Door, RESOLV_CONF, RESOLVER_PORT, Rate};
use crate::mesh::names::{Asker, Zone};
use crate::runtime::docker::Docker;

/// What all servers of a node have in common.
#[derive(Clone)]
pub struct Names {
    pub zone: Arc<RwLock<Zone>>,
    /// A task of this node as one that asks.
    pub asker: Arc<dyn Fn(TaskId) -> Option<Asker> + Send + Sync>,
    pub clock: Arc<dyn Clock>,
}

impl Names {
    async fn serve(&self, address: SocketAddr, askers: Askers, tasks: &Tasks) -> std::io::Result<Dns> {
        let settings = DnsSettings {
            address,
            askers,
            zone: self.zone.clone(),
            resolv_conf: RESOLV_CONF.into(),
            resolver_port: RESOLVER_PORT,
            rate: Rate::default(),
            random: Box::new(SystemRandom),
            clock: self.clock.clone(),
        };
        Dns::start(settings, tasks).await
    }
}

/// One server for all containers, for as long as the node runs. An engine may come late, and with another bridge.
pub async fn for_containers(names: Names, docker: Arc<Docker>, door: Arc<Door>, tasks: Tasks) {
    let mut server: Option<(IpAddr, Tasks)> = None;
    let mut said = None;
    loop {
        let problem = match docker.bridge().await {
            // It is away, or busy: what was there before is there still.
            Err(error) => Some(error.to_string()),
            Ok(Some(address)) if server.as_ref().is_some_and(|(now, _)| *now == address) => None,
            Ok(address) => {
                door.set_server(None);
                if let Some((_, tasks)) = server.take() {
                    tasks.stop().await;
                }
                let own = tasks.child();
                match address {
                    None => Some("the Docker Engine of this node has no bridge".into()),
                    Some(address) => match at_bridge(&names, address, &door, &own).await {
                        Ok(()) => {
                            server = Some((address, own));
                            None
                        }
                        Err(error) => Some(error),
                    },
                }
            }
        };
        let pause = if problem.is_some() { DNS_BIND_RETRY } else { ENGINE_SURVEY_PERIOD };
        if problem.is_some() && problem != said {
            warn!(problem, "containers of this node do not find services by their names");
        }
        said = problem;
        sleep(pause).await;
    }
}

async fn at_bridge(names: &Names, address: IpAddr, door: &Arc<Door>, tasks: &Tasks) -> Result<(), String> {
    let (known, asker) = (door.clone(), names.asker.clone());
    let find = Arc::new(move |from| asker(known.task_at(from)?));
    let askers = Askers { find, changed: door.changed() };
    let address = SocketAddr::new(address, RESOLVER_PORT);
    names
        .serve(address, askers, tasks)
        .await
        .map_err(|error| format!("listen on {address}: {error}; stop what else listens there"))?;
    door.set_server(Some(address.ip()));
    info!(%address, "containers of this node find services by their names");
    Ok(())
}

/// One server for each process that has an address of its own.
pub async fn for_processes(names: Names, door: Arc<Door>, tasks: Tasks) {
    let mut servers: HashMap<(IpAddr, TaskId), Tasks> = HashMap::new();
    let mut changed = door.changed();
    loop {
        changed.mark_unchanged();
        let there = door.all();
        let gone = servers.extract_if(|place, _| !there.contains(place)).map(|(_, tasks)| tasks);
        for tasks in gone.collect::<Vec<_>>() {
            tasks.stop().await;
        }
        for (address, task) in there {
            if servers.contains_key(&(address, task)) {
                continue;
            }
            let own = tasks.child();
            let asker = names.asker.clone();
            let find = Arc::new(move |from: IpAddr| asker(task).filter(|_| from.is_loopback()));
            let askers = Askers { find, changed: watch::channel(0).1 };
            match names.serve(SocketAddr::new(address, PROCESS_PORT), askers, &own).await {
                Ok(_) => drop(servers.insert((address, task), own)),
                Err(error) => {
                    warn!(task.id = %task, %address, %error, "a process does not find services by their names");
                }
            }
        }
        if changed.changed().await.is_err() {
            return;
        }
    }
}
