//! Who may do what: access tokens with roles (FORMATS "roles"), and what a peer on the same host may
//! do without one. Tokens are kept and compared as digests.

use downbeat_core::ids::Name;
use downbeat_core::message::ErrorCode;
use downbeat_core::session::Access;
use std::net::IpAddr;

/// What the bearer of a token may do. On the HTTP port each of viewer, judge, operator and admin may do what
/// the one before it may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Control port: reads, retrieves, reports.
    Reader,
    /// Control port: takes the lock as well, over loopback (there is no encryption yet).
    Agent,
    /// HTTP port: sees everything.
    Viewer,
    /// HTTP port: gives verdicts on candidates as well.
    Judge,
    /// HTTP port: edits, settings, hold.
    Operator,
    /// HTTP port: makes farms as well.
    Admin,
}

impl Role {
    /// The role of a name in a configuration file: `reader`, `agent`, `viewer`, `judge`,
    /// `operator`, `admin`.
    pub fn from_name(name: &str) -> Option<Role> {
        Some(match name {
            "reader" => Role::Reader,
            "agent" => Role::Agent,
            "viewer" => Role::Viewer,
            "judge" => Role::Judge,
            "operator" => Role::Operator,
            "admin" => Role::Admin,
            _ => return None,
        })
    }
}

/// An access token: its digest, what it is good for, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AccessToken {
    digest: [u8; 32],
    role: Role,
    farm: Option<Name>,
}

impl AccessToken {
    /// A token for one farm, or for all. The text is 1 to 64 bytes; only its digest is kept.
    pub fn new(text: &str, role: Role, farm: Option<Name>) -> AccessToken {
        AccessToken { digest: digest(text), role, farm }
    }
}

/// All tokens of a server, and its rule for peers without one.
#[derive(Clone, Debug)]
pub(crate) struct Tokens {
    tokens: Vec<AccessToken>,
    /// Peers on the same host need no token.
    open_on_loopback: bool,
}

impl Tokens {
    pub(crate) fn new(tokens: Vec<AccessToken>, open_on_loopback: bool) -> Tokens {
        Tokens { tokens, open_on_loopback }
    }

    /// What an agent may do that said hello with `token` from `peer`.
    pub(crate) fn agent(&self, token: &str, farm: &Name, peer: IpAddr) -> Result<Access, ErrorCode> {
        let local = is_loopback(peer);
        if token.is_empty() && local && self.open_on_loopback {
            return Ok(Access::Lock);
        }
        match self.role(token, Some(farm)) {
            // Over a plain line from elsewhere a token may read and report, but not lock.
            Some(Role::Agent) if local => Ok(Access::Lock),
            Some(Role::Agent | Role::Reader) => Ok(Access::Read),
            _ => Err(ErrorCode::Unauthorized),
        }
    }

    /// The role of somebody at the HTTP port; `None` where the token is unknown, or there is none
    /// and one is needed.
    pub(crate) fn manager(&self, token: Option<&str>, farm: Option<&Name>, peer: IpAddr) -> Option<Role> {
        match token {
            None if is_loopback(peer) && self.open_on_loopback => Some(Role::Admin),
            None => None,
            Some(token) => self.role(token, farm).filter(|role| *role >= Role::Viewer),
        }
    }

    /// The same for what takes a role: what agents may do, too, takes any of them.
    pub(crate) fn bearer(
        &self,
        token: Option<&str>,
        farm: Option<&Name>,
        peer: IpAddr,
        role: Role,
    ) -> Option<Role> {
        match token {
            Some(token) if role < Role::Viewer => self.role(token, farm),
            _ => self.manager(token, farm, peer),
        }
    }

    /// Whether nobody may do anything without a token.
    pub(crate) fn are_needed(&self) -> bool {
        !self.tokens.is_empty() || !self.open_on_loopback
    }

    /// The highest role that the token has for the farm (for all farms, where none is named).
    fn role(&self, token: &str, farm: Option<&Name>) -> Option<Role> {
        let digest = blake3::Hash::from_bytes(digest(token));
        let good = |known: &&AccessToken| {
            // Hashes are compared in constant time.
            digest == blake3::Hash::from_bytes(known.digest)
                && (known.farm.is_none() || known.farm.as_ref() == farm)
        };
        self.tokens.iter().filter(good).map(|known| known.role).max()
    }
}

/// Whether an address is of this host and of no other.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn digest(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_good_for_their_role_farm_and_place() {
        let (eu, us) = (Name::new("eu").unwrap(), Name::new("us").unwrap());
        let here: IpAddr = [127, 0, 0, 1].into();
        let there: IpAddr = [10, 0, 0, 1].into();
        let tokens = Tokens::new(
            vec![
                AccessToken::new("a", Role::Agent, Some(eu.clone())),
                AccessToken::new("o", Role::Operator, None),
            ],
            true,
        );
        assert_eq!(tokens.agent("a", &eu, here), Ok(Access::Lock));
        assert_eq!(tokens.agent("a", &eu, there), Ok(Access::Read));
        assert_eq!(tokens.agent("a", &us, here), Err(ErrorCode::Unauthorized));
        assert_eq!(tokens.agent("x", &eu, here), Err(ErrorCode::Unauthorized));
        assert_eq!(tokens.agent("o", &eu, here), Err(ErrorCode::Unauthorized));
        assert_eq!(tokens.agent("", &eu, here), Ok(Access::Lock));
        assert_eq!(tokens.agent("", &eu, there), Err(ErrorCode::Unauthorized));
        assert_eq!(tokens.manager(Some("o"), Some(&us), there), Some(Role::Operator));
        assert_eq!(tokens.manager(Some("a"), Some(&eu), there), None);
        assert_eq!(tokens.manager(None, None, here), Some(Role::Admin));
        assert_eq!(tokens.manager(None, None, there), None);
        assert_eq!(tokens.bearer(Some("a"), Some(&eu), there, Role::Reader), Some(Role::Agent));
        assert_eq!(tokens.bearer(Some("a"), Some(&us), there, Role::Reader), None);
        assert_eq!(tokens.bearer(Some("a"), Some(&eu), there, Role::Viewer), None);
        assert_eq!(tokens.bearer(None, Some(&eu), there, Role::Reader), None);
        let closed = Tokens::new(Vec::new(), false);
        assert_eq!(closed.manager(None, None, here), None);
    }
}
