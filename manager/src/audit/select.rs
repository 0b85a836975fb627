//! Which records somebody asks for. Pure.

use common::engine_api::access::{AuditAnswer, AuditRecord};
use common::limits::{AUDIT_RECORDS_DEFAULT, AUDIT_RECORDS_MAX};
use common::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Empty and none mean "any".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// A user's or certificate's name, its number, or a node's id.
    pub user: String,
    /// An object's name or the start of its id, or a kind of object.
    pub object: String,
    pub outcome: String,
    /// The newest so many.
    pub limit: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            since: None,
            until: None,
            user: String::new(),
            object: String::new(),
            outcome: String::new(),
            limit: AUDIT_RECORDS_DEFAULT,
        }
    }
}

pub const OUTCOMES: [&str; 4] = ["done", "refused", "failed", "abandoned"];

impl Selection {
    /// Within what is read at a time, whoever asks.
    pub fn bounded(self) -> Self {
        Self { limit: self.limit.clamp(1, AUDIT_RECORDS_MAX), ..self }
    }

    pub fn takes(&self, record: &AuditRecord) -> bool {
        let at = Timestamp::from_rfc3339(&record.time);
        let (who, object) = (&record.who, &record.object);
        let is_user = || {
            who.name == self.user
                || who.serial == self.user
                || who.uid.is_some_and(|uid| uid.to_string() == self.user)
        };
        let is_object = || {
            object.kind == self.object
                || object.name == self.object
                || (!object.id.is_empty() && object.id.starts_with(&self.object))
        };
        self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at <= until))
            && (self.outcome.is_empty() || record.outcome == self.outcome)
            && (self.user.is_empty() || is_user())
            && (self.object.is_empty() || is_object())
    }
}

/// The records of several managers as one, the newest where there are too many.
pub fn merged(answers: Vec<AuditAnswer>, limit: usize) -> AuditAnswer {
    let mut all = AuditAnswer::default();
    for answer in answers {
        all.records.extend(answer.records);
        all.missing.extend(answer.missing);
    }
    // The texts have different lengths of fraction, so they are compared as times; equal ones keep their order.
    all.records.sort_by_key(|record| Timestamp::from_rfc3339(&record.time));
    let surplus = all.records.len().saturating_sub(limit);
    all.records.drain(..surplus);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::engine_api::access::{AuditObject, AuditWho};

    fn record(time: u64) -> AuditRecord {
        AuditRecord {
            time: Timestamp(time * 1_000_000_000).to_rfc3339(),
            who: AuditWho { name: "alice".into(), uid: Some(7), serial: "aa".into(), ..AuditWho::default() },
            object: AuditObject { kind: "service".into(), id: "abc123".into(), name: "web".into() },
            outcome: "done".into(),
            ..AuditRecord::default()
        }
    }

    #[test]
    fn each_key_narrows() {
        let base = Selection::default();
        let second = |time: u64| Some(Timestamp(time * 1_000_000_000));
        #[rustfmt::skip]
        let cases = [
            (base.clone(), true),
            (Selection { since: second(10), ..base.clone() }, true),
            (Selection { since: second(11), ..base.clone() }, false),
            (Selection { until: second(10), ..base.clone() }, true),
            (Selection { until: second(9), ..base.clone() }, false),
            (Selection { user: "alice".into(), ..base.clone() }, true),
            (Selection { user: "7".into(), ..base.clone() }, true),
            (Selection { user: "aa".into(), ..base.clone() }, true),
            (Selection { user: "bob".into(), ..base.clone() }, false),
            (Selection { object: "web".into(), ..base.clone() }, true),
            (Selection { object: "abc".into(), ..base.clone() }, true),
            (Selection { object: "service".into(), ..base.clone() }, true),
            (Selection { object: "node".into(), ..base.clone() }, false),
            (Selection { outcome: "done".into(), ..base.clone() }, true),
            (Selection { outcome: "refused".into(), ..base }, false),
        ];
        for (selection, expected) in cases {
            assert_eq!(selection.takes(&record(10)), expected, "{selection:?}");
        }
    }

    #[test]
    fn several_managers_make_one_record() {
        let of = |times: &[u64]| AuditAnswer {
            records: times.iter().copied().map(record).collect(),
            missing: vec!["a line".into()],
        };
        let all = merged(vec![of(&[1, 4, 5]), of(&[2, 3])], 4);
        let times: Vec<_> = all.records.iter().map(|record| record.time.clone()).collect();
        assert_eq!(times, [2, 3, 4, 5].map(|time| record(time).time));
        assert_eq!(all.missing.len(), 2);
    }
}
