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
    /// HTTP port: gives the verdicts of the judge that the token names as well.
    Judge,
    /// HTTP port: edits, settings, hold; verdicts under any judge's name.
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
    /// Whose verdicts a judge's token gives.
    judge: Option<Name>,
}

impl AccessToken {
    /// A token for one farm, or for all. The text is 1 to 64 bytes; only its digest is kept. One of
    /// [`Role::Judge`] made here speaks for nobody, and is no more than a viewer's: see
    /// [`AccessToken::judge`].
    pub fn new(text: &str, role: Role, farm: Option<Name>) -> AccessToken {
        AccessToken { digest: digest(text), role, farm, judge: None }
    }

    /// The token of the judge of this name, in the gates of one farm or of all. Where one text is given
    /// for several names, it speaks for each of them.
    pub fn judge(text: &str, judge: Name, farm: Option<Name>) -> AccessToken {
        AccessToken { judge: Some(judge), ..AccessToken::new(text, Role::Judge, farm) }
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

    /// Whether somebody may give the verdict of a judge: whoever may set the gate may speak for
    /// anybody in it, a judge's token only for those whom it names.
    pub(crate) fn speaks_for(&self, token: Option<&str>, farm: &Name, peer: IpAddr, judge: &Name) -> bool {
        let may_set_gate = self.manager(token, Some(farm), peer).is_some_and(|role| role >= Role::Operator);
        may_set_gate || self.judges(token, farm).any(|name| name == judge)
    }

    /// The judges whom a token names.
    pub(crate) fn judges<'a>(
        &'a self,
        token: Option<&str>,
        farm: &'a Name,
    ) -> impl Iterator<Item = &'a Name> {
        let known = token.map(|token| self.good_for(token, Some(farm)));
        known.into_iter().flatten().filter_map(|known| known.judge.as_ref())
    }

    /// Whether nobody may do anything without a token.
    pub(crate) fn are_needed(&self) -> bool {
        !self.tokens.is_empty() || !self.open_on_loopback
    }

    /// The highest role that the token has for the farm (for all farms, where none is named).
    fn role(&self, token: &str, farm: Option<&Name>) -> Option<Role> {
        self.good_for(token, farm).map(|known| known.role).max()
    }

    /// What a token's text stands for there.
    fn good_for<'a>(
        &'a self,
        token: &str,
        farm: Option<&'a Name>,
    ) -> impl Iterator<Item = &'a AccessToken> + use<'a> {
        let digest = blake3::Hash::from_bytes(digest(token));
        self.tokens.iter().filter(move |known| {
            // Hashes are compared in constant time.
            digest == blake3::Hash::from_bytes(known.digest)
                && (known.farm.is_none() || known.farm.as_ref() == farm)
        })
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

    #[test]
    fn a_judges_token_speaks_for_those_whom_it_names() {
        let [eu, us, canary, probe] = ["eu", "us", "canary", "probe"].map(|name| Name::new(name).unwrap());
        let here: IpAddr = [127, 0, 0, 1].into();
        let there: IpAddr = [10, 0, 0, 1].into();
        let tokens = vec![
            AccessToken::judge("c", canary.clone(), Some(eu.clone())),
            AccessToken::judge("both", canary.clone(), None),
            AccessToken::judge("both", probe.clone(), None),
            AccessToken::new("nobody", Role::Judge, None),
            AccessToken::new("v", Role::Viewer, None),
            AccessToken::new("o", Role::Operator, Some(eu.clone())),
        ];
        let tokens = Tokens::new(tokens, true);
        let speaks =
            |token: &str, farm: &Name, judge: &Name| tokens.speaks_for(Some(token), farm, there, judge);
        for (token, farm, of_canary, of_probe) in [
            ("c", &eu, true, false),
            ("c", &us, false, false),
            ("both", &us, true, true),
            ("nobody", &eu, false, false),
            ("v", &eu, false, false),
            ("o", &eu, true, true),
            ("o", &us, false, false),
            ("unknown", &eu, false, false),
        ] {
            assert_eq!(speaks(token, farm, &canary), of_canary, "{token} for canary in {farm:?}");
            assert_eq!(speaks(token, farm, &probe), of_probe, "{token} for probe in {farm:?}");
        }
        assert_eq!(tokens.manager(Some("c"), Some(&eu), there), Some(Role::Judge));
        // On loopback, without a token, everything is allowed; elsewhere nothing.
        assert!(tokens.speaks_for(None, &eu, here, &canary));
        assert!(!tokens.speaks_for(None, &eu, there, &canary));
        assert!(!Tokens::new(Vec::new(), false).speaks_for(None, &eu, here, &canary));
    }
}
