//! Images: which to pull, pulling each once however many tasks wait for it, and how far that is.
//!
//! A pull goes on while anybody waits for it, whoever began it, and ends when nobody does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use common::limits::{ENGINE_CALL_TIME_MAX, ENGINE_PULL_LAYERS_MAX, ENGINE_PULL_STALL_MAX, ENGINE_PULLS_MAX};
use common::object::sensitive::Sensitive;
use common::shutdown::Tasks;
use futures_util::StreamExt;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::warn;

use super::engine::{Engine, EngineError, NOT_FOUND, Work};
use crate::runtime::{Progress, RunError};

pub struct Images {
    engine: Arc<Engine>,
    tasks: Tasks,
    /// Pulls nothing: what is here has to do.
    prefer_offline: bool,
    under_way: Arc<Mutex<Vec<Pull>>>,
    turns: Arc<Semaphore>,
}

/// One pull; everybody who wants the same image with the same credentials waits for it.
#[derive(Clone)]
struct Pull {
    image: String,
    auth: Option<Sensitive>,
    state: watch::Sender<PullState>,
}

#[derive(Clone, Default)]
struct PullState {
    text: String,
    outcome: Option<Result<(), EngineError>>,
}

impl Images {
    pub fn new(engine: Arc<Engine>, tasks: Tasks, prefer_offline: bool) -> Self {
        let turns = Arc::new(Semaphore::new(ENGINE_PULLS_MAX));
        Self { engine, tasks, prefer_offline, under_way: Arc::default(), turns }
    }

    /// Done when the image is here, as new as its registry has it where the reference leaves that open.
    pub async fn ensure(
        &self,
        image: &str,
        auth: Option<&Sensitive>,
        progress: Progress<'_>,
    ) -> Result<(), RunError> {
        if self.prefer_offline || is_id(image) || has_digest(image) && self.is_local(image).await? {
            return Ok(());
        }
        let Err(error) = self.pull(image, auth, progress).await else { return Ok(()) };
        match &error {
            EngineError::Away(_) => Err(error.into()),
            EngineError::Refused { message, .. } if self.is_local(image).await? => {
                warn!(image, error = message, "image was not pulled, the one that is here is used");
                Ok(())
            }
            // Not what creating the container would say: that there is no such image is not why.
            EngineError::Refused { message, .. } => Err(RunError::Fatal(message.clone())),
        }
    }

    async fn is_local(&self, image: &str) -> Result<bool, RunError> {
        let found = self
            .engine
            .ask(Work::Look, ENGINE_CALL_TIME_MAX, async |client: bollard::Docker| {
                client.inspect_image(image).await.map(drop)
            })
            .await;
        match found {
            Ok(()) => Ok(true),
            Err(error) if error.is(NOT_FOUND) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn pull(
        &self,
        image: &str,
        auth: Option<&Sensitive>,
        tell: Progress<'_>,
    ) -> Result<(), EngineError> {
        let mut state = self.join(image, auth);
        let mut told = String::new();
        loop {
            let now = state.borrow_and_update().clone();
            if let Some(outcome) = now.outcome {
                return outcome;
            }
            if now.text != told {
                tell(now.text.clone());
                told = now.text;
            }
            if state.changed().await.is_err() {
                return Err(EngineError::Away("is no longer asked: the node stops".into()));
            }
        }
    }

    /// Joins a pull that is under way, or begins one.
    fn join(&self, image: &str, auth: Option<&Sensitive>) -> watch::Receiver<PullState> {
        let mut under_way = self.under_way.lock().expect("no holder panics");
        if let Some(pull) = under_way.iter().find(|pull| pull.image == image && pull.auth.as_ref() == auth) {
            return pull.state.subscribe();
        }
        let pull = Pull { image: image.into(), auth: auth.cloned(), state: watch::Sender::default() };
        let state = pull.state.subscribe();
        under_way.push(pull.clone());
        let (engine, turns, list) = (self.engine.clone(), self.turns.clone(), self.under_way.clone());
        self.tasks.spawn_until_stopped(async move { carry_out(&engine, &turns, &list, pull).await });
        state
    }
}

async fn carry_out(engine: &Engine, turns: &Semaphore, under_way: &Mutex<Vec<Pull>>, pull: Pull) {
    let leave = |list: &mut Vec<Pull>| list.retain(|other| !other.state.same_channel(&pull.state));
    let wanted = async {
        loop {
            pull.state.closed().await;
            // Looked at with the list held: nobody joins a pull that is given up.
            let mut list = under_way.lock().expect("no holder panics");
            if pull.state.receiver_count() == 0 {
                leave(&mut list);
                return;
            }
        }
    };
    let done = async {
        let _turn = turns.acquire().await.expect("it is never closed");
        run(engine, &pull).await
    };
    tokio::select! {
        () = wanted => {}
        outcome = done => {
            leave(&mut under_way.lock().expect("no holder panics"));
            pull.state.send_modify(|state| state.outcome = Some(outcome));
        }
    }
}

async fn run(engine: &Engine, pull: &Pull) -> Result<(), EngineError> {
    let mut client = engine.client().await?;
    if let Some(auth) = &pull.auth {
        // As the client sent it: the library would encode it anew, in a way that engines do not read.
        let Ok(mut value) = hyper::header::HeaderValue::from_str(auth.reveal()) else {
            return Err(EngineError::Refused {
                status: 400,
                message: "the registry credentials are not base64".into(),
            });
        };
        value.set_sensitive(true);
        client = client.with_request_modifier(move |mut request| {
            request.headers_mut().insert("x-registry-auth", value.clone());
            request
        });
    }
    let mut options = CreateImageOptionsBuilder::default().from_image(&pull.image);
    if is_name_only(&pull.image) {
        // Without it the engine would pull every tag there is.
        options = options.tag("latest");
    }
    let mut parts = client.create_image(Some(options.build()), None, None);
    let mut progress = PullProgress::default();
    loop {
        let part = timeout(ENGINE_PULL_STALL_MAX, parts.next()).await.map_err(|_| {
            let message = format!("pull of {}: no progress within {ENGINE_PULL_STALL_MAX:?}", pull.image);
            EngineError::Refused { status: 504, message }
        })?;
        let Some(part) = part.transpose().inspect_err(|_| engine.forget())? else { return Ok(()) };
        let text = progress.note(&part);
        pull.state.send_if_modified(|state| {
            let differs = state.text != text;
            state.text = text;
            differs
        });
    }
}

/// Adds up what the engine tells of each layer.
#[derive(Default)]
struct PullProgress {
    /// Bytes here and bytes in all, by layer.
    layers: BTreeMap<String, (i64, i64)>,
}

impl PullProgress {
    fn note(&mut self, part: &CreateImageInfo) -> String {
        if let Some(layer) = &part.id {
            self.note_layer(layer, part);
        }
        let here: i64 = self.layers.values().map(|(here, _)| *here).sum();
        let all: i64 = self.layers.values().map(|(_, all)| *all).sum();
        let megabytes = |bytes: i64| bytes / 1_000_000;
        match (megabytes(here), megabytes(all)) {
            (_, 0) => "pulling".into(),
            (here, all) if here < all => format!("pulling {here} of {all} MB"),
            (_, all) => format!("unpacking {all} MB"),
        }
    }

    fn note_layer(&mut self, layer: &str, part: &CreateImageInfo) {
        let detail = part.progress_detail.as_ref();
        match part.status.as_deref() {
            Some("Downloading") => {
                let here = detail.and_then(|detail| detail.current).unwrap_or_default().clamp(0, 1 << 50);
                let all = detail.and_then(|detail| detail.total).unwrap_or_default().clamp(here, 1 << 50);
                if self.layers.len() < ENGINE_PULL_LAYERS_MAX || self.layers.contains_key(layer) {
                    self.layers.insert(layer.into(), (here, all));
                }
            }
            Some("Download complete") => {
                if let Some((here, all)) = self.layers.get_mut(layer) {
                    *here = *all;
                }
            }
            _ => {}
        }
    }
}

/// `sha256:…` or the 64 digits alone: an image of this engine, which no registry knows by that name.
fn is_id(image: &str) -> bool {
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn has_digest(image: &str) -> bool {
    image.contains('@')
}

/// Neither tag nor digest. A colon before the last slash belongs to the registry's port.
fn is_name_only(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    !has_digest(image) && !last.contains(':')
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    #[test]
    fn references_say_what_to_pull() {
        let id = "0123456789abcdef".repeat(4);
        #[rustfmt::skip]
        let cases = [ // image, is an id, has a digest, is a name only
            ("nginx".to_string(), false, false, true),
            ("nginx:1.27".into(), false, false, false),
            ("localhost:5000/nginx".into(), false, false, true),
            ("localhost:5000/nginx:1".into(), false, false, false),
            (format!("nginx@sha256:{id}"), false, true, false),
            (format!("nginx:1@sha256:{id}"), false, true, false),
            (format!("sha256:{id}"), true, false, false),
            (id.clone(), true, false, true),
            (String::new(), false, false, true),
        ];
        for (image, id, digest, name) in cases {
            assert_eq!(
                (is_id(&image), has_digest(&image), is_name_only(&image)),
                (id, digest, name),
                "{image}"
            );
        }
    }

    #[tokio::test]
    async fn offline_nothing_is_pulled() {
        let tasks = Tasks::new();
        for (prefer_offline, wanted) in [(true, true), (false, false)] {
            let engine = Arc::new(Engine::at(std::path::Path::new("/no/engine.sock")));
            let images = Images::new(engine, tasks.clone(), prefer_offline);
            let outcome = images.ensure("nginx:1", None, &|_| ()).await;
            assert_eq!(outcome.is_ok(), wanted, "{outcome:?}");
        }
        tasks.stop().await;
    }

    #[test]
    fn progress_is_the_sum_of_the_layers() {
        let part = |layer: &str, status: &str, current, total| CreateImageInfo {
            id: Some(layer.into()),
            status: Some(status.into()),
            progress_detail: Some(ProgressDetail { current, total }),
            ..CreateImageInfo::default()
        };
        let mut progress = PullProgress::default();
        #[rustfmt::skip]
        let cases = [
            (part("latest", "Pulling from nginx", None, None), "pulling"),
            (part("a", "Downloading", Some(12_000_000), Some(40_000_000)), "pulling 12 of 40 MB"),
            (part("b", "Downloading", Some(0), Some(10_000_000)), "pulling 12 of 50 MB"),
            (part("a", "Download complete", None, None), "pulling 40 of 50 MB"),
            (part("c", "Already exists", None, None), "pulling 40 of 50 MB"),
            (part("b", "Download complete", None, None), "unpacking 50 MB"),
            (part("a", "Extracting", Some(1), Some(40_000_000)), "unpacking 50 MB"),
            (part("d", "Downloading", Some(i64::MAX), Some(-1)), "unpacking 1125899956 MB"),
        ];
        for (part, text) in cases {
            assert_eq!(progress.note(&part), text, "{part:?}");
        }
    }
}
