-- The data server's side (PROTOCOL 3 and 4, steps 220 to 232).

-- A grant is live at an instant of the server's clock: at `expires` it is over.
function Live(t: Tick): boolean;
begin
  return lock.taken & t < lock.granted + LEASE;
end;

procedure Release();
begin
  lock.taken := false; lock.holder := 0;
  lock.granted := 0; lock.next := 0;
end;

-- The first regular time grid + m * interval at or after `bound`.
function Regular(bound: Tick): Tick;
begin
  return bound + (sv_interval - (bound - sv_grid) % sv_interval) % sv_interval;
end;

-- Step 226: the first slot that is at least max(next_earliest, t + lead).
function NextActivation(t: Tick): Tick;
begin
  return Regular(Max(sv_tab.P, t + LEAD));
end;

-- Whether a Read or Lock at t would renew the promise: T has passed, no grant is live, and it gains.
function Renews(t: Tick): boolean;
begin
  return sv_tab.T <= t & !Live(t) & t + LEAD > sv_tab.P;
end;

procedure Renew(t: Tick);
begin
  if Renews(t) then
    sv_tab.P := t + LEAD;
    Release();
  end;
end;

-- Steps 226 to 232 in one transaction.
procedure StageNext(token: Token; t: Tick; who: Nobody);
var T: Tick;
begin
  T := lock.next;
  assert "S1 granted before T" lock.granted >= sv_tab.T;
  assert "S3 written after the lease" token = sv_last_token & t < lock.granted + LEASE;
  assert "S4 sooner than the lead" T >= lock.granted + LEAD;
  assert "S4 sooner than promised" T >= sv_tab.P;
  sv_tab.a := sv_tab.k;
  sv_tab.k.e := sv_tab.k.e + 1;
  sv_tab.k.c := production;
  sv_tab.T := T;
  -- A changed interval counts from the last regular time at or before T_{k+1}; the promise is the
  -- first of the new settings.
  if sv_pending != 0 then
    sv_grid := T - (T - sv_grid) % sv_interval;
    sv_interval := sv_pending;
    sv_pending := 0;
  end;
  sv_tab.P := T;
  sv_tab.P := NextActivation(T);
  assert "S4 a promise shorter than the lead" sv_tab.P >= T + LEAD;
  sv_last_advance := who;
  Release();
end;

-- What a request does at the instant t, and the answer; `who` is its agent if that waits for it.
procedure Transition(m: Message; t: Tick; who: Nobody; var answer: Message);
begin
  NoMessage(answer);
  switch m.kind
  case READ:
    Renew(t);
    answer.kind := TABLE;
  case LOCK:
    if Live(t) then
      if who != 0 & lock.holder = who then
        answer.kind := GRANTED;
        answer.token := sv_last_token;
        answer.next := lock.next;
      else
        answer.kind := BUSY;
        answer.retry := lock.granted + LEASE - t;
      end;
    elsif sv_tab.T > t & DUE_CHECK then
      answer.kind := NOTDUE;
    else
      Renew(t);
      if sv_tab.held then
        answer.kind := NOTDUE;
      else
        assert "S2 two grants" !Live(t);
        sv_last_token := sv_last_token + 1;
        lock.taken := true;
        lock.holder := who;
        lock.granted := t;
        lock.next := NextActivation(t);
        answer.kind := GRANTED;
        answer.token := sv_last_token;
        answer.next := lock.next;
      end;
    end;
  case ADVANCE:
    if who != 0 & sv_last_advance = who then
      answer.kind := ADVANCED;
    elsif lock.taken & (Live(t) | !LEASE_CHECK) & (sv_last_token = m.token | !TOKEN_CHECK)
      & lock.next = m.next then
      StageNext(m.token, t, who);
      answer.kind := ADVANCED;
    else
      answer.kind := REFUSED;
    end;
  end;
  answer.tab := sv_tab;
  -- Only who reads it, and who is told that it is not due, looks at `held`.
  if answer.kind != TABLE & answer.kind != NOTDUE then answer.tab.held := false; end;
end;

-- Content that the server has: what is staged and what is active.
function Has(c: Content): boolean;
begin
  return c = sv_tab.k.c | (sv_tab.a.e != 0 & c = sv_tab.a.c);
end;

-- A request that was received at `received` is answered; its transaction read the clock then.
procedure Serve(i: Who; m: Message; received: Tick; answered: boolean);
var answer: Message;
begin
  if m.kind = ROUTE | m.kind = FETCH then
    NoMessage(answer);
    answer.kind := !Has(ag_target[i].c) ? GONE : (m.kind = ROUTE ? ROUTED : BYTES);
  else
    Transition(m, received, m.current ? i : 0, answer);
  end;
  if answered & m.current then
    answer.current := true;
    answer.at := now;
    answer.wide := received - m.at;
    Send(i, answer);
  end;
end;

-- Whether a message can be taken by its other end now. What would write waits for a transaction.
function CanArrive(m: Message): boolean;
begin
  if !IsRequest(m.kind) then return m.kind != NONE; end;
  return up & !(commit.on & (m.kind = LOCK | m.kind = ADVANCE | (m.kind = READ & Renews(now))));
end;
