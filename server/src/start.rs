//! Starting and ending a server: ports first (so that a port in use changes nothing), then the
//! database and its line, then the answers.

use crate::access::{Tokens, is_loopback};
use crate::attend::{attend, keep_marks};
use crate::clock::{HostClock, SystemClock};
use crate::config::Config;
use crate::control::{self, TimeExchange};
use crate::error::StartError;
use crate::farm::Farm;
use crate::http;
use crate::line::{LineError, Place, TakenUp, Time};
use crate::objects::Objects;
use crate::shared::{Shared, remember};
use crate::sql::{Sql, SqlThread};
use crate::store::{Gate, Gatekeeping, SqliteStore, Store, StoreError};
use crate::witness::Witness;
use downbeat_core::ids::Epoch;
use downbeat_core::table::SyncTable;
use downbeat_trace::Line;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long connections may take to end when the server does.
const ENDING: Duration = Duration::from_secs(2);
/// How many free ports are tried until one is free for connections and for datagrams.
const PORTS_TRIED: u32 = 16;

/// A data server.
pub struct Server;

/// A running server. It ends when this is dropped, as by [`Handle::stop`].
#[derive(Debug)]
pub struct Handle {
    control: SocketAddr,
    http: SocketAddr,
    continued: bool,
    stop: watch::Sender<bool>,
    abort: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server with threads of its own, and returns once it answers. May be called inside or
    /// outside of an async runtime; it blocks for as long as the database takes to open.
    ///
    /// # Errors
    /// [`StartError`], each with its cure.
    pub fn start(config: Config) -> Result<Handle, StartError> {
        let (ready, started) = sync_channel(1);
        let (stop, stopping) = watch::channel(false);
        let abort = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = abort.clone();
        let thread = std::thread::Builder::new()
            .name("downbeat-server".into())
            .spawn(move || serve(config, &ready, stopping, &flag))
            .map_err(StartError::Host)?;
        let lost = || StartError::Host(std::io::Error::other("the server's thread ended"));
        let started = started.recv().unwrap_or_else(|_| Err(lost()))?;
        let Started { control, http, continued } = started;
        Ok(Handle { control, http, continued, stop, abort, thread: Some(thread) })
    }
}

impl Handle {
    /// Where agents connect, with the port that was taken.
    pub fn control(&self) -> SocketAddr {
        self.control
    }

    /// Where the management API is, with the port that was taken.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Whether the timeline before is continued; otherwise this start began a new one.
    pub fn continued(&self) -> bool {
        self.continued
    }

    /// Ends the server: its own agents give back what they hold, connections are closed, what waits
    /// for the database is done. Returns when all that is over.
    pub fn stop(mut self) {
        self.end();
    }

    /// Ends the server as if it had been killed: nothing that waits is done. What was acknowledged
    /// is stored.
    pub fn abort(mut self) {
        self.abort.store(true, std::sync::atomic::Ordering::SeqCst);
        self.end();
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the server's thread panicked; what was acknowledged is stored");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the handle is told of a start.
struct Started {
    control: SocketAddr,
    http: SocketAddr,
    continued: bool,
}

/// The server's thread, from its start to its end.
fn serve(
    config: Config,
    ready: &SyncSender<Result<Started, StartError>>,
    stopping: watch::Receiver<bool>,
    abort: &std::sync::atomic::AtomicBool,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("downbeat-server")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(StartError::Host(error)));
            return;
        }
    };
    let running = runtime.block_on(async {
        let open = open(&config, stopping.clone()).await?;
        run(&config, open)
    });
    let (started, running) = match running {
        Ok(both) => both,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    // Whoever started it may be gone; the handle's drop then ends it.
    let _ = ready.send(Ok(started));
    let Running { shared, tasks, time_exchange, sql, lock } = running;
    let time = shared.time.clone();
    runtime.block_on(async {
        let mut stopping = stopping;
        let _ = stopping.wait_for(|stop| *stop).await;
        let aborted = abort.load(std::sync::atomic::Ordering::SeqCst);
        if aborted {
            sql.iter().for_each(SqlThread::abort);
            tasks.iter().for_each(tokio::task::JoinHandle::abort);
        } else {
            let all = futures_util::future::join_all(tasks);
            let _ = tokio::time::timeout(ENDING, all).await;
            let _ = tokio::time::timeout(ENDING, remember_all(&shared)).await;
        }
        // The database's threads end once nobody can ask them.
        drop(shared);
    });
    runtime.shutdown_timeout(ENDING);
    if time_exchange.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the thread of time exchanges panicked");
    }
    // One after the other: the last connection to be closed, if it is the only one by then, writes the
    // journal back and deletes it. Two at once leave it there, and a backup that is copied over the database
    // would then be read together with a journal that isn't its own.
    let stores: Vec<_> = sql.into_iter().filter_map(SqlThread::join).collect();
    stores.into_iter().for_each(drop);
    if !abort.load(std::sync::atomic::Ordering::SeqCst) {
        config.trace.end(time.local());
    }
    if !config.trace.is_whole() {
        tracing::error!("the trace is not whole: its file could not be written");
    }
    drop(lock);
}

/// Keeps what agents told so far of activations that have passed.
async fn remember_all(shared: &Arc<Shared>) {
    for farm in shared.all_farms() {
        let now = shared.time.reading().time;
        // Where the database's thread has ended, what it kept before stays.
        let _ = shared.writer.run(move |store| remember(store, &farm, now, Epoch::MAX)).await;
    }
}

/// Everything that a server needs before it answers.
struct Open {
    shared: Arc<Shared>,
    control: TcpListener,
    time_exchange: Option<TimeExchange>,
    http: TcpListener,
    taken_up: TakenUp,
    sql: Vec<SqlThread>,
    lock: File,
}

/// What ends with the server.
struct Running {
    shared: Arc<Shared>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    time_exchange: Option<JoinHandle<()>>,
    sql: Vec<SqlThread>,
    lock: File,
}

async fn open(config: &Config, stop: watch::Receiver<bool>) -> Result<Open, StartError> {
    let (control, time_exchange) = bind_control(config).await?;
    let http = bind("HTTP", config.http, config).await?;
    let witness = Witness::hold(&config.database)?;
    let lock = witness.clone_hold().map_err(StartError::Host)?;
    let clock: Arc<dyn HostClock> = match &config.clock {
        Some(clock) => clock.clone(),
        None => Arc::new(SystemClock::new(None).map_err(StartError::Host)?),
    };
    let failed = |cause| StartError::Store { database: config.database.clone(), cause };
    let mut store = SqliteStore::open(&config.database).map_err(failed)?;
    let reader = SqliteStore::open(&config.database).map_err(failed)?;
    let file = identity(&config.database).map_err(StartError::Host)?;
    let place = Place { file, witness };
    let (time, taken_up) = Time::take_up(
        &mut store,
        clock,
        place,
        config.start_as,
        config.server_rate,
        config.guards,
        config.trace.clone(),
    )
    .map_err(|error| match error {
        LineError::Copied => StartError::Copied { database: config.database.clone() },
        LineError::Store(cause) => failed(cause),
        LineError::Random(cause) => StartError::Host(cause),
    })?;
    let farms = farms(&mut store, &config.database).map_err(failed)?;
    for name in farms.keys() {
        demand(&mut store, name, config.gate.is_some()).map_err(failed)?;
    }
    for farm in farms.values() {
        let (at, table) = (time.local(), farm.table());
        config.trace.tell(|| Line::Found { at, table: SyncTable::clone(&table) });
    }
    let (writer, writing) = Sql::start("downbeat-writer", store, config.queue).map_err(StartError::Host)?;
    let (reader, reading) = Sql::start("downbeat-reader", reader, config.queue).map_err(StartError::Host)?;
    let shared = Shared {
        time: Arc::new(time),
        writer,
        reader,
        tokens: Tokens::new(config.tokens.clone(), config.open_on_loopback),
        guards: config.guards,
        patience: config.patience,
        own_agent: config.own_agent,
        raise_lead: config.raise_lead,
        frames_dropped: Default::default(),
        time_key: time_exchange.as_ref().map(TimeExchange::key),
        farms: RwLock::new(farms),
        database: config.database.clone(),
        gate: config.gate.clone(),
        http: http.local_addr().map_err(StartError::Host)?,
        bulk: Default::default(),
        undo: config.database.parent().unwrap_or(Path::new("")).join("undo"),
        stop,
    };
    let sql = vec![writing, reading];
    Ok(Open { shared: Arc::new(shared), control, time_exchange, http, taken_up, sql, lock })
}

fn farms(
    store: &mut SqliteStore,
    database: &Path,
) -> Result<BTreeMap<downbeat_core::ids::Name, Arc<Farm>>, StoreError> {
    let mut farms = BTreeMap::new();
    for name in store.farms()? {
        let table = store.table(&name)?;
        let objects = Objects::find_in(database, &name);
        farms.insert(name, Arc::new(Farm::new(table, objects)));
    }
    Ok(farms)
}

/// Says whether this server's command judges a farm's candidates.
pub(crate) fn demand(
    store: &mut SqliteStore,
    farm: &downbeat_core::ids::Name,
    command: bool,
) -> Result<(), StoreError> {
    let gate = store.standing(farm)?.gate;
    if gate.command == command {
        return Ok(());
    }
    store.set_gate(farm, &Gate { command, ..gate })
}

fn run(config: &Config, open: Open) -> Result<(Started, Running), StartError> {
    let Open { shared, control, time_exchange, http, taken_up, sql, lock } = open;
    let address = |listener: &TcpListener, asked: SocketAddr| listener.local_addr().unwrap_or(asked);
    let started = Started {
        control: address(&control, config.control),
        http: address(&http, config.http),
        continued: taken_up == TakenUp::Continued,
    };
    let timeline = shared.time.timeline();
    tracing::info!(control = %started.control, http = %started.http, timeline = timeline.counter, ?taken_up, "serving");
    let time_exchange =
        time_exchange.map(|exchange| exchange.start(&shared)).transpose().map_err(StartError::Host)?;
    let mut tasks = vec![
        tokio::spawn(keep_marks(shared.clone())),
        tokio::spawn(control::listen(shared.clone(), control, config.connections_max)),
        tokio::spawn(http::listen(shared.clone(), http)),
    ];
    for farm in shared.all_farms() {
        tasks.push(tokio::spawn(attend(shared.clone(), farm)));
    }
    Ok((started, Running { shared, tasks, time_exchange, sql, lock }))
}

/// The control port for connections, and the same one for datagrams. Where any port will do, it is one that
/// is free for both; where one was asked for that is taken for datagrams, samples go over connections.
async fn bind_control(config: &Config) -> Result<(TcpListener, Option<TimeExchange>), StartError> {
    let mut left = PORTS_TRIED;
    loop {
        let listener = bind("control", config.control, config).await?;
        let address = listener.local_addr().map_err(StartError::Host)?;
        left -= 1;
        match TimeExchange::bind(address) {
            Ok(exchange) => return Ok((listener, Some(exchange))),
            Err(_) if config.control.port() == 0 && left > 0 => {}
            Err(error) => {
                tracing::warn!(
                    %address, %error,
                    "no datagrams: agents sample the clock over their connections, less exactly while those \
                     carry data; free the UDP port of this number and start again"
                );
                return Ok((listener, None));
            }
        }
    }
}

async fn bind(what: &'static str, address: SocketAddr, config: &Config) -> Result<TcpListener, StartError> {
    if !is_loopback(address.ip()) {
        if !config.beyond_loopback {
            return Err(StartError::BeyondLoopback { what, address });
        }
        if config.tokens.is_empty() {
            return Err(StartError::NoTokens { what, address });
        }
    }
    TcpListener::bind(address).await.map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AddrInUse => StartError::PortInUse { what, address },
        _ => StartError::Listen { what, address, cause },
    })
}

/// What tells a database's file from a copy of it: its inode and when that was made. Both move with a
/// volume to another host, and change where a file is copied.
fn identity(database: &Path) -> std::io::Result<String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(database)?;
    let made = metadata.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
    Ok(format!("{}-{}", metadata.ino(), made.map_or(0, |made| made.as_nanos())))
}
