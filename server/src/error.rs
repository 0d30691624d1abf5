//! Why a server does not start. Each error names its cause and its cure; nothing was changed, but for
//! a database file that may have been made.

use crate::store::StoreError;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a server did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// Another program listens at the address.
    PortInUse {
        /// "control" or "HTTP".
        what: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address can't be listened at.
    Listen {
        /// "control" or "HTTP".
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// The address is reached from other hosts and was not asked for by name.
    BeyondLoopback {
        /// "control" or "HTTP".
        what: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The address is reached from other hosts and there is no token.
    NoTokens {
        /// "control" or "HTTP".
        what: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// The folder of the database can't be written to.
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the operating system says.
        cause: std::io::Error,
    },
    /// Another server serves this database.
    InUse {
        /// The database.
        database: PathBuf,
    },
    /// The database is not the file that was served last: a copy, a restored backup, or the same
    /// database moved to another disk. Which of them nobody can see (PROTOCOL §8).
    Copied {
        /// The database.
        database: PathBuf,
    },
    /// The database can't be used.
    Store {
        /// The database.
        database: PathBuf,
        /// Why.
        cause: StoreError,
    },
    /// The host lacks something that a server needs.
    Host(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::PortInUse { what, address } => write!(
                f,
                "the {what} port {address} is in use by another program; end that, or name another port"
            ),
            StartError::Listen { what, address, cause } => {
                write!(f, "the {what} port can't listen at {address} ({cause}); name an address of this host")
            }
            StartError::BeyondLoopback { what, address } => write!(
                f,
                "the {what} port {address} would be reached from other hosts, without encryption; ask for \
                 that by name (--listen), or use 127.0.0.1"
            ),
            StartError::NoTokens { what, address } => write!(
                f,
                "the {what} port {address} is reached from other hosts and there is no access token; \
                 configure at least one, or use 127.0.0.1"
            ),
            StartError::Folder { folder, cause } => write!(
                f,
                "the folder {} of the database can't be written to ({cause}); give the server write access, \
                 free some space, or name another database",
                folder.display()
            ),
            StartError::InUse { database } => write!(
                f,
                "another server serves the database {}; stop that one, or name another database",
                database.display()
            ),
            StartError::Copied { database } => write!(
                f,
                "the database {} is not the file that was served last. If the old server has stopped and \
                 this is its database, moved: start as moved (--moved). If it is a backup or a copy, and the \
                 old server has stopped: start as restored (--restored), which waits until all that may have \
                 been promised is over. If no agent runs: vouch for it (--vouch)",
                database.display()
            ),
            StartError::Store { database, cause } => write!(f, "database {}: {cause}", database.display()),
            StartError::Host(cause) => write!(
                f,
                "the host gives a server too little ({cause}); it needs threads, random numbers, sockets and \
                 /proc/sys/kernel/random/boot_id"
            ),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Listen { cause, .. } | StartError::Folder { cause, .. } | StartError::Host(cause) => {
                Some(cause)
            }
            StartError::Store { cause, .. } => Some(cause),
            _ => None,
        }
    }
}
