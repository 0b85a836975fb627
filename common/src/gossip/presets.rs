//! The numbers of `local`, `lan` and `wan`: how often to ask, how long to wait, how fast to spread.
//!
//! A silent node is noticed after at most one watch period (until its watcher asks), three watch timeouts (until the
//! question counts as unanswered) and the suspicion. The simulator holds the `lan` numbers against their promises.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use crate::limits::GOSSIP_DATAGRAM_BYTES_MAX;
use crate::object::cluster::LivenessPreset;

use super::packet::FORMAT_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// Every node asks the next one in the order of ids per period,
    pub watch_period: Duration,
    /// and again after this time, three times in all.
    pub watch_timeout: Duration,
    /// Besides, every node asks one other node at random per period.
    pub probe_period: Duration,
    /// How long a direct answer may take before others are asked to try.
    pub probe_timeout: Duration,
    /// How long a suspect may take to object, in good health.
    pub suspicion: Duration,
    /// While there is news, it is passed on this often,
    pub gossip_period: Duration,
    /// to this many nodes; as many are asked to try a silent node.
    pub fanout: usize,
    /// Alone, a node calls others this often at most,
    pub join_period_max: Duration,
    /// and it calls those who are down, so that both sides of a healed partition meet.
    pub merge_period: Duration,
    /// In good company, it compares notes with somebody this often.
    pub compare_period: Duration,
    /// How long the dead are remembered.
    pub forget_after: Duration,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const LAN: Preset = Preset {
    watch_period: ms(300),
    watch_timeout: ms(80),
    probe_period: ms(1_000),
    probe_timeout: ms(300),
    suspicion: ms(600),
    gossip_period: ms(100),
    fanout: 3,
    join_period_max: ms(1_500),
    merge_period: ms(1_000),
    compare_period: ms(10_000),
    forget_after: ms(3_600_000),
};

const LOCAL: Preset = Preset { gossip_period: ms(50), ..LAN };

const WAN: Preset = Preset {
    watch_period: ms(1_000),
    watch_timeout: ms(400),
    probe_period: ms(2_000),
    probe_timeout: ms(800),
    suspicion: ms(3_000),
    gossip_period: ms(200),
    fanout: 4,
    join_period_max: ms(5_000),
    merge_period: ms(2_000),
    compare_period: ms(20_000),
    ..LAN
};

/// Sends per piece of news: enough that nobody is missed, growing slowly with the cluster.
const TRANSMISSIONS_MIN: u8 = 10;
const TRANSMISSIONS_MAX: u8 = 24;
/// When hundreds come or go at once, comparing lists is cheaper than telling everybody everything ten times.
const TRANSMISSIONS_OF_MANY: u8 = 4;
const NEWS_MANY: usize = 64;

impl Preset {
    pub fn of(preset: LivenessPreset) -> Self {
        match preset {
            LivenessPreset::Local => LOCAL,
            LivenessPreset::Lan => LAN,
            LivenessPreset::Wan => WAN,
        }
    }

    pub(super) fn config(&self, transmissions: NonZeroU8) -> foca::Config {
        foca::Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_timeout,
            num_indirect_probes: non_zero(self.fanout),
            max_transmissions: transmissions,
            suspect_to_down_after: self.suspicion,
            remove_down_after: Some(self.forget_after),
            // The same on every node: it also bounds what is accepted.
            max_packet_size: non_zero(GOSSIP_DATAGRAM_BYTES_MAX - FORMAT_BYTES),
            notify_down_members: true,
            // Our own timers do these, only when there is something to do.
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: None,
        }
    }
}

/// Sends per piece of news, given how many nodes there are and how many pieces wait to be sent.
pub(super) fn transmissions(members: usize, waiting: usize) -> NonZeroU8 {
    // A node misses a piece of news with a probability of about e to the minus this.
    let wanted = 2 * members.max(1).ilog2() as u8;
    let wanted = match waiting {
        0..NEWS_MANY => wanted.clamp(TRANSMISSIONS_MIN, TRANSMISSIONS_MAX),
        _ => TRANSMISSIONS_OF_MANY,
    };
    NonZeroU8::new(wanted).expect("none of them is zero")
}

fn non_zero(value: usize) -> NonZeroUsize {
    NonZeroUsize::new(value).expect("presets have no zeros")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_leaves_time_for_the_second_chance_and_for_objections() {
        for name in [LivenessPreset::Local, LivenessPreset::Lan, LivenessPreset::Wan] {
            let preset = Preset::of(name);
            assert!(preset.probe_timeout * 2 <= preset.probe_period, "{name:?}");
            assert!(preset.suspicion >= preset.watch_timeout * 6, "{name:?}");
            assert!(preset.suspicion >= preset.gossip_period * 5, "{name:?}");
        }
    }

    #[test]
    fn news_is_sent_at_least_ten_times() {
        let sent: Vec<_> =
            [0, 1, 3, 100, 1_000, 100_000].map(|members| transmissions(members, 5).get()).into();
        assert_eq!(sent, [10, 10, 10, 12, 18, 24]);
        assert_eq!(
            transmissions(1_000, 500).get(),
            TRANSMISSIONS_OF_MANY,
            "but not when there is so much of it"
        );
    }
}
