//! The gate's side of a running server: a farm's candidate is frozen ahead of T, and the server's command
//! is asked about it. Whether a candidate is promoted is decided in the store, by what was said of exactly
//! that one; if nothing here ran, nothing would be promoted.

use crate::command::{self, Asked};
use crate::events::Event;
use crate::farm::Farm;
use crate::shared::Shared;
use crate::store::{COMMAND, Frozen, Gatekeeping, Said, Standing, Store, StoreError};
use downbeat_core::ids::Digest;
use downbeat_core::operator::earliest_live;
use downbeat_core::time::ServerTime;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two looks while a candidate is due to be frozen, or is judged.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Batches that are gathered right before a candidate is frozen, at most: edits may come faster.
const BATCHES_MOST: usize = 1_000;
/// The longest wait: the server's clock isn't the runtime's.
const WAIT_MOST: Duration = Duration::from_secs(5);

/// Keeps a farm's gate until the server ends.
pub(crate) async fn keep(shared: Arc<Shared>, farm: Arc<Farm>) {
    let mut stop = shared.stop.clone();
    let mut tables = farm.follow();
    let mut keeper = Keeper { shared, farm, running: None };
    loop {
        let wait = keeper.look().await;
        let farm = keeper.farm.clone();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return keeper.end_command(),
            changed = tables.changed() => if changed.is_err() { return keeper.end_command() },
            () = farm.gate.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    farm: Arc<Farm>,
    /// The server's command, and the candidate that it is asked about.
    running: Option<(Digest, JoinHandle<()>)>,
}

impl Keeper {
    /// Does what is due, and says when to look again.
    async fn look(&mut self) -> Duration {
        match self.try_look().await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::warn!(farm = %self.farm.name, error, "the gate can't be looked after; trying again");
                LOOK_EVERY
            }
        }
    }

    async fn try_look(&mut self) -> Result<Duration, String> {
        let name = self.farm.name.clone();
        let now = self.shared.time.reading().time;
        let look = move |store: &mut crate::store::SqliteStore| {
            let expected = store.read(&name, |table, facts| earliest_live(table, facts, now))?;
            Ok::<_, StoreError>((store.standing(&name)?, expected))
        };
        let looked = self.shared.reader.run(look).await.map_err(|_| "the database is busy".to_owned())?;
        let (standing, expected) = looked.map_err(|error| error.to_string())?;
        if !standing.gate.is_shut() {
            self.end_command();
            return Ok(WAIT_MOST);
        }
        let table = self.farm.table();
        if table.held.is_some() {
            // Whoever holds a farm may want to correct what is frozen.
            self.thaw(&standing).await?;
            return Ok(LOOK_EVERY);
        }
        let left = (table.activation - standing.gate.window - now).as_nanos();
        if left > 0 && standing.frozen.is_none() {
            return Ok(Duration::from_nanos(left.unsigned_abs()).min(WAIT_MOST));
        }
        let frozen = match (standing.frozen, expected) {
            (Some(frozen), Some(expected)) if frozen.as_of == expected => Some(frozen),
            _ => self.freeze().await?,
        };
        if let Some(frozen) = frozen {
            self.ask_command(&standing, frozen);
        }
        Ok(LOOK_EVERY)
    }

    async fn freeze(&self) -> Result<Option<Frozen>, String> {
        // Batch by batch, so that freezing itself has little to compare while it holds the database.
        for _ in 0..BATCHES_MOST {
            let name = self.farm.name.clone();
            match self.shared.writer.run(move |store| store.gather(&name)).await {
                Ok(Ok(1..)) => {}
                _ => break,
            }
        }
        freeze(&self.shared, &self.farm, false).await.map_err(|error| format!("{error:?}"))
    }

    async fn thaw(&mut self, standing: &Standing) -> Result<(), String> {
        self.end_command();
        if standing.frozen.is_none() {
            return Ok(());
        }
        let name = self.farm.name.clone();
        let thawed = self.shared.writer.run(move |store| store.thaw(&name)).await;
        thawed.map_err(|_| "the database is busy".to_owned())?.map_err(|error| error.to_string())
    }

    /// Has the server's command judge the candidate, unless it did, or does.
    fn ask_command(&mut self, standing: &Standing, frozen: Frozen) {
        let asks =
            |(digest, task): &(Digest, JoinHandle<()>)| *digest == frozen.digest && !task.is_finished();
        let asked = self.running.as_ref().is_some_and(asks);
        let mut said = standing.said.iter();
        if said.any(|said| said.judge == COMMAND && said.digest == frozen.digest) || asked {
            return;
        }
        self.end_command();
        let Some(command) = self.shared.gate.clone().filter(|_| standing.gate.command && frozen.changes > 0)
        else {
            return;
        };
        let (shared, farm, patience) = (self.shared.clone(), self.farm.clone(), standing.gate.patience);
        let patience = Duration::from_nanos(patience.as_nanos().unsigned_abs());
        let task = async move {
            let asked = Asked { command: &command, patience, farm: &farm.name, candidate: frozen };
            let (approved, why) = match command::ask(&shared, asked).await {
                Ok(()) => (true, String::new()),
                Err(why) => (false, why),
            };
            let at = shared.time.reading().time;
            let said = Said { judge: COMMAND.to_owned(), digest: frozen.digest, approved, why, at };
            if let Err(error) = say(&shared, &farm, said, "the server").await {
                tracing::warn!(farm = %farm.name, ?error, "the command's verdict came too late");
            }
        };
        self.running = Some((frozen.digest, tokio::spawn(task)));
    }

    fn end_command(&mut self) {
        if let Some((_, task)) = self.running.take() {
            task.abort();
        }
    }
}

/// Freezes the farm's candidate, as of the activation that is expected, and tells of it.
pub(crate) async fn freeze(
    shared: &Shared,
    farm: &Arc<Farm>,
    anew: bool,
) -> Result<Option<Frozen>, crate::shared::Refused> {
    let (name, time) = (farm.name.clone(), shared.time.clone());
    let done = shared.writer.run(move |store| {
        store.freeze(
            &name,
            anew,
            || time.reading().time,
            |table, now, facts| earliest_live(table, facts, now),
        )
    });
    let Some((frozen, just_now)) = done.await?? else { return Ok(None) };
    if just_now {
        tracing::info!(farm = %farm.name, epoch = frozen.epoch, digest = %frozen.digest, changes = frozen.changes, "the candidate is frozen for a verdict");
        farm.tell(Event::Candidate(frozen));
    }
    Ok(Some(frozen))
}

/// Notes what a judge says, and tells of it; `by` is who said it in the judge's name.
pub(crate) async fn say(
    shared: &Shared,
    farm: &Arc<Farm>,
    said: Said,
    by: &str,
) -> Result<(), crate::shared::Refused> {
    let (name, noted) = (farm.name.clone(), said.clone());
    shared.writer.run(move |store| store.say(&name, &noted)).await??;
    let (judge, why) = (&said.judge, &said.why);
    match said.approved {
        true => {
            tracing::info!(farm = %farm.name, digest = %said.digest, judge, by, "the candidate is approved")
        }
        false => {
            tracing::warn!(farm = %farm.name, digest = %said.digest, judge, by, why, "the candidate is refused")
        }
    }
    farm.tell(Event::Verdict(said));
    Ok(())
}

/// The activation that a candidate is for when an operator overrides a guard: also of a farm that is held.
pub(crate) fn expected_activation(
    table: &downbeat_core::table::SyncTable,
    now: ServerTime,
    facts: &crate::store::StoreFacts<'_>,
) -> ServerTime {
    earliest_live(table, facts, now).unwrap_or_else(|| table.next_bound(now))
}
