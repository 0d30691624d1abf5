//! Every interleaving of two connections that work on one table: the server's transition inside a
//! transaction, as a store runs it. Two agents that both saw T passed ask for the lock and begin
//! the cycle; exactly one may (S1), and at no time do two hold a live grant (S2). A transaction here
//! is a mutex held from the reading of the row to its write; the seeded bug lets go in between, and
//! must be refuted. Run by `.ci/loom`. Bounds: two connections, one lock and one advance each.
#![cfg(downbeat_loom)]

use downbeat_core::guard::Guards;
use downbeat_core::ids::{AgentId, Digest, Incarnation, Name, RequestId, TimelineId};
use downbeat_core::message::{ReplyBody, RequestBody};
use downbeat_core::server::{Facts, Verdict, transition};
use downbeat_core::settings::{Limits, Settings};
use downbeat_core::table::{SyncTable, next_activation};
use downbeat_core::time::ServerTime;
use loom::sync::{Arc, Mutex};
use loom::thread;

const NOW: ServerTime = ServerTime::from_nanos(1_000_000_000_000);

struct Content;
impl Facts for Content {
    fn first_due(&self, _: ServerTime) -> Option<ServerTime> {
        None
    }
    fn verdict(&self, _: ServerTime) -> Verdict {
        Verdict::Promote(Digest([2; 32]))
    }
}

/// The row, and every token that was granted and every epoch that was begun.
struct Store {
    row: Mutex<SyncTable>,
    granted: Mutex<Vec<u64>>,
    begun: Mutex<Vec<u64>>,
}

impl Store {
    /// One request in one transaction.
    fn transact(&self, id: RequestId, request: &RequestBody) -> ReplyBody<u16> {
        let done = |table: &SyncTable| {
            transition::<u16>(table, id, request, NOW, &Content, Guards::ALL).expect("it concerns the table")
        };
        if cfg!(downbeat_bug = "torn_transaction") {
            let read = self.row.lock().unwrap().clone();
            let after = done(&read);
            *self.row.lock().unwrap() = after.table;
            return after.reply;
        }
        let mut row = self.row.lock().unwrap();
        let after = done(&row);
        *row = after.table;
        after.reply
    }

    /// What an agent that saw T passed does over its connection.
    fn initiate(&self, agent: u8) {
        let id = |number| RequestId { agent: AgentId([agent; 16]), incarnation: Incarnation(7), number };
        let ReplyBody::Granted { grant, table } = self.transact(id(1), &RequestBody::Lock) else { return };
        self.granted.lock().unwrap().push(grant.token);
        let activation = next_activation(&table, grant.due, grant.granted_at);
        let advance = RequestBody::Advance { token: grant.token, activation };
        if let ReplyBody::Advanced(table) = self.transact(id(2), &advance) {
            self.begun.lock().unwrap().push(table.staged.epoch);
        }
    }
}

#[test]
fn one_initiator_and_one_grant_at_a_time() {
    loom::model(|| {
        let table = SyncTable::new_farm(
            Name::new("f").unwrap(),
            TimelineId::default(),
            Digest([1; 32]),
            Settings::default(),
            Limits::default(),
            None,
            NOW,
        );
        let store = Arc::new(Store {
            row: Mutex::new(table.unwrap()),
            granted: Mutex::new(Vec::new()),
            begun: Mutex::new(Vec::new()),
        });
        let other = {
            let store = Arc::clone(&store);
            thread::spawn(move || store.initiate(1))
        };
        store.initiate(2);
        other.join().unwrap();
        // No lease ends here, so a second grant would be one beside the first (S2).
        assert_eq!(*store.granted.lock().unwrap(), [1], "S2 lock_exclusive");
        assert_eq!(*store.begun.lock().unwrap(), [2], "S1 single_initiator");
        assert_eq!(store.row.lock().unwrap().epoch(), 2);
    });
}
