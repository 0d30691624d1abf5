; S12 clock_enclosure: the server's clock is inside the enclosure.
; docs/protocol.md §2 (Enclosure) and §12 (b); core/src/clock.rs, `latest` and `earliest`.
;
; Between a sample's instant and the look at the enclosure, `t` seconds of true time pass. Each clock
; shows anything within its rate error: `x` seconds on the agent's, `y` on the server's. A negative t is
; a look at an instant before the sample. `up` is what core adds to r, `down` what it adds to s.
; Labels: alone = the hypotheses have a model (sat); proof = the negation has none (unsat);
; weak = with the named hypothesis weakened it has one (sat).

(declare-const rho Real)    ; largest rate error of the agent's clock
(declare-const rho_s Real)  ; largest rate error of the server's
(declare-const drift Real)  ; rho'
(declare-const t Real)
(declare-const x Real)
(declare-const y Real)
(define-fun within ((shown Real) (rate Real) (true_time Real)) Bool
  (ite (>= true_time 0.0)
       (and (<= (* (- 1.0 rate) true_time) shown) (<= shown (* (+ 1.0 rate) true_time)))
       (and (<= (* (+ 1.0 rate) true_time) shown) (<= shown (* (- 1.0 rate) true_time)))))
(define-fun up ((d Real)) Real (ite (>= d 0.0) (* d (+ 1.0 drift)) (* d (- 1.0 drift))))
(define-fun down ((d Real)) Real (ite (>= d 0.0) (* d (- 1.0 drift)) (* d (+ 1.0 drift))))
(assert (and (<= 0.0 rho) (< rho 0.5) (<= 0.0 rho_s) (< rho_s 0.5)))
(define-fun clocks () Bool (and (within x rho t) (within y rho_s t)))
; What the first two proofs show about them; the later ones need no more.
(define-fun aged () Bool (and (<= y (up x)) (>= y (down x))))
(define-fun is_drift () Bool (= (* drift (- 1.0 rho)) (+ rho rho_s)))
(define-fun is_sum () Bool (= drift (+ rho rho_s)))
(define-fun rates_are_real () Bool (and (> rho 0.0) (> rho_s 0.0)))

; ── ages ──────────────────────────────────────────────────────────────────────────────────────────
(push)
(assert (and is_drift clocks rates_are_real (> t 0.0)))
(echo "alone: an age after the sample")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks (>= t 0.0)))
(assert (or (> y (up x)) (< y (down x))))
(echo "proof: after the sample, the server's clock has advanced by no more than up and no less than down")
(check-sat)
(pop)
(push)
(assert (and is_sum clocks (>= t 0.0)))
(assert (> y (up x)))
(echo "weak: rho + rho_s in place of rho' (the product of the rates forgotten)")
(check-sat)
(pop)
(push)
(assert (and (= drift 0.0) clocks (>= t 0.0) (> y (up x))))
(echo "weak: no aging, upper end")
(check-sat)
(pop)
(push)
(assert (and (= drift 0.0) clocks (>= t 0.0) (< y (down x))))
(echo "weak: no aging, lower end")
(check-sat)
(pop)

; ── looks before the sample, §12 (b): the rate that widens is the other one ───────────────────────
(push)
(assert (and is_drift clocks rates_are_real (< t 0.0)))
(echo "alone: a look before the sample")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks (< t 0.0)))
(assert (or (> y (up x)) (< y (down x))))
(echo "proof: before the sample, going back by x, both ends hold")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks (< t 0.0) (> y (* x (+ 1.0 drift)))))
(echo "weak: the upper end goes back at 1 + rho' too, as the formula was first written down")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks (< t 0.0) (< y (* x (- 1.0 drift)))))
(echo "weak: the lower end goes back at 1 - rho' too, as the formula was first written down")
(check-sat)
(pop)

; ── a whole exchange ──────────────────────────────────────────────────────────────────────────────
; Sent at true time 0, received at t_r, answered at t_s, arrived at t_b, looked at at t. The server's
; clock shows 0 when the request leaves; it never goes back. d_a and d_b are what the agent's clock
; shows between sending and the look, and between arrival and the look.
(declare-const r Real)
(declare-const s Real)
(declare-const server_at_b Real)
(declare-const t_b Real)
(declare-const trip Real)    ; what the agent's clock shows between a and b
(declare-const after_b Real) ; what it shows between b and the look
(declare-const y_b Real)     ; what the server's shows between b and the look
(define-fun exchange () Bool
  (and (<= 0.0 r) (<= r s) (<= s server_at_b) (within server_at_b rho_s t_b) (<= 0.0 t_b)
       (within trip rho t_b) (within after_b rho (- t t_b)) (within y_b rho_s (- t t_b))
       (= x (+ trip after_b)) (= y (+ server_at_b y_b))))
(push)
(assert (and is_drift clocks rates_are_real exchange (> r 0.0) (> s r) (> t t_b) (> t_b 0.0)))
(echo "alone: an exchange that took time")
(check-sat)
(pop)
(push)
(assert (and aged (>= y_b (down after_b))))
(assert (and (<= 0.0 r) (<= r s) (<= s server_at_b) (= y (+ server_at_b y_b))))
(assert (or (> y (+ r (up x))) (< y (+ s (down after_b)))))
(echo "proof: whatever the network did, r aged from a and s aged from b enclose the server's clock")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks exchange (> y (+ r (up after_b)))))
(echo "weak: the upper end ages from receipt")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks exchange (< y (+ s (down x)))))
(echo "weak: the lower end ages from the sending")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks (>= t 0.0) (< r 0.0) (> y (+ r (up x)))))
(echo "weak: an r that was read before the request left (a remembered answer)")
(check-sat)
(pop)

; ── clocks are read in steps ──────────────────────────────────────────────────────────────────────
; The agent reads a_read and l_read, each up to one step g before what its clock really shows; core
; adds g to the age for the upper end and takes it off for the lower.
(declare-const g Real)
(declare-const late_a Real)
(declare-const late_l Real)
(define-fun steps () Bool
  (and (<= 0.0 late_a) (< late_a g) (<= 0.0 late_l) (< late_l g)))
(define-fun read_age () Real (+ (- x late_l) late_a)) ; l_read - a_read
(push)
(assert (and is_drift clocks rates_are_real steps (> t 0.0)))
(echo "alone: readings in steps")
(check-sat)
(pop)
(push)
(assert (and aged steps (<= 0.0 drift) (< drift 1.0)))
(assert (or (> y (up (+ read_age g))) (< y (down (- read_age g)))))
(echo "proof: with the step of the agent's clock added outwards, readings in steps do no harm")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks steps (< drift 1.0) (> y (up read_age))))
(echo "weak: the step is not added, upper end")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks steps (< drift 1.0) (< y (down read_age))))
(echo "weak: the step is not taken off, lower end")
(check-sat)
(pop)

; The server reads its clock in steps g_s too: r may be short by that much. Core adds nothing for it, so
; an agent's granularity has to cover both clocks.
(declare-const g_s Real)
(declare-const late_r Real)
(define-fun server_steps () Bool (and (<= 0.0 late_r) (< late_r g_s)))
(push)
(assert (and is_drift clocks rates_are_real server_steps (>= t 0.0) (> late_r 0.0)))
(echo "alone: a server that reads its clock in steps")
(check-sat)
(pop)
(push)
(assert (and aged (<= 0.0 drift) (< drift 1.0) server_steps steps (>= read_age 0.0)))
(assert (> y (+ (up (+ read_age g g_s)) (- 0.0 late_r))))
(echo "proof: a granularity of both steps together covers an r that was read too early by g_s")
(check-sat)
(pop)
(push)
(assert (and is_drift clocks (< drift 1.0) server_steps steps (>= read_age 0.0)))
(assert (> y (+ (up (+ read_age g)) (- 0.0 late_r))))
(echo "weak: a granularity of the agent's step alone")
(check-sat)
(pop)
