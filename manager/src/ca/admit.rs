//! Whether a join token lets a caller in, and as what. Pure.

use common::identity::token::{JoinToken, same};
use common::object::{Cluster, Role};

/// Why nobody is let in. The texts are Docker's, and say nothing that helps to guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("invalid join token")]
    Malformed,
    #[error("A valid join token is necessary to join this cluster")]
    Wrong,
}

/// The role that a token stands for. Compares with both tokens whatever the first comparison says.
pub fn role_of_token(cluster: &Cluster, token: &str) -> Result<Role, Refusal> {
    JoinToken::parse(token).map_err(|_| Refusal::Malformed)?;
    let worker = same(cluster.authority.worker_token.reveal(), token);
    let manager = same(cluster.authority.manager_token.reveal(), token);
    match (worker, manager) {
        (_, true) => Ok(Role::Manager),
        (true, false) => Ok(Role::Worker),
        (false, false) => Err(Refusal::Wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::object::ClusterId;
    use common::object::cluster::Authority;
    use common::object::sensitive::Sensitive;
    use common::random::SeededRandom;

    #[test]
    fn only_the_present_tokens_of_this_cluster_let_anybody_in() {
        let mut random = SeededRandom::new(1, "tokens");
        let mut token = |root: &str| JoinToken::generate(root, &mut random).to_secret().reveal().to_string();
        let (worker, manager, rotated, foreign) =
            (token("ours"), token("ours"), token("ours"), token("theirs"));
        let cluster = Cluster::new(
            ClusterId(1),
            Authority::new(
                "ours".into(),
                Sensitive::new(String::new()),
                Sensitive::new(worker.clone()),
                Sensitive::new(manager.clone()),
            ),
        );
        #[rustfmt::skip]
        let cases = [
            (worker.as_str(),       Ok(Role::Worker)),
            (manager.as_str(),      Ok(Role::Manager)),
            (rotated.as_str(),      Err(Refusal::Wrong)),
            (foreign.as_str(),      Err(Refusal::Wrong)),
            (&worker[..80],         Err(Refusal::Malformed)),
            ("",                    Err(Refusal::Malformed)),
            ("SWMTKN-1-x-y",        Err(Refusal::Malformed)),
        ];
        for (token, expected) in cases {
            assert_eq!(role_of_token(&cluster, token), expected);
        }
    }
}
