-- The steps of the farm, its faults and its operations. Each rule instance is one step of the core;
-- from one state, no two of them have the same name, agent and message. Time is urgent: a tick is
-- only possible when no message that was not delayed can arrive and no timer is due.

-- What every step ends with: a lease that is over is no lock, and equal bags of messages look equal.
procedure Finish();
begin
  if LEASE_CHECK & !commit.on & lock.taken & !Live(now) then Release(); end;
  for i: Who do Arrange(i); end;
end;

function TimerDue(i: Who): boolean;
begin
  return !ag_late[i] & (
    (!ag_linked[i] & ag_greet[i] <= now)
    | (ag_linked[i] & ag_asked[i] & ag_deadline[i] <= now)
    | ((ag_phase[i] = WAITING | ag_phase[i] = ARMED) & ag_at[i] <= now)
    | ((ag_phase[i] = ROUTING | ag_phase[i] = FETCHING) & ag_linked[i] & !ag_asked[i] & ag_at[i] <= now)
    | (ag_plan[i].stg.e != 0 & ag_plan[i].stg_from <= now)
    | OldPlanEnds(i) <= now
    | ag_start_wait[i] <= now);
end;

function Urgent(): boolean;
begin
  for i: Who do
    if TimerDue(i) then return true; end;
    for s: Slot do
      if !net[i][s].delayed & CanArrive(net[i][s]) then return true; end;
    end;
  end;
  return false;
end;

-- An agent's process at its start, with the page of the one before or without, and with what its disk
-- keeps: the generation that readers got last.
procedure Start(i: Who; page: boolean; disk: boolean);
var got: Got; good: Generation; kept: Plan;
begin
  Serving(i, now, got, good);
  if good.e = 0 then good := ag_plan[i].act; end;
  if !disk then NoGeneration(good); end;
  NoPlan(kept);
  if page then kept := ag_plan[i]; end;
  GiveUp(i);
  ag_linked[i] := false; ag_met[i] := false; ag_greet[i] := 0;
  ag_phase[i] := WAITING; ag_at[i] := now;
  ag_token[i] := 0; ag_next[i] := 0;
  NoGeneration(ag_target[i]); ag_to_active[i] := false;
  ag_failing[i] := false;
  ag_above[i] := 0; ag_below[i] := 0;
  NoTable(ag_tab[i]);
  ag_plan[i] := kept;
  ag_active[i] := kept.act; ag_staged[i] := kept.stg; ag_spare[i] := good;
  ag_carried[i] := page;
  ag_first[i] := page & got = CURRENT ? TOOKOVER : 0;
  ag_joined[i] := false;
  ag_start_wait[i] := !Strict(i) & !page & good.e != 0 ? now + START_WAIT : NEVER;
  ag_late[i] := false;
end;

startstate "a new farm, and agents that just started"
begin
  now := ORIGIN; faults := FAULTS; operations := OPERATIONS; production := 0; up := true;
  NoTable(sv_tab);
  sv_tab.k.e := 1; sv_tab.T := ORIGIN; sv_tab.P := ORIGIN;
  sv_interval := INTERVAL; sv_pending := 0; sv_grid := 0;
  sv_last_token := 0; sv_last_advance := 0;
  Release();
  sv_tab.P := NextActivation(ORIGIN);
  commit.on := false; commit.who := 0; commit.read := 0; NoMessage(commit.m);
  for i: Who do
    for s: Slot do NoMessage(net[i][s]); end;
    NoGeneration(ag_active[i]);
    NoPlan(ag_plan[i]);
    ag_cut[i] := false;
  end;
  for i: Who do
    Start(i, false, false);
    ag_phase[i] := READING; ag_at[i] := 0;
    ag_linked[i] := true; ag_met[i] := true;
    Continue(i);
  end;
  Finish();
end;

rule "tick" now < ORIGIN + HORIZON & !Urgent() ==>
begin
  now := now + 1;
  for i: Who do ag_late[i] := false; end;
  Finish();
end;

ruleset i: Who do
  rule "timer" TimerDue(i) ==>
  var hello: boolean;
  begin
    hello := !ag_linked[i] & ag_greet[i] <= now;
    Due(i);
    if hello & up & !ag_cut[i] then Welcome(i); end;
    Continue(i);
    Finish();
  end;
end;

ruleset i: Who; s: Slot do
  rule "arrives" FirstOfEqual(i, s) & CanArrive(net[i][s]) ==>
  var m: Message;
  begin
    m := net[i][s];
    NoMessage(net[i][s]);
    if IsRequest(m.kind) then Serve(i, m, now, true); else Receive(i, m); end;
    Finish();
  end;
end;

-- Faults -----------------------------------------------------------------------------------------

ruleset i: Who; s: Slot do
  rule "lost" LOSE & faults > 0 & FirstOfEqual(i, s) ==>
  begin
    faults := faults - 1;
    NoMessage(net[i][s]);
    Finish();
  end;
  rule "repeated" REPEAT & faults > 0 & FirstOfEqual(i, s) ==>
  var copy: Message;
  begin
    faults := faults - 1;
    copy := net[i][s];
    copy.delayed := true;
    for free: Slot do
      if copy.kind != NONE & net[i][free].kind = NONE then
        net[i][free] := copy;
        NoMessage(copy);
      end;
    end;
    assert "more messages than places for them" copy.kind = NONE;
    Finish();
  end;
  rule "delayed" DELAY & faults > 0 & FirstOfEqual(i, s) & !net[i][s].delayed ==>
  begin
    faults := faults - 1;
    net[i][s].delayed := true;
    Finish();
  end;
  -- The transaction lasts: it reads the clock now and writes at its end.
  rule "slow" SLOW & faults > 0 & FirstOfEqual(i, s) & !commit.on & CanArrive(net[i][s])
    & (net[i][s].kind = LOCK | net[i][s].kind = ADVANCE) ==>
  begin
    faults := faults - 1;
    commit.on := true; commit.who := i; commit.m := net[i][s]; commit.read := now;
    commit.m.delayed := false;
    NoMessage(net[i][s]);
    Finish();
  end;
end;

-- Connections break: what was on its way is lost.
procedure ServerEnds();
begin
  faults := faults - 1;
  up := false;
  for i: Who do
    for s: Slot do NoMessage(net[i][s]); end;
  end;
end;

procedure NoCommit();
begin
  commit.on := false; commit.who := 0; commit.read := 0; NoMessage(commit.m);
end;

-- The transaction ends with its write: answered, or with the server's process.
ruleset answered: boolean do
  rule "commits" commit.on & (answered | (SERVER_CRASH & faults > 0)) ==>
  var m: Message; i: Who; read: Tick;
  begin
    m := commit.m; i := commit.who; read := commit.read;
    NoCommit();
    Serve(i, m, read, answered);
    if !answered then ServerEnds(); end;
    Finish();
  end;
end;

rule "server ends" SERVER_CRASH & faults > 0 & up ==>
begin
  NoCommit();
  ServerEnds();
  Finish();
end;

-- The server starts again (who = 0), or an agent that was cut off is connected again: whoever was
-- never told a table says hello.
ruleset who: Nobody do
  rule "reached again" (who = 0 & !up) | (who != 0 & ag_cut[Max(who, 1)]) ==>
  begin
    if who = 0 then up := true; else ag_cut[who] := false; end;
    for i: Who do
      if (who = 0 | who = i) & ag_tab[i].k.e = 0 then Connect(i); end;
    end;
    Finish();
  end;
end;

-- A process ends and the next one begins: with the page and the disk, without the page, without both.
ruleset i: Who; kept: 0..2 do
  rule "starts again" faults > 0 & (kept = 2 ? TAKE_OVER : (kept = 1 ? KEEP_DISK : LOSE_DISK)) ==>
  begin
    faults := faults - 1;
    Start(i, kept = 2, kept >= 1);
    Connect(i);
    Finish();
  end;
end;

ruleset i: Who do
  rule "cut off" CUT_OFF & faults > 0 & !ag_cut[i] ==>
  begin
    faults := faults - 1;
    ag_cut[i] := true;
    for s: Slot do NoMessage(net[i][s]); end;
    Finish();
  end;
  rule "late timer" LATE & faults > 0 & TimerDue(i) ==>
  begin
    faults := faults - 1;
    ag_late[i] := true;
    Finish();
  end;
end;

-- Operations -------------------------------------------------------------------------------------

function MayOperate(): boolean;
begin
  return operations > 0 & up & !commit.on;
end;

rule "edit" EDIT & MayOperate() ==>
begin
  operations := operations - 1;
  production := production + 1;
  Finish();
end;

rule "hold" HOLDS & MayOperate() & !sv_tab.held ==>
begin
  operations := operations - 1;
  sv_tab.held := true;
  if HOLD_CLEARS then Release(); end;
  Finish();
end;

rule "hold until" HOLDS & MayOperate() & !sv_tab.held ==>
begin
  operations := operations - 1;
  sv_tab.held := true;
  sv_tab.P := Max(sv_tab.P, now + MAX_HOLD);
  if HOLD_CLEARS then Release(); end;
  Finish();
end;

rule "unhold" HOLDS & MayOperate() & sv_tab.held ==>
begin
  operations := operations - 1;
  sv_tab.held := false;
  Finish();
end;

rule "settings" SETTINGS & MayOperate() ==>
begin
  operations := operations - 1;
  sv_pending := sv_interval + 1;
  Finish();
end;
