-- What must hold (PROTOCOL 10), in the terms of this specification. S1, S2, S3 and S4 are asserted
-- where the server writes.

-- The generation that is live at this instant: k from T_k on, k - 1 before.
procedure LiveNow(var g: Generation);
begin
  if sv_tab.T <= now then g := sv_tab.k; else g := sv_tab.a; end;
end;

function StrictServesLive(i: Who): boolean;
var got: Got; g: Generation; live: Generation;
begin
  Serving(i, now, got, g);
  LiveNow(live);
  return Strict(i) & got = CURRENT -> Is(g, live);
end;

function PromptWithinBounds(i: Who): boolean;
var got: Got; g: Generation; live: Generation; width: Tick;
begin
  Serving(i, now, got, g);
  LiveNow(live);
  if Strict(i) | got != CURRENT | Is(g, live) then return true; end;
  if g.e > live.e then
    return Is(g, sv_tab.k) & sv_tab.T - now <= EARLY_LIMIT;
  end;
  return g.e + 1 = live.e & now - sv_tab.T <= 2 * EARLY_LIMIT;
end;

invariant "S7 strict_serves_live" forall i: Who do StrictServesLive(i) end;
invariant "S8 prompt_skew_bound" forall i: Who do PromptWithinBounds(i) end;
invariant "S5 whole_generation, S6 agreement"
  forall i: Who do
    ag_active[i].e = sv_tab.k.e -> Is(ag_active[i], sv_tab.k)
  end;
invariant "S4 activation_arithmetic" sv_tab.P >= sv_tab.T + LEAD | sv_tab.k.e = 1;
