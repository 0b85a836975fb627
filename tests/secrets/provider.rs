//! A provider of secrets beside a manager, as people may write one: it answers what a test tells it to.

use std::path::Path;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::shutdown::Tasks;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixListener;

/// What it says to one request.
pub type Says = Arc<dyn Fn(&Value) -> Value + Send + Sync>;

pub struct Provider {
    asked: Arc<Mutex<Vec<Value>>>,
    says: Arc<Mutex<Says>>,
    tasks: Tasks,
}

impl Provider {
    /// Listens where a node with that state folder looks for that driver.
    pub fn start(state_folder: &Path, driver: &str, says: Says) -> Provider {
        let folder = state_folder.join("secret-drivers");
        std::fs::create_dir_all(&folder).unwrap();
        let socket = folder.join(format!("{driver}.sock"));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).unwrap();
        let provider =
            Provider { asked: Arc::default(), says: Arc::new(Mutex::new(says)), tasks: Tasks::new() };
        let (asked, says, tasks) = (provider.asked.clone(), provider.says.clone(), provider.tasks.clone());
        provider.tasks.spawn_until_stopped(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (asked, says) = (asked.clone(), says.clone());
                let serve = service_fn(move |request: Request<Incoming>| {
                    let (asked, says) = (asked.clone(), says.clone());
                    async move {
                        assert_eq!(request.uri().path(), "/SecretProvider.GetSecret");
                        let body = request.into_body().collect().await?.to_bytes();
                        let body: Value = serde_json::from_slice(&body).unwrap();
                        let says = says.lock().unwrap().clone();
                        let answer = says(&body).to_string();
                        asked.lock().unwrap().push(body);
                        Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer))))
                    }
                });
                tasks.spawn_until_stopped(async move {
                    let serving = hyper::server::conn::http1::Builder::new();
                    let _ = serving.serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        provider
    }

    /// From now on it says something else.
    pub fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    /// All that it was asked.
    pub fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    pub async fn stop(self) {
        self.tasks.stop().await;
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.tasks.token().cancel();
    }
}
