; S7 and S12 over new timelines: the slew, "certainly passed", and what a restore waits.
; docs/protocol.md §8, §12; core/src/timeline.rs.

(declare-const rho Real)   ; rho_s, the largest rate error of a line
(declare-const drift Real) ; of two lines: Drift::between(rho_s, rho_s)
(assert (and (<= 0.0 rho) (< rho 0.5)))
(define-fun is_drift () Bool (= (* drift (- 1.0 rho)) (+ rho rho)))

; ── the slew ──────────────────────────────────────────────────────────────────────────────────────
; The oscillator is wrong by up to half of rho_s; the line runs `slope` faster or slower than it. In `t`
; seconds the line advances t (1 + wrong)(1 + slope).
(declare-const wrong Real)
(declare-const slope Real)
(define-fun advance () Real (* (+ 1.0 wrong) (+ 1.0 slope)))
(define-fun half () Real (/ rho 2.0))
(define-fun oscillator () Bool (and (<= (- half) wrong) (<= wrong half)))
(define-fun slew_within ((most Real)) Bool (and (<= (- most) slope) (<= slope most)))
(push)
(assert (and oscillator (> rho 0.0) (> slope 0.0) (= wrong half) (<= (* slope (+ 1.0 half)) half)))
(echo "alone: a slewed line")
(check-sat)
(pop)
(push)
(assert (and oscillator (<= (* slope (+ 1.0 half)) half) (>= (* slope (+ 1.0 half)) (- half))))
(assert (or (> advance (+ 1.0 rho)) (< advance (- 1.0 rho))))
(echo "proof: slewed by at most half/(1 + half), the line keeps rho_s")
(check-sat)
(pop)
(push)
(assert (and oscillator (slew_within half)))
(assert (> advance (+ 1.0 rho)))
(echo "weak: slewed by half of rho_s (the product of slew and oscillator forgotten)")
(check-sat)
(pop)

; ── certainly passed ──────────────────────────────────────────────────────────────────────────────
; `I` is an instant of the old line, T_k or P_k. When the mark was stored the old line showed stored (its
; reading, rounded down by cut_old); `gap` nanoseconds of true time later the new line begins and
; shows now0 (rounded down by cut_new). The new instant is now0 + (I - stored)(1 + rho'), rounded up.
; At `t` after its beginning the new line shows now0 + cut_new + its advance; the old one, had it run on,
; would show stored + cut_old + its own. Any continuation of it within rho_s may be taken.
(declare-const I Real)
(declare-const stored Real)
(declare-const now0 Real)
(declare-const new_I Real)
(declare-const gap Real)
(declare-const t Real)
(declare-const cut_old Real)
(declare-const cut_new Real)
(declare-const old_adv Real) ; in gap + t
(declare-const new_adv Real) ; in t
(define-fun runs ((adv Real) (time Real)) Bool
  (and (<= (* (- 1.0 rho) time) adv) (<= adv (* (+ 1.0 rho) time))))
(define-fun lines () Bool
  (and (<= 0.0 t) (<= 0.0 cut_old) (< cut_old 1.0) (<= 0.0 cut_new) (< cut_new 1.0)
       (runs old_adv (+ gap t)) (runs new_adv t)))
(define-fun new_line_is_at_it () Bool (>= (+ now0 cut_new new_adv) new_I))
(define-fun old_has_not_passed () Bool (< (+ stored cut_old old_adv) I))
(define-fun or_zero ((x Real)) Real (ite (< x 0.0) 0.0 x))
; Between storing and the first answer of another process lies more than two nanoseconds.
(define-fun begun_later () Bool (>= gap 2.0))
(push)
(assert (and is_drift lines begun_later new_line_is_at_it (> rho 0.0) (> I stored)
             (>= new_I (+ now0 (* (or_zero (- I stored)) (+ 1.0 drift))))))
(echo "alone: a new line at an old instant")
(check-sat)
(pop)
(push)
(assert (and is_drift lines begun_later new_line_is_at_it
             (>= new_I (+ now0 (* (or_zero (- I stored)) (+ 1.0 drift))))))
(assert old_has_not_passed)
(echo "proof: when the new line shows the new instant, the old instant has passed on the old line")
(check-sat-using (then simplify solve-eqs elim-term-ite qfnra-nlsat))
(pop)
(push)
(assert (and is_drift lines begun_later new_line_is_at_it (= new_I I) (= rho 0.0)))
(assert old_has_not_passed)
(echo "weak: the instant is kept as a number")
(check-sat)
(pop)
(declare-const ahead Real)
(push)
(assert (and is_drift lines begun_later new_line_is_at_it (> ahead 2.0) (< (* 2.0 gap) ahead)
             (>= new_I (+ now0 (* (or_zero (- I (+ stored ahead))) (+ 1.0 drift))))))
(assert old_has_not_passed)
(echo "weak: counted from the mark in place of its storing")
(check-sat)
(pop)
(push)
(assert (and lines begun_later new_line_is_at_it (>= new_I (+ now0 (or_zero (- I stored))))))
(assert old_has_not_passed)
(echo "weak: not stretched by drift")
(check-sat)
(pop)
(push)
(assert (and (= (* drift (- 1.0 rho)) rho) lines begun_later new_line_is_at_it
             (>= new_I (+ now0 (* (or_zero (- I stored)) (+ 1.0 drift))))))
(assert old_has_not_passed)
(echo "weak: stretched by the drift of one line only")
(check-sat)
(pop)
(push)
(assert (and (= drift (+ rho rho)) lines begun_later new_line_is_at_it
             (>= new_I (+ now0 (* (or_zero (- I stored)) (+ 1.0 drift))))))
(assert old_has_not_passed)
(echo "weak: stretched by 2 rho_s, without the product")
(check-sat)
(pop)

; An agent that still runs the old plan serves k - 1 before T_k and k before P_k on the old line. On the
; new one k is served from the new T on, and k + 1 from the new P on, at the earliest.
(declare-const T Real)
(declare-const P Real)
(declare-const new_T Real)
(declare-const new_P Real)
(declare-const old_now Real)
(declare-const new_now Real)
(define-fun certainly () Bool
  (and (< T P) (=> (>= new_now new_T) (>= old_now T)) (=> (>= new_now new_P) (>= old_now P))))
(push)
(assert (and certainly (< old_now T) (< new_now new_T)))
(echo "alone: old plan and new line at one instant")
(check-sat)
(pop)
(push)
(assert certainly)
(assert (or (and (< old_now T) (>= new_now new_T)) (and (< old_now P) (>= new_now new_P))))
(echo "proof: no old plan serves k - 1 beside k, or k beside k + 1, of the new line")
(check-sat)
(pop)
(push)
(assert (and (< T P) (=> (>= new_now new_T) (>= old_now T))))
(assert (and (< old_now P) (>= new_now new_P)))
(echo "weak: only T was moved, not the promise")
(check-sat)
(pop)
(push)
(assert (and certainly (>= old_now T) (< old_now P) (< new_now new_T)))
(echo "weak: the new line names k - 1 as active (served until its T), while old plans are at k")
(check-sat)
(pop)

; ── a promise carried over, §12 (a) ───────────────────────────────────────────────────────────────
; An agent holds k. Its old plan serves k until the server's old clock can have reached the old promise
; (`until`, local); what was lost with the old store may be live after that, but not once the new line has
; reached the new T. `from` is where the new T has certainly passed. core/src/plan.rs `carried_over`.
(declare-const until Real)
(declare-const from Real)
(declare-const l Real)
(declare-const under_old Bool)  ; k is live at l by the old promise
(declare-const under_new Bool)  ; k is live at l on the new line: from the new T to the new promise
(declare-const before_end Bool) ; the new promise has not run out at l
(define-fun plans () Bool
  (and (=> (< l until) under_old) (=> (and (>= l from) before_end) under_new)))
(push)
(assert (and plans (<= from until) (> l until) before_end))
(echo "alone: a read after the old promise")
(check-sat)
(pop)
(push)
(assert (and plans (<= from until) before_end (not under_old) (not under_new)))
(echo "proof: where the new T has certainly passed before the old promise ends, the plan may go on to the new promise")
(check-sat)
(pop)
(push)
(assert (and plans before_end (not under_old) (not under_new)))
(echo "weak: a gap between the old promise and the new T")
(check-sat)
(pop)
