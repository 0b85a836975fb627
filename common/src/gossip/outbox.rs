//! What foca wants done, kept until its driver looks: packets, timers, notifications.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use foca::{Notification, OwnedNotification, Runtime, Timer};

use crate::transport::Peer;

use super::identity::Identity;
use super::packet;

#[derive(Default)]
pub(super) struct Outbox {
    pub sends: VecDeque<(Peer, Bytes)>,
    pub timers: Vec<(Duration, Timer<Identity>)>,
    pub notifications: Vec<OwnedNotification<Identity>>,
}

impl Runtime<Identity> for Outbox {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.notifications.push(notification.to_owned());
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push_back((to.peer(), packet::seal(data)));
    }

    fn submit_after(&mut self, timer: Timer<Identity>, after: Duration) {
        self.timers.push((after, timer));
    }
}
