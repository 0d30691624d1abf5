//! The server's side of one connection (PROTOCOL §4): `Hello` first, then requests of the same life.
//! Who may do what is asked from the host; what a request does is in `server`.

use crate::ids::{AgentId, Incarnation, Name, RequestId};
use crate::message::{ErrorCode, Hello, Request, RequestBody, VERSION};
use heapless::Vec;

/// What the host knows of an access token.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Access {
    /// May read, retrieve and report.
    Read,
    /// May take the lock as well.
    Lock,
}

/// An agent that said hello and was welcomed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Peer {
    /// Who it is.
    pub agent: AgentId,
    /// In which life.
    pub incarnation: Incarnation,
    /// Of which farm.
    pub farm: Name,
    /// What it may do.
    pub access: Access,
    /// What it subscribes to; empty for everything.
    pub datasets: Vec<Name, { crate::message::DATASETS_MAX }>,
}

/// One connection, as the server sees it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Session {
    peer: Option<Peer>,
}

impl Session {
    /// A connection on which nothing was said yet.
    pub fn new() -> Session {
        Session::default()
    }

    /// The agent at the other end, once it was welcomed.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// A hello; a second one on the same connection is a device that was reset. `access` is what
    /// the host says of its token for its farm.
    ///
    /// # Errors
    /// What is answered instead of a `Welcome`; the session then waits for another hello.
    pub fn on_hello(&mut self, hello: &Hello, access: Result<Access, ErrorCode>) -> Result<&Peer, ErrorCode> {
        self.peer = None;
        if hello.version < VERSION {
            return Err(ErrorCode::Version);
        }
        let access = access?;
        Ok(self.peer.insert(Peer {
            agent: hello.agent,
            incarnation: hello.incarnation,
            farm: hello.farm.clone(),
            access,
            datasets: hello.datasets.clone(),
        }))
    }

    /// A request: its id, if it may be answered.
    ///
    /// # Errors
    /// `HelloFirst` before a hello and for another life than the one that said it; `Unauthorized`
    /// for a request that the agent's access doesn't cover.
    pub fn on_request(&self, request: &Request) -> Result<RequestId, ErrorCode> {
        let peer = self.peer.as_ref().ok_or(ErrorCode::HelloFirst)?;
        if peer.incarnation != request.incarnation || request.number == 0 {
            return Err(ErrorCode::HelloFirst);
        }
        let locks = matches!(
            request.body,
            RequestBody::Lock | RequestBody::Advance { .. } | RequestBody::Unlock { .. }
        );
        if locks && peer.access != Access::Lock {
            return Err(ErrorCode::Unauthorized);
        }
        Ok(RequestId { agent: peer.agent, incarnation: request.incarnation, number: request.number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::LocalTime;

    fn hello(incarnation: u64) -> Hello {
        Hello {
            version: VERSION,
            farm: Name::new("f").unwrap(),
            agent: AgentId([7; 16]),
            display: heapless::String::new(),
            incarnation: Incarnation(incarnation),
            token: heapless::String::new(),
            datasets: Vec::new(),
        }
    }
    fn request(incarnation: u64, number: u64, body: RequestBody) -> Request {
        Request { incarnation: Incarnation(incarnation), number, sent: LocalTime::from_nanos(0), body }
    }

    #[test]
    fn hello_comes_first() {
        let mut session = Session::new();
        assert_eq!(session.on_request(&request(1, 1, RequestBody::Read)), Err(ErrorCode::HelloFirst));
        assert_eq!(session.on_hello(&hello(1), Err(ErrorCode::NoFarm)).err(), Some(ErrorCode::NoFarm));
        assert_eq!(session.peer(), None);
        assert!(session.on_hello(&hello(1), Ok(Access::Lock)).is_ok());
        assert_eq!(
            session.peer().map(|peer| (peer.agent, peer.access)),
            Some((AgentId([7; 16]), Access::Lock))
        );
        assert_eq!(session.on_request(&request(1, 1, RequestBody::Read)).map(|id| id.number), Ok(1));
        assert_eq!(session.on_request(&request(2, 1, RequestBody::Read)), Err(ErrorCode::HelloFirst));
        assert_eq!(session.on_request(&request(1, 0, RequestBody::Read)), Err(ErrorCode::HelloFirst));
    }

    #[test]
    fn a_reader_may_not_lock_and_an_old_version_is_refused() {
        let mut session = Session::new();
        assert!(session.on_hello(&hello(1), Ok(Access::Read)).is_ok());
        assert_eq!(session.on_request(&request(1, 1, RequestBody::Lock)), Err(ErrorCode::Unauthorized));
        assert!(session.on_request(&request(1, 2, RequestBody::Read)).is_ok());
        let old = Hello { version: 0, ..hello(1) };
        assert_eq!(session.on_hello(&old, Ok(Access::Lock)).err(), Some(ErrorCode::Version));
        assert_eq!(session.on_request(&request(1, 3, RequestBody::Read)), Err(ErrorCode::HelloFirst));
    }
}
