//! A real board's port to hosts, and its log for people: defmt, at the level `info`.

use defmt::{info, warn};
use ocellus_firmware::app::{HostContext, HostHandler};
use ocellus_firmware::profile::Counter;
use ocellus_firmware::server::Server;
use ocellus_firmware::transport::Transport;
use ocellus_shared::wire::Reply;

/// Answers hosts, and logs what the board does.
pub struct HostPort<T, C> {
    server: Server<T, C>,
    /// The label that was logged last.
    label: Option<u32>,
}

impl<T, C> HostPort<T, C> {
    /// A port that has logged nothing.
    pub fn new(server: Server<T, C>) -> Self {
        Self { server, label: None }
    }

    /// Logs what is new: each label once, as long as it stands.
    fn log(&mut self, reply: &Reply) {
        match *reply {
            Reply::Ready { board, plan_bytes, arena_bytes } => {
                info!("{=str}: {=u32} bytes for a model, {=u32} for feature maps", board, plan_bytes, arena_bytes);
            }
            Reply::Plan { digest, steps, arena_bytes, .. } => {
                let digest = u64::from_be_bytes(digest);
                info!("model {=u64:016x}: {=u32} steps in {=u32} bytes", digest, steps, arena_bytes);
            }
            Reply::Classified { class, settled, margin, latency_us, name, .. } => {
                let label = settled.then_some(class);
                if label != self.label && settled {
                    info!("{=str}, ahead by {=f32}, {=u32} us after the frame", name, margin, latency_us);
                }
                self.label = label;
            }
            Reply::Fault { what, counts, .. } => {
                info!("no frame: {=str}; {=u32} of {=u32} came", what, counts.frames, counts.turns);
            }
            Reply::Error { refusal, detail, .. } => warn!("{=str}: {=str}", refusal.name(), detail),
            _ => {}
        }
    }
}

impl<T: Transport, C: Counter> HostHandler for HostPort<T, C> {
    fn poll(&mut self, context: HostContext) -> bool {
        self.server.poll(context)
    }

    fn report(&mut self, reply: &Reply) {
        self.log(reply);
        self.server.report(reply);
    }
}
