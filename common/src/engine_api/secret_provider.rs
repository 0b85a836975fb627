//! What a provider of secrets is asked, and what it answers: `POST /SecretProvider.GetSecret` of Docker's plugins.

use std::collections::BTreeMap;

use super::document::document;
use crate::object::sensitive::Sensitive;

/// Where a provider is asked.
pub const GET_SECRET: &str = "/SecretProvider.GetSecret";
/// What both sides send.
pub const PLUGIN_MEDIA_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

document! {
    pub struct SecretRequest {
        when_set:
        pub secret_name: String,
        pub secret_labels: BTreeMap<String, String>,
        /// Ours: the options of the secret's driver.
        pub secret_options: BTreeMap<String, String>,
        #[serde(rename = "ServiceID")]
        pub service_id: String,
        pub service_name: String,
        pub service_labels: BTreeMap<String, String>,
        pub service_hostname: String,
        pub service_endpoint_spec: Option<ServiceEndpoint>,
        #[serde(rename = "TaskID")]
        pub task_id: String,
        pub task_name: String,
        pub task_image: String,
        #[serde(rename = "NodeID")]
        pub node_id: String,
        /// Ours.
        pub node_hostname: String,
    }

    pub struct ServiceEndpoint {
        when_set:
        /// 0: a virtual address; 1: names alone.
        pub mode: i32,
        pub ports: Vec<ServicePort>,
    }

    pub struct ServicePort {
        when_set:
        pub name: String,
        /// 0: TCP; 1: UDP; 2: SCTP.
        pub protocol: i32,
        pub target_port: u32,
        pub published_port: u32,
        /// 0: on every node; 1: on the task's own.
        pub publish_mode: i32,
    }

    pub struct SecretAnswer {
        when_set:
        /// Base64.
        pub value: Option<Sensitive>,
        pub err: String,
        /// The value is for that task alone. Of us every one is.
        pub do_not_reuse: bool,
    }
}
