-- What the farm of PROTOCOL is made of. Instants are ticks of the server's clock; local clocks are a
-- pure shift of it and rates have no error here, so an agent's own instants are written as the
-- server's at the same moment. The constants in capitals without a value below are in the
-- configuration that is put in front of this file.
const
  NEVER: 250;
  NONE: 0; -- no message
  READ: 1; LOCK: 2; ADVANCE: 3; ROUTE: 4; FETCH: 5; -- requests (PROTOCOL 4)
  TABLE: 6; GRANTED: 7; NOTDUE: 8; BUSY: 9; ADVANCED: 10; REFUSED: 11; ROUTED: 12; BYTES: 13; GONE: 14;
  WAITING: 0; READING: 1; LOCKING: 2; ADVANCING: 3; ROUTING: 4; FETCHING: 5; ARMED: 6; -- PROTOCOL 5
  FENCED: 0; HOLD: 1; CURRENT: 2; STALE: 3; -- what a read gets (PROTOCOL 6)
  TOOKOVER: 15;

type
  Tick: 0..250; -- the last stands for never
  Width: 0..31;
  Who: 1..AGENTS;
  Nobody: 0..AGENTS;
  Slot: 1..SLOTS;
  Epoch: 0..15;
  Token: 0..31;
  Content: 0..3;
  Kind: 0..14;
  Phase: 0..6;
  Got: 0..3;

  -- A generation: number and content. Number 0 stands for none.
  Generation: record e: Epoch; c: Content; end;

  -- What agents are told of the table: k, k - 1 if it is named, T_k, P_k.
  Table: record
    k: Generation; a: Generation; T: Tick; P: Tick; held: boolean;
  end;

  -- A message. `current`: its id is that of the request that its agent waits for. `at`: when that
  -- request was sent, or when the answer was; `wide`: how long after its sending the request of this
  -- answer was received.
  Message: record
    kind: Kind; delayed: boolean; current: boolean; at: Tick; wide: Width;
    tab: Table; token: Token; next: Tick; retry: Width;
  end;

  Plan: record
    act: Generation; stale: boolean; act_until: Tick;
    stg: Generation; stg_from: Tick; stg_until: Tick;
  end;

var
  now: Tick;
  faults: 0..9;
  operations: 0..9;
  production: Content;
  up: boolean;
  -- The table.
  sv_tab: Table;
  sv_interval: Width; sv_pending: Width; sv_grid: Tick;
  sv_last_token: Token;
  sv_last_advance: Nobody; -- the agent that waits for the answer to the last accepted Advance
  lock: record
    taken: boolean;        -- granted, and not yet expired
    holder: Nobody;        -- the agent that waits for the answer to this grant
    granted: Tick; next: Tick;
  end;
  -- A transaction that lasts: its request, and when it read the clock.
  commit: record on: boolean; who: Nobody; m: Message; read: Tick; end;
  -- The agents.
  ag_linked: array [Who] of boolean;    -- welcomed over its present connection
  ag_met: array [Who] of boolean;       -- welcomed in this life
  ag_greet: array [Who] of Tick;        -- else: when it says hello again
  ag_phase: array [Who] of Phase;
  ag_at: array [Who] of Tick;           -- when the phase goes on by itself; for LOCKING when the lock was
                                        -- first asked for, for ADVANCING when its own lease is over
  ag_token: array [Who] of Token;       -- ADVANCING: what it names
  ag_next: array [Who] of Tick;
  ag_target: array [Who] of Generation; -- ROUTING, FETCHING: what, and into which cache
  ag_to_active: array [Who] of boolean;
  ag_asked: array [Who] of boolean;     -- a request is outstanding, and until when it is waited for
  ag_deadline: array [Who] of Tick;
  ag_failing: array [Who] of boolean;   -- something failed since the last success: back-off is on
  ag_above: array [Who] of Width;       -- how far the enclosure reaches beyond the server's clock
  ag_below: array [Who] of Width;
  ag_tab: array [Who] of Table;         -- newest table, without `held`
  ag_active: array [Who] of Generation;
  ag_staged: array [Who] of Generation;
  ag_spare: array [Who] of Generation;  -- what a life before served last
  ag_plan: array [Who] of Plan;
  ag_carried: array [Who] of boolean;   -- the plan is one of a life before
  ag_first: array [Who] of Epoch;       -- first epoch that this life found staged; 0 unknown, TOOKOVER none
  ag_joined: array [Who] of boolean;    -- has served something current in this life
  ag_start_wait: array [Who] of Tick;
  ag_late: array [Who] of boolean;      -- its timers are late until the next tick
  ag_cut: array [Who] of boolean;       -- nothing gets through between it and the server
  net: array [Who] of array [Slot] of Message;

-- Small things -----------------------------------------------------------------------------------

function Is(a: Generation; b: Generation): boolean;
begin
  return a.e = b.e & a.c = b.c;
end;

function Min(a: Tick; b: Tick): Tick;
begin
  return a < b ? a : b;
end;

function Max(a: Tick; b: Tick): Tick;
begin
  return a > b ? a : b;
end;

procedure NoGeneration(var g: Generation);
begin
  g.e := 0; g.c := 0;
end;

procedure NoTable(var t: Table);
begin
  NoGeneration(t.k); NoGeneration(t.a);
  t.T := 0; t.P := 0; t.held := false;
end;

procedure NoMessage(var m: Message);
begin
  m.kind := NONE; m.delayed := false; m.current := false; m.at := 0; m.wide := 0;
  NoTable(m.tab);
  m.token := 0; m.next := 0; m.retry := 0;
end;

-- The plan of an agent that knows nothing (PROTOCOL 6).
procedure NoPlan(var p: Plan);
begin
  NoGeneration(p.act); p.stale := false; p.act_until := 0;
  NoGeneration(p.stg); p.stg_from := NEVER; p.stg_until := NEVER;
end;

function Strict(i: Who): boolean;
begin
  return i = 1 ? STRICT_1 : (i = 2 ? STRICT_2 : STRICT_3);
end;

-- The network: a bag of messages for each agent, kept in order so that equal bags are equal ------

function IsRequest(kind: Kind): boolean;
begin
  return kind >= READ & kind <= FETCH;
end;

function Bit(b: boolean): Tick;
begin
  return b ? 1 : 0;
end;

-- Whether the one comes before the other; empty places come last.
function Before(a: Message; b: Message): boolean;
begin
  if a.kind = NONE | b.kind = NONE then
    return a.kind != NONE & b.kind = NONE;
  end;
  if a.kind != b.kind then return a.kind < b.kind; end;
  if a.delayed != b.delayed then return b.delayed; end;
  if a.current != b.current then return b.current; end;
  if a.at != b.at then return a.at < b.at; end;
  if a.wide != b.wide then return a.wide < b.wide; end;
  if a.tab.k.e != b.tab.k.e then return a.tab.k.e < b.tab.k.e; end;
  if a.tab.k.c != b.tab.k.c then return a.tab.k.c < b.tab.k.c; end;
  if a.tab.a.e != b.tab.a.e then return a.tab.a.e < b.tab.a.e; end;
  if a.tab.a.c != b.tab.a.c then return a.tab.a.c < b.tab.a.c; end;
  if a.tab.T != b.tab.T then return a.tab.T < b.tab.T; end;
  if a.tab.P != b.tab.P then return a.tab.P < b.tab.P; end;
  if a.tab.held != b.tab.held then return b.tab.held; end;
  if a.token != b.token then return a.token < b.token; end;
  if a.next != b.next then return a.next < b.next; end;
  if a.retry != b.retry then return a.retry < b.retry; end;
  return false;
end;

procedure Arrange(i: Who);
var kept: Message;
begin
  for n := 2 to SLOTS do
    for s := 2 to SLOTS do
      if Before(net[i][s], net[i][s - 1]) then
        kept := net[i][s]; net[i][s] := net[i][s - 1]; net[i][s - 1] := kept;
      end;
    end;
  end;
end;

-- Two equal messages are one choice, the first of them.
function FirstOfEqual(i: Who; s: Slot): boolean;
begin
  return net[i][s].kind != NONE & (s = 1 | (s > 1 & Before(net[i][s > 1 ? s - 1 : 1], net[i][s])));
end;

procedure Send(i: Who; m: Message);
begin
  if ag_cut[i] | (IsRequest(m.kind) & !up) then
    return; -- nothing gets through, or nobody listens
  end;
  for s: Slot do
    if net[i][s].kind = NONE then
      net[i][s] := m;
      return;
    end;
  end;
  error "more messages than places for them";
end;

-- A request that changes the table whoever waits for it, if it was delayed on its way. One that
-- waited behind a transaction and was given up meanwhile is not served.
function Lasts(m: Message): boolean;
begin
  return m.delayed & m.kind >= READ & m.kind <= ADVANCE;
end;

-- The request of an agent is not waited for any more: replies to it are used for nothing
-- (PROTOCOL 4), so they are dropped.
procedure GiveUp(i: Who);
begin
  ag_asked[i] := false; ag_deadline[i] := 0;
  if lock.holder = i then lock.holder := 0; end;
  if sv_last_advance = i then sv_last_advance := 0; end;
  if commit.on & commit.who = i then
    commit.m.current := false; commit.m.at := 0;
  end;
  for s: Slot do
    if net[i][s].current then
      if Lasts(net[i][s]) then
        net[i][s].current := false; net[i][s].at := 0;
      else
        NoMessage(net[i][s]);
      end;
    end;
  end;
end;
