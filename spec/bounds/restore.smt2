; S7 after a restore: how long promises can last that the restored store knows nothing of.
; docs/protocol.md §3, §8, §12; core/src/timeline.rs `begin_line`, `OldLine::Unknown`.
;
; The lost server stopped when its line showed X. Nothing is known of its last grants but the farm's
; limits. Its last grant was at g <= X, made T_k, and with it the promise P_k. `bound` is what T_k had to
; reach, regular times lie i_old apart up to T_k and i_new after it (an interval may change there).
; The rest, how long a span of the old line can last on the new one, is in timelines.smt2.

(declare-const max_hold Real)
(declare-const max_lead Real)
(declare-const max_interval Real)
(declare-const X Real)
(declare-const g Real)
(declare-const lead_old Real)
(declare-const lead_new Real)
(declare-const i_old Real)
(declare-const i_new Real)
(declare-const promise Real)  ; next_earliest at the grant
(declare-const slot Real)     ; the first regular time at or after the bound
(declare-const T Real)
(declare-const P Real)
(declare-const H Real)        ; a hold announced after k was staged, or X
(define-fun larger ((x Real) (y Real)) Real (ite (>= x y) x y))
(define-fun settings_ok () Bool
  (and (<= 0.0 max_hold) (< 0.0 lead_old) (< lead_old i_old) (< 0.0 lead_new) (< lead_new i_new)
       (<= lead_old max_lead) (<= lead_new max_lead) (<= i_old max_interval) (<= i_new max_interval)))
; The promise at the grant was raised to a hold's H or by a renewal (both before X), or it is what was
; found when k - 1 was staged: then it is at most the first regular time at or after g + lead.
(define-fun promise_ok ((hold Real)) Bool
  (or (<= promise (+ X hold)) (<= promise (+ X lead_old)) (< promise (+ g lead_old i_old))))
(define-fun slot_ok () Bool
  (or (and (<= promise (+ g lead_old)) (< slot (+ g lead_old i_old)))
      (and (> promise (+ g lead_old)) (< slot (+ promise i_old)))))
; Where the promise is that of the staging, it lies in the series itself: the slot is that regular time.
(define-fun series_ok ((hold Real)) Bool
  (or (<= promise (+ X hold)) (<= promise (+ X lead_old)) (< slot (+ g lead_old i_old))))
(define-fun cycle ((hold Real)) Bool
  (and (<= g X) settings_ok (promise_ok hold) slot_ok (series_ok hold)
       (<= (larger promise (+ g lead_old)) T) (<= T slot)
       (<= (+ T lead_new) P) (or (< P (+ T lead_new i_new)) (= P H))
       (<= H (+ X hold))))
(define-fun waited ((hold Real)) Real (+ X hold (* 2.0 max_interval) max_lead))

(push)
(assert (and (cycle max_hold) (> T (+ X max_lead)) (> P (+ T lead_new)) (> max_hold 0.0)))
(echo "alone: a promise far ahead")
(check-sat)
(pop)
(push)
(assert (cycle max_hold))
(assert (> P (waited (larger max_hold max_lead))))
(echo "proof: no promise lasts beyond max(max_hold, max_lead) + 2 max_interval + max_lead")
(check-sat)
(pop)
(push)
(assert (cycle max_hold))
(assert (> P (waited max_hold)))
(echo "weak: max_hold alone, as it was first written down, where max_hold < max_lead")
(check-sat)
(pop)
(push)
(assert (and (cycle max_hold) (>= max_hold max_lead)))
(assert (> P (+ X max_hold max_interval max_lead)))
(echo "weak: one interval in place of two")
(check-sat)
(pop)
(push)
(assert (and (cycle max_hold) (>= max_hold max_lead)))
(assert (> P (+ X max_hold (* 2.0 max_interval))))
(echo "weak: without max_lead")
(check-sat)
(pop)
(push)
(assert (and (cycle max_hold) (>= max_hold max_lead)))
(assert (> P (+ X max_hold)))
(echo "weak: a wait for a hold's end only")
(check-sat)
(pop)
(push)
(assert (and (>= max_hold max_lead) (cycle (* 2.0 max_hold)) (> max_hold 0.0)))
(assert (> P (waited max_hold)))
(echo "weak: holds announced further ahead than max_hold")
(check-sat)
(pop)

; ── a restore after a restore ─────────────────────────────────────────────────────────────────────
; The first one was made when the clock showed r1, the second, of another backup, at r2 and before the first
; one's T had passed. Both wait alike; the second knows nothing of the first. An agent of the first serves its
; generation from T1 until P1 = T1 + given, while the second's goes live at T2. (Drift apart, which makes T1
; and P1 later together.)
(declare-const wait Real)
(declare-const r1 Real)
(declare-const r2 Real)
(declare-const given Real)   ; how far beyond its T the first restore promises
(declare-const seen Real)    ; an instant at which the agent is read
(define-fun twice () Bool (and (< 0.0 wait) (<= r1 r2) (< r2 (+ r1 wait)) (<= 0.0 given)))
(define-fun serves () Bool (and (<= (+ r1 wait) seen) (< seen (+ r1 wait given))))
(push)
(assert (and twice (= given 0.0) (< r1 r2) (<= (+ r2 wait) seen)))
(echo "alone: two restores, the second before the first one's T")
(check-sat)
(pop)
(push)
(assert (and twice serves (= given 0.0) (<= (+ r2 wait) seen)))
(echo "proof: a restore that promises nothing beyond its T has nobody serve its generation beside the second's")
(check-sat)
(pop)
(push)
(assert (and twice serves (< r1 r2) (= given max_lead) (< 0.0 max_lead) (<= (+ r2 wait) seen)))
(echo "weak: a promise of max_lead, as it was first written down")
(check-sat)
(pop)

; ── a line that had itself begun anew ─────────────────────────────────────────────────────────────
; Its server rebooted while a promise of the line before was outstanding, and stretched what was left of it
; (timelines.smt2), by up to what the mark reaches ahead and by drift: to any T and P whatever, and at each
; of several reboots again. So `is_allowed_for` in core/src/timeline.rs asks of what was stretched that it
; be no longer than a restore waits, nor the next grant's promise; otherwise k goes live once the old promise
; is over, and nothing is promised before a read after that.
(declare-const begun Real)       ; the new line's first reading
(declare-const stretched_T Real)
(declare-const stretched_P Real)
(declare-const new_T Real)
(declare-const new_P Real)
(define-fun longest_bound () Real (larger max_hold max_lead))
(define-fun longest_promise () Real (+ longest_bound (* 2.0 max_interval) max_lead))
(define-fun next_is_allowed () Bool
  (or (<= stretched_P (+ begun longest_bound)) (< stretched_P (+ stretched_T lead_old i_old))))
(define-fun is_allowed () Bool (<= stretched_P (+ begun longest_promise)))
(define-fun line_begins ((allowed Bool)) Bool
  (and settings_ok (<= begun stretched_T) (<= (+ stretched_T lead_old) stretched_P)
       (ite allowed (and (= new_T stretched_T) (= new_P stretched_P)) (and (= new_P new_T) (<= stretched_T new_T)))))
; The next grant, where the promise is still the new line's, which is an instant to land on (`landing`).
(define-fun next_cycle () Bool
  (and (<= new_T g) (<= g X) (= promise new_P)
       (ite (>= promise (+ g lead_old)) (= T promise)
            (and (<= (+ g lead_old) T) (< T (+ g lead_old i_old))))
       (<= (+ T lead_new) P) (or (< P (+ T lead_new i_new)) (= P H)) (<= H (+ X max_hold))))
(define-fun rule () Bool (and next_is_allowed is_allowed))
(push)
(assert (and (line_begins rule) rule (< (+ begun longest_bound) new_P) next_cycle (< 0.0 max_hold)))
(echo "alone: a promise that was stretched is kept, and a cycle is begun by it")
(check-sat)
(pop)
(push)
(assert (and (line_begins rule) (<= begun X) (< new_T new_P)))
(assert (> new_P (+ X longest_promise)))
(echo "proof: what a new line promises lasts no longer than a restore waits")
(check-sat)
(pop)
(push)
(assert (and (line_begins true) (<= begun X) (< new_T new_P)))
(assert (> new_P (+ X longest_promise)))
(echo "weak: whatever was stretched, which is what was first written down")
(check-sat)
(pop)
(push)
(assert (and (line_begins next_is_allowed) (<= begun X) (< new_T new_P)))
(assert (> new_P (+ X longest_promise)))
(echo "weak: the next grant alone")
(check-sat)
(pop)
(push)
(assert (and (line_begins rule) (not rule) next_cycle))
(echo "alone: a promise that was stretched too far, and a cycle after it")
(check-sat)
(pop)
(push)
(assert (and (line_begins rule) next_cycle))
(assert (> P (+ X longest_promise)))
(echo "proof: nor does what its first grant makes of that")
(check-sat)
(pop)
(push)
(assert (and (line_begins is_allowed) next_cycle))
(assert (> P (+ X longest_promise)))
(echo "weak: the promise alone, and not what the next grant makes of it")
(check-sat)
(pop)
