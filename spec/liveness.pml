/* What keeps happening: the protocol of docs/protocol.md, written again for SPIN, for liveness under weak
 * fairness (R1 recovers, R2 lock_freed). What is left out and why: liveness.md.
 *
 * Time has no horizon: everything is relative. `g` is the number of ticks to the next regular time,
 * `slots` the number of regular times up to T (0: T has passed), a lease and each wait count down.
 * Generations are relative to the table's k: an agent has k, k - 1, both, or neither.
 * While faults last, anything may take any time. Afterwards an exchange takes less than a tick, so a tick
 * comes only when nobody has anything to do at once.
 *
 * What each -D takes away: `broken` in ./run. */

#ifndef INTERVAL
#define INTERVAL 5   /* lead + 2 lease + round_trip < interval, with a round trip below one tick */
#endif
#ifndef LEAD
#define LEAD     2   /* lead >= lease + round_trip + stagger + retrieve */
#endif
#ifndef LEASE
#define LEASE    1   /* lease > round_trip */
#endif
#define NOBODY   2
#define DEAD     3   /* an agent's former life, or a request that it has given up */

mtype:step = { READ, LOCK, ADVANCE, FETCH, ARMED, WAIT };
mtype:says = { NOTHING, AHEAD, DUE, HELD, GRANTED, BUSY, REFUSED, BYTES, GONE, LOST };

/* the synchronization table */
byte g = INTERVAL;
byte slots = 0;
byte lease = 0;
byte holder = NOBODY;
byte aim = 0;            /* regular times up to the T that a live lock was granted for */
bool held = false;
byte promise = INTERVAL;  /* next_earliest, from now */

/* the agents, and the answer that is on its way to each */
mtype:step step[2] = READ;
mtype:says says[2] = NOTHING;
bool old_answer[2];       /* it is of a table before this one */
bool knows[2];            /* the agent's newest table is this one */
bool was_due[2];          /* that table said that T has passed; for retrieving */
bool has_k[2];
bool has_before[2];       /* k - 1 */
byte waits[2];            /* of a WAIT, or what is left of the lease by the holder's own clock */
byte trusts[2];           /* what is left of the promise that it knows */

bool faults = true;

#define ok          (!faults && !held)   /* faults are over for good, and nobody holds the farm again */
#define current(i)  ((slots == 0 && has_k[i]) || (slots > 0 && has_before[i]))
#define provable(i) ((slots == 0 && has_k[i] && trusts[i] > 0) || (slots > 0 && has_before[i] && (knows[i] || trusts[i] > 0)))

#ifdef STRICT   /* the promise is counted; nothing but serving under proof depends on it */
#define PROMISE(x)  promise = x
#define TRUST(i, x) trusts[i] = x
#else
#define PROMISE(x)  skip
#define TRUST(i, x) skip
#endif

#ifdef ETERNAL_LOCK
#define is_free (holder == NOBODY)   /* an expired lock is never cleared */
#else
#define is_free (lease == 0)
#endif
#ifdef FORGETS_T
#define wakes(i) (false)             /* told that T is ahead, it never asks again */
#else
#define wakes(i) (slots == 0 || !knows[i])
#endif
#define asks(i)  (says[i] == NOTHING && step[i] != ARMED && step[i] != WAIT)
#define rests(i) ((step[i] == ARMED && !wakes(i)) || (step[i] == WAIT && waits[i] > 0))

/* ── the server ─────────────────────────────────────────────────────────────────────────────────── */

inline age(i) {
    has_before[i] = has_k[i]; has_k[i] = false; knows[i] = false; old_answer[i] = (says[i] != NOTHING)
}
/* The lock, with the T that it is granted for: the first regular time that leaves the lead [226]. */
inline grant(who) { lease = LEASE; holder = who; aim = (g >= LEAD -> 1 : 2) }
inline unlock() { lease = 0; holder = NOBODY; aim = 0 }

/* active := staged, staged := production, epoch + 1, unlock. */
inline stage_next() {
    slots = aim;
#ifdef SHORT_PROMISE
    PROMISE(g + (slots - 1) * INTERVAL);   /* to T and no further */
#else
    PROMISE(g + slots * INTERVAL);   /* next_activation as it would be at T */
#endif
    unlock(); age(0); age(1)
}

inline renew() {                     /* a Read or a Lock after T, with no live grant */
    if
    :: slots == 0 && is_free -> holder = NOBODY; PROMISE((promise < LEAD -> LEAD : promise))
    :: else -> skip
    fi
}

inline answer(i, what) { says[i] = what; old_answer[i] = false }

inline tell_table(i) {
    if
    :: slots > 0          -> answer(i, AHEAD)
    :: slots == 0 && held -> answer(i, HELD)
    :: else               -> answer(i, DUE)
    fi
}

inline serve(i) {
    if
    :: step[i] == READ -> renew(); tell_table(i)
    :: step[i] == LOCK && is_free -> renew();
        if
        :: slots == 0 && !held -> grant(i); answer(i, GRANTED)
        :: else -> tell_table(i)     /* NotDue */
        fi
    :: step[i] == LOCK && !is_free && holder == i -> answer(i, GRANTED)   /* the same request again */
    :: step[i] == LOCK && !is_free && holder != i -> answer(i, BUSY)
    :: step[i] == ADVANCE && lease > 0 && holder == i -> stage_next(); knows[i] = true; answer(i, AHEAD)
    :: step[i] == ADVANCE && !(lease > 0 && holder == i) -> answer(i, REFUSED)
    :: step[i] == FETCH && knows[i] -> answer(i, BYTES)
    :: step[i] == FETCH && !knows[i] -> answer(i, GONE)
    fi
}

/* ── an agent [Fig. 5, Fig. 6] ──────────────────────────────────────────────────────────────────── */

inline go(i, where, ticks) {
    step[i] = where; waits[i] = ticks; says[i] = NOTHING; old_answer[i] = false;
    was_due[i] = (where == FETCH -> was_due[i] : false)
}
/* What was asked under this request's number counts for nobody any more. */
inline give_up(i) { holder = (holder == i -> DEAD : holder) }

/* Fills the caches, or waits for T, or rests. A table that is due is not asked for k - 1. */
inline proceed(i) {
    if
    :: !(has_k[i] && (was_due[i] || has_before[i])) -> go(i, FETCH, 0)
    :: has_k[i] && !was_due[i] && has_before[i] -> go(i, ARMED, 0)
#ifdef RESTS_FOR_GOOD
    :: has_k[i] && was_due[i] -> go(i, WAIT, 255)
#else
    :: has_k[i] && was_due[i] -> go(i, WAIT, 1)
#endif
    fi
}

inline adopt(i, due) {
    knows[i] = !old_answer[i]; was_due[i] = due;
    TRUST(i, (old_answer[i] -> trusts[i] : promise))
}

inline hear(i) {
    if
    :: says[i] == DUE -> adopt(i, true); go(i, LOCK, LEASE)
    :: says[i] == HELD -> adopt(i, true); give_up(i); proceed(i)
    :: says[i] == AHEAD -> adopt(i, false); give_up(i); proceed(i)
    :: says[i] == GRANTED -> adopt(i, true); go(i, ADVANCE, LEASE)
    :: says[i] == BUSY -> adopt(i, true); give_up(i);
        if
        :: has_k[i] -> go(i, WAIT, lease)   /* retry_after */
        :: else -> go(i, FETCH, 0)
        fi
    :: says[i] == REFUSED -> give_up(i);
#ifdef NEVER_BACKS_OFF
        go(i, ADVANCE, LEASE)
#else
        go(i, WAIT, LEASE)           /* one lease, then it asks again */
#endif
    :: says[i] == BYTES && !old_answer[i] && !was_due[i] && !has_before[i] -> has_before[i] = true; proceed(i)
    :: says[i] == BYTES && !old_answer[i] && (was_due[i] || has_before[i]) -> has_k[i] = true; proceed(i)
    :: says[i] == BYTES && old_answer[i] -> go(i, READ, 0)
#ifdef IGNORES_GONE
    :: says[i] == GONE -> go(i, FETCH, 0)
#else
    :: says[i] == GONE -> go(i, READ, 0)
#endif
    fi
}

/* Nothing came: asked again, under the same number while the own lease lasts, then from the beginning. */
inline unanswered(i) {
#ifdef NO_RETRY
    says[i] = LOST
#else
    if
    :: step[i] == LOCK && waits[i] == 0 -> give_up(i); go(i, READ, 0)
    :: step[i] == ADVANCE && waits[i] == 0 -> give_up(i); go(i, WAIT, LEASE)
    :: else -> says[i] = NOTHING; old_answer[i] = false
    fi
#endif
}

proctype agent(byte me) {
    do
    :: d_step { asks(me) -> serve(me) }   /* a request that waits is one that is not made yet */
    :: d_step { says[me] != NOTHING && says[me] != LOST -> hear(me) }
    :: d_step { step[me] == ARMED && wakes(me) -> go(me, READ, 0) }
    :: d_step { step[me] == WAIT && waits[me] == 0 -> go(me, READ, 0) }
    od
}

/* ── time and faults ────────────────────────────────────────────────────────────────────────────── */

#define idle(i) (rests(i) || says[i] == LOST)

proctype time() {
    do
    :: d_step { faults || (idle(0) && idle(1)) ->
        g = g - 1;
        if
        :: g == 0 -> g = INTERVAL; slots = (slots > 0 -> slots - 1 : 0); aim = (aim > 0 -> aim - 1 : 0)
        :: else -> skip
        fi;
        lease = (lease > 0 -> lease - 1 : 0);
#ifndef ETERNAL_LOCK
        holder = (lease == 0 -> NOBODY : holder); aim = (lease == 0 -> 0 : aim);
#endif
#ifdef RESTS_FOR_GOOD
        waits[0] = (waits[0] == 255 -> 255 : (waits[0] > 0 -> waits[0] - 1 : 0));
        waits[1] = (waits[1] == 255 -> 255 : (waits[1] > 0 -> waits[1] - 1 : 0));
#else
        waits[0] = (waits[0] > 0 -> waits[0] - 1 : 0);
        waits[1] = (waits[1] > 0 -> waits[1] - 1 : 0);
#endif
        PROMISE((promise > 0 -> promise - 1 : 0));
        TRUST(0, (trusts[0] > 0 -> trusts[0] - 1 : 0));
        TRUST(1, (trusts[1] > 0 -> trusts[1] - 1 : 0))
    }
    od
}

inline crash(i) {                    /* and the next life begins, with its disk */
    give_up(i); go(i, READ, 0); knows[i] = false; TRUST(i, 0)
}

proctype chaos() {
    do
    :: d_step { faults && (asks(0) || says[0] != NOTHING) -> unanswered(0) }
    :: d_step { faults && (asks(1) || says[1] != NOTHING) -> unanswered(1) }
    :: d_step { faults -> crash(0) }
    :: d_step { faults -> crash(1) }
    :: d_step { faults -> crash(0); has_k[0] = false; has_before[0] = false }
    :: d_step { faults -> crash(1); has_k[1] = false; has_before[1] = false }
    :: d_step { faults && is_free && slots == 0 && !held -> grant(DEAD) }  /* a late copy of a Lock */
    :: d_step { faults && lease > 0 && holder == DEAD -> stage_next() }        /* a late Advance of a dead holder */
    :: d_step { faults && !held -> held = true; unlock() }   /* hold */
    :: d_step { held -> held = false }                                         /* unhold */
    :: d_step { faults -> faults = false }
    od
}

init { atomic { run agent(0); run agent(1); run time(); run chaos() } }

/* ── what keeps happening ───────────────────────────────────────────────────────────────────────── */

/* `ok` never ends once it holds, so "always eventually ok" and "<>[] ok" are one. T passes by time alone and
 * lies ahead again by an advance alone, so the epoch advances for ever if both come again and again. The
 * agents are alike: what holds for one holds for the other. */
ltl current_stays  { (<>[] ok) -> (<>[] current(0)) }
ltl epoch_advances { (<>[] ok) -> ([]<> (slots == 0) && []<> (slots > 0)) }
ltl lock_freed     { []<> is_free }
/* These two are false: nothing is promised while faults last, and slots are skipped. */
ltl faults_too     { []<> current(0) }
ltl never_skips    { [] (slots < 2) }
#ifdef STRICT
ltl proof_stays    { (<>[] ok) -> (<>[] provable(0)) }
#endif
