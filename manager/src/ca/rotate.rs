//! From one root to the next: what a request asks for, and what the authority is then. Keys come from here; who is
//! told what, and when it is done, is `decide::rotate_root`'s.
//!
//! The texts are Docker's where Docker has one.

use common::identity::certificate::certificates_from_pem;
use common::identity::given::{check_certificate, check_pair};
use common::identity::{AuthorityError, GivenRootError, JoinToken, RootAuthority};
use common::limits::{INTERMEDIATE_TIME, INTERMEDIATES_MAX};
use common::object::cluster::{Authority, ExternalAuthority, Intermediate, Rotation};
use common::object::sensitive::Sensitive;
use common::random::Random;
use common::time::Timestamp;

/// What a request says of the root.
#[derive(Debug)]
pub struct Wish<'a> {
    /// Empty: the cluster makes its own.
    pub certificate_pem: &'a str,
    /// Empty: somebody outside of the cluster signs.
    pub key_pem: &'a Sensitive,
    /// The number that asks for a new root was raised.
    pub force: bool,
}

#[derive(Debug)]
pub enum Plan {
    Keep,
    Become(Authority),
    /// The same, once somebody outside of the cluster has shown that it signs for this root.
    BecomeExternal {
        authority: Authority,
        root_pem: String,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    #[error("if a signing CA key is provided, the signing CA cert must also be provided")]
    KeyAlone,
    #[error(
        "there must be at least one valid, reachable external CA corresponding to the desired CA certificate"
    )]
    NobodySigns,
    #[error("rotating from one external CA to a different external CA is not supported")]
    ExternalToExternal,
    #[error(
        "the cluster does not hold the key of its present CA, so it cannot introduce another one: hand it over first, with --ca-cert and --ca-key"
    )]
    NoKey,
    #[error(transparent)]
    Given(#[from] GivenRootError),
    #[error("make the next root")]
    Make(#[from] AuthorityError),
}

pub fn plan(
    present: &Authority,
    wish: &Wish<'_>,
    external: &[ExternalAuthority],
    now: Timestamp,
) -> Result<Plan, RotateError> {
    let has_key = !wish.key_pem.reveal().is_empty();
    if wish.certificate_pem.trim().is_empty() {
        return match (has_key, wish.force) {
            (true, _) => Err(RotateError::KeyAlone),
            (false, false) => Ok(Plan::Keep),
            (false, true) => {
                let root = RootAuthority::generate(now)?;
                begin(present, root.certificate_pem(), root.key_pem(), now).map(Plan::Become)
            }
        };
    }
    if has_key {
        let root = check_pair(wish.certificate_pem, wish.key_pem.reveal(), now)?;
        return take(present, root.certificate_pem(), root.key_pem(), now).map(Plan::Become);
    }
    let root_pem = check_certificate(wish.certificate_pem, now)?;
    if signs_for(external, &root_pem, &present.certificate_pem).next().is_none() {
        return Err(RotateError::NobodySigns);
    }
    let authority = take(present, &root_pem, Sensitive::new(String::new()), now)?;
    Ok(Plan::BecomeExternal { authority, root_pem })
}

/// Those of the external authorities that sign for a root. One that names none signs for the `present` one.
pub fn signs_for<'a>(
    external: &'a [ExternalAuthority],
    root_pem: &'a str,
    present_pem: &'a str,
) -> impl Iterator<Item = &'a ExternalAuthority> {
    external.iter().filter(move |external| {
        let own = Some(external.certificate_pem.as_str()).filter(|pem| !pem.trim().is_empty());
        same(own.unwrap_or(present_pem), root_pem)
    })
}

fn same(one: &str, other: &str) -> bool {
    match (certificates_from_pem(one), certificates_from_pem(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// A root that people named. Naming the present one ends a rotation under way; naming the one under way only changes
/// who signs.
fn take(
    present: &Authority,
    certificate_pem: &str,
    key_pem: Sensitive,
    now: Timestamp,
) -> Result<Authority, RotateError> {
    if same(&present.certificate_pem, certificate_pem) {
        return Ok(Authority { key_pem, rotation: None, ..present.clone() });
    }
    match &present.rotation {
        Some(rotation) if same(&rotation.certificate_pem, certificate_pem) => {
            let rotation = Some(Box::new(Rotation { key_pem, ..Rotation::clone(rotation) }));
            Ok(Authority { rotation, ..present.clone() })
        }
        _ => begin(present, certificate_pem, key_pem, now),
    }
}

/// Begins a rotation, in place of any that is under way.
fn begin(
    present: &Authority,
    certificate_pem: &str,
    key_pem: Sensitive,
    now: Timestamp,
) -> Result<Authority, RotateError> {
    match (present.key_pem.reveal().is_empty(), key_pem.reveal().is_empty()) {
        (true, true) => return Err(RotateError::ExternalToExternal),
        (true, false) => return Err(RotateError::NoKey),
        (false, _) => {}
    }
    let root = RootAuthority::from_pem(&present.certificate_pem, present.key_pem.reveal())?;
    // Good for the rotation and for as long afterwards as anybody is shown it.
    let cross_signed_pem = root.introduce(certificate_pem, now, INTERMEDIATE_TIME * 2)?;
    let rotation = Rotation {
        certificate_pem: certificate_pem.into(),
        key_pem,
        cross_signed_pem,
        started_at: now,
        asked: Default::default(),
    };
    Ok(Authority { rotation: Some(Box::new(rotation)), ..present.clone() })
}

/// The authority once its next root is everywhere. Tokens name their root, so they are new as well.
pub fn finish(
    present: &Authority,
    missing: bool,
    now: Timestamp,
    random: &mut dyn Random,
) -> Option<Authority> {
    let rotation = present.rotation.as_deref()?;
    let mut token = || JoinToken::generate(&rotation.certificate_pem, random).to_secret();
    let (worker_token, manager_token) = (token(), token());
    let mut next = Authority::new(
        rotation.certificate_pem.clone(),
        rotation.key_pem.clone(),
        worker_token,
        manager_token,
    );
    if missing {
        let certificate_pem = rotation.cross_signed_pem.clone();
        next.intermediates.push(Intermediate { certificate_pem, until: now.plus(INTERMEDIATE_TIME) });
        next.intermediates.extend(present.intermediates.iter().filter(|old| old.until > now).cloned());
        next.intermediates.truncate(INTERMEDIATES_MAX);
    }
    Some(next)
}

#[cfg(test)]
#[path = "rotate_test.rs"]
mod tests;
