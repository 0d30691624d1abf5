-- The agent's cycle (PROTOCOL 5, Fig. 5 and 6). Every input first does what its time has come for
-- (`Due`) and at last sends what the phase waits for (`Continue`).

procedure Ask(i: Who; kind: Kind);
var m: Message;
begin
  NoMessage(m);
  m.kind := kind;
  m.current := true;
  m.at := now;
  if kind = ADVANCE then
    m.token := ag_token[i];
    m.next := ag_next[i];
  end;
  Send(i, m);
  ag_asked[i] := true;
  ag_deadline[i] := now + PATIENCE;
  if kind = ROUTE | kind = FETCH then ag_at[i] := 0; end;
end;

-- Lock and Advance are repeated under their own id.
procedure AskAgain(i: Who);
begin
  ag_failing[i] := true;
  Ask(i, ag_phase[i] = LOCKING ? LOCK : ADVANCE);
end;

-- Sends what the phase waits for, where nothing is outstanding: the end of every input.
procedure Continue(i: Who);
var kind: Kind;
begin
  switch ag_phase[i]
  case READING: kind := READ;
  case LOCKING: kind := LOCK;
  case ADVANCING: kind := ADVANCE;
  case ROUTING: kind := ROUTE;
  case FETCHING: kind := FETCH;
  else kind := NONE;
  end;
  if (kind = ROUTE | kind = FETCH) & !ag_asked[i] & ag_at[i] > now then kind := NONE; end;
  if ag_linked[i] & !ag_asked[i] & kind != NONE then Ask(i, kind); end;
end;

procedure Go(i: Who; phase: Phase; at: Tick);
begin
  ag_phase[i] := phase;
  ag_at[i] := at;
  if phase != ADVANCING then ag_token[i] := 0; ag_next[i] := 0; end;
  if phase != ROUTING & phase != FETCHING then NoGeneration(ag_target[i]); ag_to_active[i] := false; end;
end;

-- Retrieval [234] begins.
procedure Retrieve(i: Who; g: Generation; to_active: boolean);
begin
  ag_target[i] := g;
  ag_to_active[i] := to_active;
  Go(i, ROUTING, now);
end;

-- Activation [252], as housekeeping: what readers already see becomes the active cache.
procedure Promote(i: Who);
begin
  if ag_plan[i].stg.e != 0 & ag_plan[i].stg_from <= now then
    ag_active[i] := ag_plan[i].stg;
    if Is(ag_staged[i], ag_plan[i].stg) then NoGeneration(ag_staged[i]); end;
    ag_plan[i].act := ag_plan[i].stg; ag_plan[i].stale := false; ag_plan[i].act_until := ag_plan[i].stg_until;
    NoGeneration(ag_plan[i].stg); ag_plan[i].stg_from := NEVER; ag_plan[i].stg_until := NEVER;
  end;
end;

-- A plan of a life before, whose k the agent has but which says nothing of it, ends with its promise.
function OldPlanEnds(i: Who): Tick;
begin
  if ag_carried[i] & !Strict(i) & ag_plan[i].stg.e = 0 & ag_tab[i].k.e != 0 & !ag_plan[i].stale
    & (Is(ag_staged[i], ag_tab[i].k) | Is(ag_active[i], ag_tab[i].k)) then
    return ag_plan[i].act_until;
  end;
  return NEVER;
end;

procedure KeepHouse(i: Who);
begin
  if ag_start_wait[i] <= now then
    -- No server was reached in time: the last good generation, marked stale.
    ag_start_wait[i] := NEVER;
    if ag_spare[i].e != 0 & ag_plan[i].act.e = 0 then
      if ag_staged[i].e = 0 then ag_active[i] := ag_spare[i]; end;
      ag_plan[i].act := ag_spare[i];
      ag_plan[i].stale := true;
    end;
  end;
  if OldPlanEnds(i) <= now then Refresh(i, ag_phase[i] = ARMED); end;
  Promote(i);
end;

-- A request was not answered in time. Lock is repeated under its own id for one lease, Advance while
-- the agent's own lease lasts; anything else is asked anew after a back-off.
procedure Unanswered(i: Who);
begin
  if (ag_phase[i] = LOCKING & now < ag_at[i] + LEASE) | (ag_phase[i] = ADVANCING & now < ag_at[i]) then
    AskAgain(i);
  else
    if ag_phase[i] != ADVANCING then ag_failing[i] := true; end;
    GiveUp(i);
    if ag_phase[i] = ROUTING | ag_phase[i] = FETCHING then
      ag_at[i] := now + BACK_OFF;
    else
      Go(i, WAITING, now + (ag_phase[i] = ADVANCING ? LEASE : BACK_OFF));
    end;
  end;
end;

-- Whatever its time has come for.
procedure Due(i: Who);
begin
  if ServesCurrent(i) then ag_joined[i] := true; end;
  KeepHouse(i);
  if !ag_linked[i] & ag_greet[i] != 0 & ag_greet[i] <= now then
    ag_failing[i] := true;
    ag_greet[i] := now + PATIENCE;
  end;
  if ag_linked[i] & ag_asked[i] & ag_deadline[i] <= now then Unanswered(i); end;
  if (ag_phase[i] = WAITING | ag_phase[i] = ARMED) & ag_at[i] <= now then Go(i, READING, 0); end;
end;

-- The server welcomes it.
procedure Welcome(i: Who);
begin
  ag_linked[i] := true; ag_greet[i] := 0;
  ag_failing[i] := false;
  if !ag_met[i] then
    ag_met[i] := true;
    ag_carried[i] := ag_plan[i].act.e != 0 | ag_plan[i].stg.e != 0;
    Go(i, READING, 0);
  elsif ag_asked[i] & (ag_phase[i] = LOCKING | ag_phase[i] = ADVANCING) then
    AskAgain(i);
  elsif ag_asked[i] then
    GiveUp(i);
  end;
end;

-- It says hello, where there is a server or not.
procedure Connect(i: Who);
begin
  Due(i);
  ag_linked[i] := false;
  ag_greet[i] := now + PATIENCE;
  if up & !ag_cut[i] then Welcome(i); end;
  Continue(i);
end;

-- Only if changed: what is held under another number needs no transfer.
function Holds(i: Who; c: Content): boolean;
begin
  return (ag_active[i].e != 0 & ag_active[i].c = c) | (ag_staged[i].e != 0 & ag_staged[i].c = c)
    | (ag_spare[i].e != 0 & ag_spare[i].c = c);
end;

procedure StageIfHeld(i: Who; k: Generation);
begin
  if !Is(ag_active[i], k) & !Is(ag_staged[i], k) & (ag_plan[i].stg.e = 0 | Is(ag_plan[i].stg, k)) & Holds(i, k.c) then
    ag_staged[i] := k;
  end;
end;

-- Takes a table in; `due`: T of it has passed by the server's clock.
procedure Adopt(i: Who; tab: Table; due: boolean);
begin
  if ag_first[i] = 0 then ag_first[i] := tab.k.e; end;
  if ag_staged[i].e != 0 & Is(ag_staged[i], tab.a) then
    -- k is the active generation by now: T_k has passed.
    if Is(ag_plan[i].stg, ag_staged[i]) then
      ag_plan[i].act_until := Min(ag_plan[i].act_until, now);
      ag_plan[i].stg_from := Min(ag_plan[i].stg_from, now);
      Promote(i);
    else
      ag_active[i] := ag_staged[i];
      NoGeneration(ag_staged[i]);
    end;
  end;
  if tab.a.e != 0 & !Is(ag_active[i], tab.a) & !Is(ag_active[i], tab.k) & !due & Holds(i, tab.a.c) then
    ag_active[i] := tab.a;
  end;
  StageIfHeld(i, tab.k);
  ag_tab[i] := tab;
  ag_tab[i].held := false;
  Refresh(i, ag_phase[i] = ARMED);
  Promote(i);
end;

-- Goes on with the table at hand.
procedure Proceed(i: Who; due: boolean);
begin
  if ag_plan[i].stg.e != 0 & !Is(ag_plan[i].stg, ag_tab[i].k) then
    Go(i, WAITING, Max(ag_plan[i].stg_from, now + 1));
  elsif !due & !Is(ag_active[i], ag_tab[i].k) & ag_tab[i].a.e != 0 & !Is(ag_active[i], ag_tab[i].a)
    & (ag_plan[i].act.e = 0 | ag_plan[i].stg.e = 0 | ag_plan[i].act.c = ag_plan[i].stg.c) then
    -- A joining agent: k - 1, named by the same reply that named k.
    Retrieve(i, ag_tab[i].a, true);
  elsif !Is(ag_active[i], ag_tab[i].k) & !Is(ag_staged[i], ag_tab[i].k) then
    Retrieve(i, ag_tab[i].k, false);
  elsif due then
    -- Current: reads again at half of the promise, at the latest after one back-off.
    ag_failing[i] := false;
    Go(i, WAITING, now + BACK_OFF);
  else
    ag_failing[i] := false;
    if Certainly(i, ag_tab[i].T) <= now then
      Go(i, READING, 0);
    else
      Go(i, ARMED, Certainly(i, ag_tab[i].T));
      Refresh(i, true);
    end;
  end;
end;

-- What was retrieved is whole: it is staged. Whether the agent goes on with its table; else it reads
-- again when T has certainly passed.
procedure Whole(i: Who; var goes_on: boolean);
begin
  ag_failing[i] := false;
  if !ag_to_active[i] then
    ag_staged[i] := ag_target[i];
  elsif !Is(ag_active[i], ag_tab[i].k) then
    ag_active[i] := ag_target[i];
  end;
  NoGeneration(ag_spare[i]);
  StageIfHeld(i, ag_tab[i].k);
  Refresh(i, false);
  Promote(i);
  goes_on := Possibly(i, ag_tab[i].T) > now | !Is(ag_active[i], ag_tab[i].k);
  if !goes_on then Go(i, WAITING, Max(Certainly(i, ag_tab[i].T), now)); end;
end;

-- What an answer means to the phase that waited for it.
procedure Answered(i: Who; m: Message);
var due: boolean; goes_on: boolean; failed: boolean;
begin
  failed := ag_failing[i];
  switch m.kind
  case TABLE: due := m.tab.T <= m.at; -- the server's own reading decides, never an estimate of it
  case NOTDUE: due := m.tab.held & Is(ag_tab[i].k, m.tab.k);
  case REFUSED: due := Is(ag_tab[i].k, m.tab.k);
  case BUSY, GRANTED: due := true;
  else due := false;
  end;
  if m.kind <= REFUSED then Adopt(i, m.tab, due); end;
  goes_on := false;
  switch m.kind
  case TABLE:
    goes_on := !due | m.tab.held;
    if !goes_on then Go(i, LOCKING, now); end;
  case NOTDUE:
    goes_on := true;
  case BUSY:
    goes_on := !Is(ag_active[i], m.tab.k) & !Is(ag_staged[i], m.tab.k);
    if !goes_on then Go(i, WAITING, now + Max(m.retry, 1)); end;
  case GRANTED:
    -- The lease counts from the first sending of the request.
    ag_failing[i] := false;
    ag_token[i] := m.token;
    ag_next[i] := m.next;
    Go(i, ADVANCING, ag_at[i] + LEASE);
  case ADVANCED:
    ag_failing[i] := false;
    goes_on := true;
  case REFUSED:
    goes_on := !due;
    if due then Go(i, WAITING, now + LEASE); end;
  case ROUTED:
    ag_failing[i] := false;
    ag_phase[i] := FETCHING;
    ag_at[i] := now;
  case BYTES:
    Whole(i, goes_on);
  case GONE:
    ag_failing[i] := true;
    Go(i, failed ? WAITING : READING, failed ? now + BACK_OFF : 0);
  end;
  if goes_on then Proceed(i, due); end;
end;

-- A reply arrives: one sample of the server's clock, and what it says.
procedure Receive(i: Who; m: Message);
var narrower: boolean;
begin
  Due(i);
  -- Given up in this very step: used for nothing.
  if ag_asked[i] then
    GiveUp(i);
    narrower := ag_tab[i].k.e = 0 | m.wide < ag_above[i] | now - m.at < ag_below[i];
    if ag_tab[i].k.e = 0 then
      ag_above[i] := m.wide; ag_below[i] := now - m.at;
    else
      ag_above[i] := Min(ag_above[i], m.wide); ag_below[i] := Min(ag_below[i], now - m.at);
    end;
    if narrower then Refresh(i, ag_phase[i] = ARMED); end;
    Answered(i, m);
  end;
  Continue(i);
end;
