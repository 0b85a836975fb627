//! Being told that a log has grown: one inotify instance for all logs that somebody follows.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::shutdown::Tasks;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Watches log folders. The instance is made with the first follower: most nodes never have one.
#[derive(Default)]
pub struct LogWatch {
    inner: Mutex<Option<Arc<Inner>>>,
}

struct Inner {
    inotify: AsyncFd<Descriptor>,
    /// By watched folder; the number counts what happened there.
    watched: Mutex<HashMap<WatchDescriptor, watch::Sender<u64>>>,
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[expect(
    deprecated,
    reason = "the other constructor is unsafe; it is sound for a descriptor that its value owns"
)]
fn readiness(inotify: Descriptor) -> io::Result<AsyncFd<Descriptor>> {
    AsyncFd::new(inotify)
}

impl LogWatch {
    /// Changes each time the log in `folder` has grown, from now on.
    pub fn follow(&self, folder: &Path, tasks: &Tasks) -> io::Result<watch::Receiver<u64>> {
        let inner = self.inner(tasks)?;
        let mut watched = inner.watched.lock().expect("no holder panics");
        inner.forget_unwatched(&mut watched);
        let flags = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
        // The same folder gives the same descriptor again.
        let descriptor = inner.inotify.get_ref().0.add_watch(folder, flags)?;
        Ok(watched.entry(descriptor).or_insert_with(|| watch::channel(0).0).subscribe())
    }

    fn inner(&self, tasks: &Tasks) -> io::Result<Arc<Inner>> {
        let mut inner = self.inner.lock().expect("no holder panics");
        if let Some(inner) = &*inner {
            return Ok(inner.clone());
        }
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let made = Arc::new(Inner { inotify: readiness(Descriptor(inotify))?, watched: Mutex::default() });
        *inner = Some(made.clone());
        tasks.spawn_until_stopped(made.clone().hand_out());
        Ok(made)
    }
}

impl Inner {
    async fn hand_out(self: Arc<Self>) {
        loop {
            let Ok(mut ready) = self.inotify.readable().await else { return };
            match self.inotify.get_ref().0.read_events() {
                Ok(events) => {
                    let mut watched = self.watched.lock().expect("no holder panics");
                    for event in events {
                        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                            // Nobody knows where something happened: everybody looks.
                            watched.values().for_each(grown);
                        } else if let Some(sender) = watched.get(&event.wd) {
                            grown(sender);
                        }
                    }
                    self.forget_unwatched(&mut watched);
                }
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    fn forget_unwatched(&self, watched: &mut HashMap<WatchDescriptor, watch::Sender<u64>>) {
        watched.retain(|descriptor, sender| {
            let followed = sender.receiver_count() > 0;
            if !followed {
                let _ = self.inotify.get_ref().0.rm_watch(*descriptor); // it goes with its folder, too
            }
            followed
        });
    }
}

fn grown(sender: &watch::Sender<u64>) {
    sender.send_modify(|count| *count = count.wrapping_add(1));
}
