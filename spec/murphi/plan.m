-- What readers get, and how an agent's switch plan follows from what it knows (PROTOCOL 6, and 8 for
-- a plan of a life before).

-- `serving(plan, t)`: what a read at t gets.
procedure Serving(i: Who; t: Tick; var got: Got; var g: Generation);
begin
  NoGeneration(g);
  if ag_plan[i].stg.e != 0 & t >= ag_plan[i].stg_from then
    if t < ag_plan[i].stg_until then got := CURRENT; g := ag_plan[i].stg;
    elsif Strict(i) then got := FENCED;
    else got := STALE; g := ag_plan[i].stg; end;
  elsif ag_plan[i].act.e != 0 & t < ag_plan[i].act_until then
    got := ag_plan[i].stale ? STALE : CURRENT; g := ag_plan[i].act;
  elsif ag_plan[i].stg.e != 0 & (ag_plan[i].act.e != 0 | t >= ag_plan[i].act_until) then
    got := HOLD;
  elsif ag_plan[i].act.e != 0 & !Strict(i) then
    got := STALE; g := ag_plan[i].act;
  else
    got := FENCED;
  end;
end;

function ServesCurrent(i: Who): boolean;
var got: Got; g: Generation;
begin
  Serving(i, now, got, g);
  return got = CURRENT;
end;

-- The ends of the enclosure at an instant of the table: before `Possibly` it has certainly not
-- passed, from `Certainly` on it certainly has.
function Possibly(i: Who; t: Tick): Tick;
begin
  return t - ag_above[i];
end;
function Certainly(i: Who; t: Tick): Tick;
begin
  return t + ag_below[i];
end;
function Promise(i: Who): Tick;
begin
  return PROMISE_CHECK ? Possibly(i, ag_tab[i].P) : NEVER;
end;

-- When a prompt agent switches: by the strict proof; once the last samples are in and it has served,
-- in the middle of the two ends, unless that is too far off, and not before T - early_limit is certain.
function PromptSwitch(i: Who; decided: boolean): Tick;
var from: Tick; before: Tick; half: Tick;
begin
  before := Possibly(i, ag_tab[i].T);
  from := Certainly(i, ag_tab[i].T);
  half := (from - before) / 2;
  if !decided | !ag_joined[i] | ag_first[i] = ag_tab[i].k.e | half > EARLY_LIMIT then
    return from;
  end;
  return Max(before + half, Certainly(i, ag_tab[i].T - EARLY_LIMIT));
end;

-- What is served until T, and until when.
procedure BeforeSwitch(i: Who; var p: Plan);
var T: Tick; planned: boolean; known: boolean;
begin
  T := Possibly(i, ag_tab[i].T);
  planned := Is(ag_plan[i].stg, ag_tab[i].k);
  if ag_tab[i].a.e != 0 & Is(ag_active[i], ag_tab[i].a) then
    -- k - 1, as named by the server. A bound once published stays true.
    known := Is(ag_plan[i].act, ag_active[i]) & !ag_plan[i].stale & (planned | ag_plan[i].stg.e = 0);
    p.act := ag_active[i];
    p.act_until := known ? Max(T, ag_plan[i].act_until) : T;
  elsif planned then
    -- What a plan of a life before, or one marked stale, kept.
    p.act := ag_plan[i].act; p.stale := ag_plan[i].stale; p.act_until := ag_plan[i].act_until;
    if Strict(i) & ag_plan[i].act_until <= now & T > now then
      NoGeneration(p.act); p.act_until := T;
    end;
  else
    if !Strict(i) then p.act := ag_active[i]; p.stale := true; end;
    p.act_until := T;
  end;
end;

-- The first epoch that a life finds staged: a life before may have switched this early (S9).
procedure LimitFirst(i: Who; var p: Plan);
begin
  if !Strict(i) & ag_first[i] = ag_tab[i].k.e then
    p.act_until := Min(p.act_until, Possibly(i, ag_tab[i].T - EARLY_LIMIT));
  end;
end;

-- The switch to k, which is in one of the caches.
procedure ToStaged(i: Who; decided: boolean; var p: Plan);
var from: Tick; published: boolean;
begin
  published := Is(ag_plan[i].stg, ag_tab[i].k);
  p.stg := ag_tab[i].k;
  p.stg_until := Promise(i);
  from := Strict(i) ? Certainly(i, ag_tab[i].T) : PromptSwitch(i, decided);
  p.stg_from := published ? Min(from, ag_plan[i].stg_from) : from;
  if !Strict(i) then
    p.act_until := p.stg_from;
    LimitFirst(i, p);
    -- The first serve of a life needs the strict proof at this end too (S10).
    if !ag_joined[i] then p.act_until := Min(p.act_until, Possibly(i, ag_tab[i].T)); end;
    if published & ag_first[i] != ag_tab[i].k.e then p.act_until := Min(p.act_until, ag_plan[i].act_until); end;
  end;
end;

procedure OrdinaryPlan(i: Who; decided: boolean; var p: Plan);
begin
  NoPlan(p);
  if Is(ag_active[i], ag_tab[i].k) & ag_plan[i].stg.e = 0 & !ag_plan[i].stale & Is(ag_plan[i].act, ag_tab[i].k) then
    -- k is live here: until its promise ends.
    p.act := ag_active[i];
    p.act_until := Max(Promise(i), ag_plan[i].act_until);
  else
    BeforeSwitch(i, p);
    if Is(ag_active[i], ag_tab[i].k) | Is(ag_staged[i], ag_tab[i].k) then
      ToStaged(i, decided, p);
    else
      LimitFirst(i, p);
    end;
  end;
end;

-- The first plan of a life that took over a page: what is published stands, only its end may move.
-- Where it names k - 1, which the agent serves, the plan is an ordinary one.
procedure TakenOverPlan(i: Who; var p: Plan; var made: boolean; var ordinary: boolean);
var T: Tick;
begin
  made := true;
  ordinary := false;
  T := Certainly(i, ag_tab[i].T);
  p := ag_plan[i];
  if Is(ag_plan[i].stg, ag_tab[i].k) then
    made := T <= ag_plan[i].stg_until;
    p.stg_until := Max(ag_plan[i].stg_until, Promise(i));
  elsif ag_plan[i].stg.e = 0 & Is(ag_plan[i].act, ag_tab[i].k) & !ag_plan[i].stale & T <= ag_plan[i].act_until then
    p.act_until := Max(ag_plan[i].act_until, Promise(i));
  elsif ag_tab[i].a.e != 0 & Is(ag_active[i], ag_tab[i].a) then
    ordinary := true;
  elsif ag_plan[i].stg.e = 0 & (Strict(i) | ag_plan[i].stale | ag_plan[i].act_until <= now)
    & (Is(ag_staged[i], ag_tab[i].k) | Is(ag_active[i], ag_tab[i].k)) then
    NoPlan(p);
    p.act := ag_plan[i].act;
    p.stale := !Strict(i);
    p.act_until := Strict(i) ? ag_plan[i].act_until : T;
    p.stg := ag_tab[i].k;
    p.stg_from := T;
    p.stg_until := Promise(i);
  else
    made := false;
  end;
end;

-- The plan is made anew from the table, the enclosure and the caches.
procedure Refresh(i: Who; decided: boolean);
var p: Plan; made: boolean; ordinary: boolean;
begin
  if ag_tab[i].k.e = 0 then return; end;
  made := true;
  ordinary := true;
  if ag_carried[i] then TakenOverPlan(i, p, made, ordinary); end;
  if ordinary then OrdinaryPlan(i, decided, p); end;
  if made then
    ag_carried[i] := false;
    if p.act.e != 0 then ag_start_wait[i] := NEVER; end;
    ag_plan[i] := p;
  end;
end;
