//! Engines that are away, hang, or go half-way, and steps that are dropped.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::object::container::ContainerSpec;
use common::shutdown::Tasks;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use worker::runtime::{RunError, Seen};

use crate::support::{Node, SOON, engine, shell};

/// What stands between a node and the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections are taken and nothing is answered.
    Silent,
    /// Connections are cut at once.
    Cut,
}

/// A socket that leads to the engine as long as it may.
struct Gate {
    socket: PathBuf,
    way: watch::Sender<Way>,
    taken: Arc<Mutex<usize>>,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

impl Gate {
    fn before(engine: &Path) -> Gate {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (way, taken, tasks) = (watch::Sender::new(Way::Open), Arc::new(Mutex::new(0)), Tasks::new());
        let (engine, open, counted, owner) =
            (engine.to_path_buf(), way.clone(), taken.clone(), tasks.clone());
        tasks.spawn_until_stopped(async move {
            while let Ok((client, _)) = listener.accept().await {
                *counted.lock().unwrap() += 1;
                owner.spawn_until_stopped(carry(client, engine.clone(), open.subscribe()));
            }
        });
        Gate { socket, way, taken, tasks, _folder: folder }
    }

    fn is(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Connections made so far.
    fn taken(&self) -> usize {
        *self.taken.lock().unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}

async fn carry(mut client: UnixStream, engine: PathBuf, mut way: watch::Receiver<Way>) {
    let Ok(mut server) = UnixStream::connect(engine).await else { return };
    let is = *way.borrow_and_update();
    match is {
        Way::Open => {}
        Way::Silent => std::future::pending().await,
        Way::Cut => return,
    }
    // A connection that was open ends when the way is no longer.
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
        _ = way.wait_for(|way| *way != Way::Open) => {}
    }
}

#[tokio::test]
async fn a_missing_engine_is_waited_for() {
    let test = "a_missing_engine_is_waited_for";
    let Some(engine) = engine(test) else { return };
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("later.sock");
    let node = Node::on(&engine, &socket);
    let task = node.task(ContainerSpec::default());
    let Err(RunError::Temporary(words)) = node.prepare(&task).await else { panic!("there is no engine") };
    assert!(words.contains("Docker Engine") && words.contains("later.sock"), "{words}");
    std::os::unix::fs::symlink(&engine, &socket).unwrap();
    assert!(matches!(node.run(&task).await, Seen::Running { .. }));
}

#[tokio::test]
async fn what_happened_while_the_engine_was_away_is_seen() {
    let test = "what_happened_while_the_engine_was_away_is_seen";
    let Some(engine) = engine(test) else { return };
    let gate = Gate::before(&engine);
    let node = Node::on(&engine, &gate.socket);
    let (ends, stays) = (node.task(ContainerSpec::default()), node.task(ContainerSpec::default()));
    let running = [node.run(&ends).await, node.run(&stays).await];
    let Seen::Running { container, .. } = &running[0] else { panic!("it runs") };

    let changed = node.runtime.changed(ends.task, &running[0]);
    let trouble = async {
        gate.is(Way::Cut);
        assert!(matches!(node.runtime.look(ends.task).await, Err(RunError::Temporary(_))));
        assert!(matches!(node.runtime.stop(&stays).await, Err(RunError::Temporary(_))));
        assert!(matches!(node.runtime.present().await, Err(RunError::Temporary(_))));
        node.docker(&["kill", &container.id]);
        gate.is(Way::Open);
    };
    let (seen, ()) = timeout(SOON / 2, async { tokio::join!(changed, trouble) }).await.unwrap();
    assert!(matches!(seen, Ok(Seen::Ended(exit)) if exit.code == 137));
    assert_eq!(node.look(&stays).await, running[1]);
}

/// A silent engine is noticed only by its bound; the clock is turned for that.
#[tokio::test(start_paused = true)]
async fn a_hanging_engine_makes_every_step_end_in_time() {
    let test = "a_hanging_engine_makes_every_step_end_in_time";
    let Some(engine) = engine(test) else { return };
    let gate = Gate::before(&engine);
    gate.is(Way::Silent);
    let node = Node::on(&engine, &gate.socket);
    let task = node.task(shell("true"));
    let options = crate::support::everything();
    let limit = Duration::from_secs(200);
    #[rustfmt::skip]
    let outcomes = [
        timeout(limit, node.prepare(&task)).await.unwrap(),
        timeout(limit, node.runtime.start(&task)).await.unwrap(),
        timeout(limit, node.runtime.stop(&task)).await.unwrap(),
        timeout(limit, node.runtime.remove(task.task)).await.unwrap(),
        timeout(limit, node.runtime.look(task.task)).await.unwrap().map(drop),
        timeout(limit, node.runtime.present()).await.unwrap().map(drop),
        timeout(limit, node.runtime.addresses(task.task)).await.unwrap().map(drop),
        timeout(limit, node.runtime.run_inside(task.task, &["true".into()], limit)).await.unwrap().map(drop),
        timeout(limit, node.runtime.logs(task.task, options)).await.unwrap().map(drop),
    ];
    for outcome in outcomes {
        let Err(RunError::Temporary(words)) = outcome else { panic!("nothing was answered: {outcome:?}") };
        assert!(words.contains("did not answer within"), "{words}");
    }
}

#[tokio::test]
async fn many_waits_cost_one_stream_of_events() {
    let test = "many_waits_cost_one_stream_of_events";
    let Some(engine) = engine(test) else { return };
    let gate = Gate::before(&engine);
    let node = Node::on(&engine, &gate.socket);
    let task = node.task(ContainerSpec::default());
    let running = node.run(&task).await;
    let before = gate.taken();
    let waits = (0..200).map(|_| node.runtime.changed(task.task, &running));
    let mut all = futures_util::future::join_all(waits);
    let looked_once = async {
        while gate.taken() < before + 200 {
            sleep(Duration::from_millis(10)).await;
        }
        // Nothing follows the first looks but, once in a while, one survey for all of them.
        sleep(Duration::from_secs(2)).await;
        assert!(gate.taken() <= before + 201, "waiting asks the engine nothing");
    };
    tokio::select! {
        ends = &mut all => panic!("nothing has changed: {ends:?}"),
        looked = timeout(SOON, looked_once) => looked.unwrap(),
    }
    let stop = async { node.runtime.stop(&node.task_like(&task, Duration::ZERO)).await.unwrap() };
    let (ends, ()) = timeout(SOON, async { tokio::join!(all, stop) }).await.unwrap();
    assert!(ends.iter().all(|seen| matches!(seen, Ok(Seen::Ended(_)))));
}

#[tokio::test]
async fn a_dropped_step_leaves_nothing_that_later_ones_miss() {
    let Some(node) = Node::of("a_dropped_step_leaves_nothing_that_later_ones_miss") else { return };
    // However far the step came: what follows it finds all of it.
    for patience in [0, 1, 3, 5, 10, 20, 40, 80, 160] {
        let task =
            node.task(ContainerSpec { stop_grace_period: Some(Duration::ZERO), ..ContainerSpec::default() });
        let patience = Duration::from_millis(patience);
        let _ = timeout(patience, node.prepare(&task)).await;
        node.runtime.remove(task.task).await.unwrap();
        assert_eq!(node.look(&task).await, Seen::Absent, "after {patience:?}");
        assert_eq!(node.runtime.present().await, Ok(vec![]), "after {patience:?}");

        node.prepare(&task).await.unwrap();
        let _ = timeout(patience, node.runtime.start(&task)).await;
        node.runtime.stop(&task).await.unwrap();
        let seen = node.look(&task).await;
        assert!(matches!(seen, Seen::Prepared | Seen::Ended(_)), "after {patience:?}: {seen:?}");
        node.runtime.remove(task.task).await.unwrap();
    }
}
