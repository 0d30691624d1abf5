/*
 * downbeat.h: an agent of a Downbeat farm, for hosts that are written in C.
 *
 * An agent keeps one data set identical to that of all other agents of its farm, and goes over to the
 * next one at the same instant T as they do, without any message at that instant. What it decides is in
 * this library; the host brings a byte stream to the server, a clock, memory, and the place where content
 * is kept. The protocol is described in docs/protocol.md of the project.
 *
 * MEMORY. Nothing is allocated. The caller gives the memory of agents, pages and readings; what is put
 * there may not be moved or copied. It needs no clearing up: once nobody uses it any more it may be used for
 * something else. Texts and structures that are given to a call are copied by it.
 *
 * TIME. The library never looks at a clock. Every input is given at an instant of the agent's *local
 * clock*: int64_t nanoseconds from any beginning, read just before the call. That clock runs on while the
 * host is suspended, nobody steps or slews it (on Linux CLOCK_MONOTONIC_RAW and the time suspended, never
 * CLOCK_REALTIME), and it keeps within the rate error that the configuration states. It never goes back:
 * an input before the one before is refused. Instants of the farm's timeline, which is the server's clock,
 * are named ..._server_ns: nanoseconds since 1970-01-01 without leap seconds. Spans are nanoseconds too.
 *
 * STEPS and figures that are named in comments are those of docs/protocol.md, and so are S1 to S12.
 *
 * THE LOOP. After every input the host takes effects with downbeat_next_effect and carries each of them
 * out, in their order, until it says DOWNBEAT_DONE. Then it asks downbeat_poll_at, waits for that instant
 * or for bytes, whichever comes first, and gives the next input. A wake-up that comes early, late or twice
 * does no harm; a late one delays nothing that readers see.
 *
 * THREADS. An agent, and a reading of an object, are used by one thread at a time; different ones have
 * nothing to do with each other. A page is published on by one thread at a time, and looked at by any
 * number of threads and interrupts meanwhile, none of which ever waits. Calls without such a pointer can be
 * made at any time.
 *
 * RESULTS. A call returns DOWNBEAT_OK, DOWNBEAT_DONE where that is said, or a negative number; then
 * nothing was changed, unless it is said otherwise, and downbeat_error_text has a sentence for it. Any call
 * may return DOWNBEAT_NULL_POINTER, DOWNBEAT_MISALIGNED and DOWNBEAT_NOT_INITIALIZED for what it is given.
 * A NULL agent, page or reading is refused so; memory that was never given to its ..._init or ..._begin
 * must at least be as large as the type and have been written (static memory has).
 *
 * WHAT CAN'T BE CHECKED, and is the caller's to see to: pointers that are not NULL point to what they say,
 * as long as they say; texts end with a zero byte; what THREADS says; and functions that are given to the
 * library come back, with neither an exception nor longjmp.
 *
 * Enumerations cross the interface as 32-bit integers, because compilers for small targets make an enum
 * as short as its values allow.
 */
#ifndef DOWNBEAT_H
#define DOWNBEAT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ── results ────────────────────────────────────────────────────────────────────────────────────── */

/* What a call came to: a value of enum downbeat_code. */
typedef int32_t downbeat_result;

enum downbeat_code {
    DOWNBEAT_OK = 0,
    DOWNBEAT_DONE = 1,                  /* nothing more of this for now; no fault */

    /* The caller's faults. */
    DOWNBEAT_NULL_POINTER = -1,
    DOWNBEAT_MISALIGNED = -2,
    DOWNBEAT_MEMORY_TOO_SHORT = -3,
    DOWNBEAT_NOT_INITIALIZED = -4,
    DOWNBEAT_EFFECTS_PENDING = -5,      /* an input before all effects of the last one were taken */
    DOWNBEAT_TIME_WENT_BACK = -6,       /* the host's clock is broken: call downbeat_clock_broke */
    DOWNBEAT_STALE_EFFECT = -7,
    DOWNBEAT_NOTHING_TO_SEND = -8,
    DOWNBEAT_BUFFER_TOO_SHORT = -9,
    DOWNBEAT_BODY_TOO_LARGE = -10,

    /* A frame was dropped and counted: normal on a serial line. Go on with the rest. */
    DOWNBEAT_FRAME_OVERSIZED = -11,
    DOWNBEAT_FRAME_GARBLED = -12,
    DOWNBEAT_FRAME_VERSION = -13,
    DOWNBEAT_FRAME_MALFORMED = -14,

    /* The caller's faults again. */
    DOWNBEAT_BAD_NAME = -15,
    DOWNBEAT_BAD_TEXT = -16,
    DOWNBEAT_TOO_MANY_NAMES = -17,
    DOWNBEAT_BAD_SETTING = -18,
    DOWNBEAT_BAD_PLAN = -19,
    DOWNBEAT_BAD_NUMBER = -20,
    DOWNBEAT_PAGE_BUSY = -21,
    DOWNBEAT_UNSUPPORTED = -22,

    /* An object is not what was expected. Each is final for its reading. */
    DOWNBEAT_OBJECT_MAGIC = -40,
    DOWNBEAT_OBJECT_VERSION = -41,
    DOWNBEAT_OBJECT_BASE_MARK = -42,
    DOWNBEAT_OBJECT_WRONG_BASE = -43,
    DOWNBEAT_OBJECT_WRONG_TARGET = -44,
    DOWNBEAT_OBJECT_TOO_MANY_DATASETS = -45,
    DOWNBEAT_OBJECT_BAD_NAME = -46,
    DOWNBEAT_OBJECT_MANIFEST_ORDER = -47,
    DOWNBEAT_OBJECT_MANIFEST_DIGEST = -48,
    DOWNBEAT_OBJECT_UNKNOWN_MARK = -49,
    DOWNBEAT_OBJECT_NO_SECTION = -50,
    DOWNBEAT_OBJECT_SECTION_ORDER = -51,
    DOWNBEAT_OBJECT_EMPTY_SECTION = -52,
    DOWNBEAT_OBJECT_UNKNOWN_DATASET = -53,
    DOWNBEAT_OBJECT_KEY_ORDER = -54,
    DOWNBEAT_OBJECT_LIMIT = -55,
    DOWNBEAT_OBJECT_DELETE_IN_SNAPSHOT = -56,
    DOWNBEAT_OBJECT_WRONG_SUM = -57,
    DOWNBEAT_OBJECT_MISSING_DATASET = -58,
    DOWNBEAT_OBJECT_TRAILING_BYTES = -59,
    DOWNBEAT_OBJECT_TRUNCATED = -60,
    DOWNBEAT_OBJECT_WRONG_NAME = -61
};

/* A sentence for people, in English, for any number; it stays for ever. */
const char *downbeat_error_text(downbeat_result result);

/* The number of this interface. A host compares downbeat_abi() with DOWNBEAT_ABI once, at its start:
 * where they differ, header and library are not of one version, and nothing else may be called. */
#define DOWNBEAT_ABI 1
uint32_t downbeat_abi(void);

/* The version of the library, such as "0.1.0"; it stays for ever. */
const char *downbeat_version(void);

/* Nothing here is to panic, whatever comes in. If something does all the same, the program ends and
 * never goes on in C: on a host with a message on standard error and abort(); on a target without an
 * operating system `hook` is called once (NULL: nothing is), with the place in this library's source, a
 * text of `file_len` bytes without an end; if the hook comes back, an endless loop follows.
 * Errors: DOWNBEAT_UNSUPPORTED on a host. */
typedef void (*downbeat_panic_hook)(const char *file, size_t file_len, uint32_t line);
downbeat_result downbeat_on_panic(downbeat_panic_hook hook);

/* ── memory of the caller ───────────────────────────────────────────────────────────────────────── */

/* Bytes that are large enough on every target; the functions say what is needed on this one. */
#define DOWNBEAT_AGENT_SIZE 6144
#define DOWNBEAT_PAGE_SIZE 288
#define DOWNBEAT_OBJECT_SIZE 7680

/* Memory for each of them, to be declared static or wherever it stays. Who wants to save what this target
 * doesn't need gives other memory, of the size and alignment that the functions say, as a pointer to these
 * types. */
struct downbeat_agent { uint64_t private_words[DOWNBEAT_AGENT_SIZE / 8]; };
struct downbeat_page { uint64_t private_words[DOWNBEAT_PAGE_SIZE / 8]; };
struct downbeat_object { uint64_t private_words[DOWNBEAT_OBJECT_SIZE / 8]; };

size_t downbeat_agent_size(void);
size_t downbeat_agent_alignment(void);
size_t downbeat_page_size(void);
size_t downbeat_page_alignment(void);
size_t downbeat_object_size(void);
size_t downbeat_object_alignment(void);

/* ── limits ─────────────────────────────────────────────────────────────────────────────────────── */

#define DOWNBEAT_FRAME_MAX 1035         /* bytes of the longest frame: what downbeat_encode needs at most */
#define DOWNBEAT_FETCH_MAX 768          /* bytes of content in one frame */
#define DOWNBEAT_KEY_MAX 512            /* bytes of the longest key */
#define DOWNBEAT_VALUE_MAX 65536        /* bytes of the longest value */
#define DOWNBEAT_RECORD_MAX 66048       /* bytes of the longest record: key and value */
#define DOWNBEAT_TEXT_MAX 64            /* bytes of the longest name, display name and token */
#define DOWNBEAT_DATASETS_MAX 8         /* datasets that an agent can subscribe to by name */
#define DOWNBEAT_OBJECT_DATASETS 16     /* datasets that an object may have to be read here */

/* An instant that never comes. */
#define DOWNBEAT_NEVER INT64_MAX

/* ── common values ──────────────────────────────────────────────────────────────────────────────── */

/* Bytes of somebody else's; where len is 0, at may be NULL. */
struct downbeat_bytes {
    const uint8_t *at;
    size_t len;
};

/* A generation: one immutable data set, all datasets of the farm at one epoch. Two with the same digest
 * have the same content. The epoch belongs to its timeline: one number may name two contents on two. */
struct downbeat_generation {
    uint64_t epoch;
    uint8_t digest[32];
};

/* How an agent treats what it can't prove. */
enum downbeat_mode {
    DOWNBEAT_PROMPT = 0,                /* serves always; marks what may be out of date as stale */
    DOWNBEAT_STRICT = 1                 /* serves only what is provably live: no two agents ever differ */
};

/* How staged content becomes active. */
enum downbeat_activation {
    DOWNBEAT_SWITCH = 0,                /* two buffers change their roles; readers can hold either */
    DOWNBEAT_COPY = 1                   /* staged is copied to where readers look; reads are held meanwhile */
};

/* ── what an agent is set to ────────────────────────────────────────────────────────────────────── */

struct downbeat_config {
    uint8_t agent[16];                  /* who it is: random bytes, drawn once at installation, and kept */
    const char *farm;                   /* 1 to 64 characters of a-z, 0-9, '.', '_' and '-' */
    const char *display;                /* a name for people, up to 64 bytes of UTF-8; NULL: none */
    const char *token;                  /* an access token, up to 64 bytes; NULL: none */
    const char *const *datasets;        /* names of datasets that it subscribes to; all where there is none */
    size_t dataset_count;               /* up to DOWNBEAT_DATASETS_MAX */
    uint32_t mode;                      /* enum downbeat_mode; default prompt */
    uint32_t activation;                /* enum downbeat_activation; default switch */
    uint32_t rate_ppb;                  /* the largest rate error of the local clock, in parts per billion, below
                                           500000000; default 250000 (250 ppm). Too low, and the bounds lie */
    uint8_t samples;                    /* time samples taken shortly before T; default 8; 0: none */
    uint8_t reports;                    /* 1: it tells the server what it does, for operators; default 1 */
    uint8_t reserved[2];
    int64_t granularity_ns;             /* the step in which the local clock is read; default 0, at least 0.
                                           A clock that ticks each microsecond has 1000 */
    int64_t first_back_off_ns;          /* after a failure, doubled with each; default 0.1 s, at least 0 */
    int64_t longest_back_off_ns;        /* default 10 s, at least the first one */
    int64_t patience_ns;                /* how long an answer is waited for until the farm's own setting is known;
                                           default 1 s, above 0 */
    int64_t start_wait_ns;              /* after so long without a server a prompt agent serves `last_good`, marked
                                           stale; default 5 s, at least 0 */
};

/* Fills in the defaults. The agent's id and the farm are left to the caller. */
downbeat_result downbeat_config_defaults(struct downbeat_config *config);

/* ── the plan, and what a read gets ─────────────────────────────────────────────────────────────── */

/* The one published value that decides every read. Instants are of the agent's local clock. A host only
 * passes it on: to a page, to memory that outlives the process, to another processor. */
struct downbeat_plan {
    uint64_t serial;                    /* rises with each plan of an agent; 0: nothing was published yet */
    uint64_t boot;                      /* the boot that the instants belong to; in another the plan is void */
    uint32_t mode;                      /* enum downbeat_mode */
    uint32_t activation;                /* enum downbeat_activation */
    uint8_t has_active;                 /* 0 or 1 */
    uint8_t has_staged;                 /* 0 or 1 */
    uint8_t stale;                      /* 1: reads of active are marked stale whatever the time */
    uint8_t reserved[5];
    struct downbeat_generation active;  /* served before the switch */
    int64_t active_until_ns;            /* until then (strict), or not marked stale until then (prompt) */
    struct downbeat_generation staged;  /* served after the switch */
    int64_t staged_from_ns;             /* from then on */
    int64_t staged_until_ns;            /* until then (strict), or not marked stale until then (prompt) */
};

/* What a read gets (Fig. 6, step 252). */
enum downbeat_state {
    DOWNBEAT_NOTHING = 0,               /* nothing: the agent has published no plan yet */
    DOWNBEAT_ACTIVE = 1,                /* the active generation */
    DOWNBEAT_STAGED = 2,                /* the staged generation, which has gone live */
    DOWNBEAT_STALE = 3,                 /* a generation that may be out of date (prompt only) */
    DOWNBEAT_HOLD = 4,                  /* nothing yet: wait, the switch is being made; milliseconds at most */
    DOWNBEAT_FENCED = 5                 /* nothing: what is live can't be proved. Answer with an error */
};

struct downbeat_serving {
    uint32_t state;                     /* enum downbeat_state */
    uint32_t version;                   /* of the page, where one was looked at; else 0 */
    struct downbeat_generation generation; /* where state is active, staged or stale; else zero */
    int64_t at_ns;                      /* the instant of the look at the clock */
    int64_t until_ns;                   /* every look before it at the same plan gets the same; the page's version
                                           tells whether it still is the same. DOWNBEAT_NEVER: none has to know
                                           the time */
};

/* What a read at `now_ns` gets by `plan` (step 252; S7, S8); `boot` is the reader's. THE ORDER MATTERS: the
 * plan is loaded first, then the clock is read, then this is called. A clock that was read before the plan
 * was loaded makes a strict reader serve what is no longer live.
 * Errors: DOWNBEAT_BAD_PLAN. */
downbeat_result downbeat_serving_of(const struct downbeat_plan *plan, uint64_t boot, int64_t now_ns,
                                    struct downbeat_serving *serving);

/* The page by which plans reach readers: in other threads, in interrupts.
 * `downbeat_page_init` puts `plan` there (that of downbeat_current_plan after downbeat_agent_init); only
 * then may readers look. `len` is the length of the memory.
 * Errors: DOWNBEAT_MEMORY_TOO_SHORT, DOWNBEAT_BAD_PLAN. */
downbeat_result downbeat_page_init(struct downbeat_page *page, size_t len, const struct downbeat_plan *plan);

/* Publishes a plan (the effect DOWNBEAT_PUBLISH): readers go by it, whole, from their next look on. If the
 * writer dies in the middle, they keep the plan before.
 * Errors: DOWNBEAT_BAD_PLAN; DOWNBEAT_PAGE_BUSY: another thread is in this call. */
downbeat_result downbeat_page_publish(struct downbeat_page *page, const struct downbeat_plan *plan);

/* What a read gets now (step 252; S7, S9): loads the plan, then calls `clock` with `context`, then answers.
 * `clock` gives the agent's local time; it is called exactly once, and its instant is that of the read. */
typedef int64_t (*downbeat_clock)(void *context);
downbeat_result downbeat_page_look(const struct downbeat_page *page, uint64_t boot, downbeat_clock clock,
                                   void *context, struct downbeat_serving *serving);

/* The published plan, as one value. */
downbeat_result downbeat_page_load(const struct downbeat_page *page, struct downbeat_plan *plan);

/* The version of the published plan: one atomic load. It rises by one with each publish, and wraps. A read
 * that kept what its last look got may use it again while the version is the same, and then, read after
 * the version, the clock is before until_ns. */
downbeat_result downbeat_page_version(const struct downbeat_page *page, uint32_t *version);

/* ── the agent ──────────────────────────────────────────────────────────────────────────────────── */

struct downbeat_start {
    uint64_t incarnation;               /* a random number drawn at every start; never a counter */
    uint64_t boot;                      /* a number that this boot of the host has and no other; instants of the
                                           local clock mean nothing in another. A device that can't tell draws one
                                           at each start */
    int64_t now_ns;                     /* the local clock */
    const struct downbeat_plan *page;   /* what a process before this one published last; NULL: not known */
    const struct downbeat_generation *last_good; /* what was served last, where its content was kept and was
                                           checked; NULL: nothing */
};

/* Makes an agent in `len` bytes of memory. It wants to be told of a connection next.
 * Errors: DOWNBEAT_MEMORY_TOO_SHORT, DOWNBEAT_BAD_NAME, DOWNBEAT_BAD_TEXT, DOWNBEAT_TOO_MANY_NAMES,
 * DOWNBEAT_BAD_SETTING (a span or a rate), DOWNBEAT_BAD_NUMBER (mode, activation), DOWNBEAT_BAD_PLAN. */
downbeat_result downbeat_agent_init(struct downbeat_agent *agent, size_t len, const struct downbeat_config *config,
                                    const struct downbeat_start *start);

/* Inputs. Each returns DOWNBEAT_EFFECTS_PENDING where effects of the one before were not all taken, and
 * DOWNBEAT_TIME_WENT_BACK where `now_ns` is before an instant that was given already. */

/* There is a new connection to a server, or a serial line has begun anew: what was left of a frame is
 * forgotten. The agent says hello, and goes on where it stood. */
downbeat_result downbeat_connected(struct downbeat_agent *agent, int64_t now_ns);

/* The connection is gone. Whatever was asked is asked again over the next one; a switch that is staged comes
 * all the same. */
downbeat_result downbeat_disconnected(struct downbeat_agent *agent, int64_t now_ns);

/* Bytes of the stream, however they are cut. Takes bytes off the front of `rest` up to the end of one
 * frame, and gives its message to the agent. `now_ns`: when the bytes arrived, read as soon as can be; all
 * frames of one piece may have the same. Call it until it says DOWNBEAT_DONE, and take all effects each
 * time:
 *   DOWNBEAT_OK          a frame was taken in: take the effects, then call again
 *   DOWNBEAT_DONE        all bytes are used up; what they held of an unfinished frame is kept
 *   DOWNBEAT_FRAME_...   a frame was dropped and counted: call again
 * In these three cases `rest` is moved on. Memory that this agent's effects point to is used anew. */
downbeat_result downbeat_receive(struct downbeat_agent *agent, int64_t now_ns, struct downbeat_bytes *rest);

/* What the host found when it was asked to verify. */
enum downbeat_found {
    DOWNBEAT_WHOLE = 0,                 /* it is whole, its digests agree, and it can be served */
    DOWNBEAT_MISMATCH = 1,              /* it is not what was announced: it is retrieved again */
    DOWNBEAT_TOO_LARGE = 2,             /* a veto: it doesn't fit where it must be kept */
    DOWNBEAT_INVALID = 3,               /* a veto: the host's own validation refuses it */
    DOWNBEAT_STORAGE = 4                /* a veto: the host can't keep it */
};

/* Answers the effect DOWNBEAT_VERIFY (steps 228, 234; S5, S6); once all effects were taken, at any later
 * time. An answer to what is no longer asked is used for nothing. Errors: DOWNBEAT_BAD_NUMBER. */
downbeat_result downbeat_verified(struct downbeat_agent *agent, int64_t now_ns,
                                  const struct downbeat_generation *target, uint32_t found);

/* Answers the effect DOWNBEAT_COPY_STAGED: the copy is whole (step 252). */
downbeat_result downbeat_copied(struct downbeat_agent *agent, int64_t now_ns);

/* The instant of downbeat_poll_at has come, or some other time. */
downbeat_result downbeat_wake(struct downbeat_agent *agent, int64_t now_ns);

/* The local clock can't be trusted as it was: it stepped, it went back, the machine was restored. A strict
 * agent is fenced until it has measured anew. `now_ns` may be before earlier instants here. */
downbeat_result downbeat_clock_broke(struct downbeat_agent *agent, int64_t now_ns);

/* The host is about to end: a lock that is held is given back (step 232). Carry out the effects; it is the
 * last input. */
downbeat_result downbeat_shut_down(struct downbeat_agent *agent, int64_t now_ns);

/* ── effects ────────────────────────────────────────────────────────────────────────────────────── */

enum downbeat_effect_kind {
    DOWNBEAT_SEND = 1,                  /* downbeat_encode, and write the frame to the stream at once */
    DOWNBEAT_PUBLISH = 2,               /* publish `plan`: readers go by it from now on. Where the activation is
                                           DOWNBEAT_COPY and it names as active what lies in the staged buffer (after
                                           a clock that broke, for one), that is copied first */
    DOWNBEAT_BEGIN = 3,                 /* step 234: `incoming` comes. Drop what was kept and not verified, and make
                                           room in a buffer that downbeat_keeps needs for nothing else, once no reader is
                                           left in it. It needn't fit: that is told after DOWNBEAT_VERIFY */
    DOWNBEAT_KEEP = 4,                  /* put the bytes of `keep` behind those kept before */
    DOWNBEAT_VERIFY = 5,                /* all of `incoming` was kept: read it as an object (below), let the host's
                                           own validation look at it, and answer with downbeat_verified */
    DOWNBEAT_COPY_STAGED = 6,           /* step 252: copy `generation` from staged to active, and answer with
                                           downbeat_copied (where the activation is DOWNBEAT_COPY) */
    DOWNBEAT_EVENT = 7                  /* `event`, for logs and counters; nothing needs to be done */
};

/* Which of the agent's two buffers. */
enum downbeat_buffer {
    DOWNBEAT_BUFFER_ACTIVE = 0,         /* the one that readers are on: filled only by an agent that joins */
    DOWNBEAT_BUFFER_STAGED = 1          /* the other one */
};

/* A generation on its way. It comes as one object, an uncompressed snapshot: see below. */
struct downbeat_incoming {
    struct downbeat_generation target;  /* what it must be */
    uint8_t object_name[32];            /* the object's name, which proves its bytes */
    uint64_t object_len;                /* its length in bytes: so much is kept */
    uint32_t objects;                   /* 1; where a server announces another number, the answer is mismatch */
    uint32_t buffer;                    /* enum downbeat_buffer */
};

struct downbeat_keep {
    uint64_t offset;                    /* where they belong in the object: behind those kept before */
    struct downbeat_bytes bytes;        /* in the agent's memory, until the next input; at most DOWNBEAT_FETCH_MAX */
    uint32_t object;                    /* the object's number among those announced, from 0 */
    uint32_t reserved;
};

enum downbeat_event_kind {
    DOWNBEAT_NEW_TIMELINE = 1,          /* the server is on another timeline */
    DOWNBEAT_CLOCK_BROKEN = 2,          /* an assumption about clocks broke */
    DOWNBEAT_REFUSED = 3,               /* the connection was refused; `why` is enum downbeat_refusal */
    DOWNBEAT_UNMATCHED = 4,             /* a reply that was not waited for, used for nothing */
    DOWNBEAT_UNEXPECTED = 5,            /* a reply that doesn't answer what was asked, used for nothing */
    DOWNBEAT_MISMATCHED = 6,            /* `generation` came otherwise than announced; it is retrieved again */
    DOWNBEAT_VETOED = 7,                /* the host won't take `generation`; `why` is enum downbeat_found */
    DOWNBEAT_GONE = 8,                  /* what was being retrieved is superseded */
    DOWNBEAT_SWITCHED = 9,              /* staged became active, as `switched` tells */
    DOWNBEAT_SERVING_LAST_GOOD = 10     /* no server was reached: `generation` is served, marked stale */
};

/* Why a server refuses a connection. */
enum downbeat_refusal {
    DOWNBEAT_HELLO_FIRST = 0,           /* it has forgotten the hello; another is said */
    DOWNBEAT_VERSION_NOT_SPOKEN = 1,    /* the version of the protocol: upgrade the older end */
    DOWNBEAT_UNAUTHORIZED = 2,          /* the token is not known there, or not good for this farm */
    DOWNBEAT_NO_FARM = 3,               /* there is no such farm there */
    DOWNBEAT_OVER_A_LIMIT = 4,          /* something is longer than the farm allows */
    DOWNBEAT_BUSY = 5                   /* too much to do there; it is tried again */
};

struct downbeat_switched {
    uint64_t epoch;                     /* to which epoch */
    int64_t at_server_ns;               /* when, by the agent's estimate of the server's clock */
    int64_t epsilon_ns;                 /* the largest error of that estimate */
    int64_t held_ns;                    /* how long reads were held for it */
};

struct downbeat_event {
    uint32_t kind;                      /* enum downbeat_event_kind */
    uint32_t why;                       /* where that says so; else 0 */
    struct downbeat_generation generation; /* where that says so; else zero */
    struct downbeat_switched switched;  /* of DOWNBEAT_SWITCHED; else zero */
};

struct downbeat_effect {
    uint32_t kind;                      /* enum downbeat_effect_kind */
    uint32_t number;                    /* which effect of this agent: for downbeat_encode */
    union {
        struct downbeat_plan plan;              /* DOWNBEAT_PUBLISH */
        struct downbeat_incoming incoming;      /* DOWNBEAT_BEGIN, DOWNBEAT_VERIFY */
        struct downbeat_keep keep;              /* DOWNBEAT_KEEP */
        struct downbeat_generation generation;  /* DOWNBEAT_COPY_STAGED */
        struct downbeat_event event;            /* DOWNBEAT_EVENT */
    } about;
};

/* Gives the next effect of the last input, or DOWNBEAT_DONE: then all were taken, and the next input may
 * be given. */
downbeat_result downbeat_next_effect(struct downbeat_agent *agent, struct downbeat_effect *effect);

/* Writes the frame of a DOWNBEAT_SEND to the front of `buffer`, and its length to `written`, while it is
 * the effect that was taken last. DOWNBEAT_FRAME_MAX bytes are always enough. `now_ns` is when the frame is
 * sent, read right before this call, and the frame is written right after it: the time between is taken for
 * the way to the server, and makes the agent less sure of the server's clock. A frame that can't be written
 * may be dropped: the agent asks again. It is no input: `now_ns` is not before the last input's, and the
 * next input may be before it.
 * Errors: DOWNBEAT_BUFFER_TOO_SHORT, DOWNBEAT_STALE_EFFECT, DOWNBEAT_NOTHING_TO_SEND,
 * DOWNBEAT_TIME_WENT_BACK; what stands in `buffer` is then no frame. */
downbeat_result downbeat_encode(const struct downbeat_agent *agent, const struct downbeat_effect *effect,
                                int64_t now_ns, uint8_t *buffer, size_t len, size_t *written);

/* ── questions ──────────────────────────────────────────────────────────────────────────────────── */

/* When the agent wants to be woken (an instant that may have passed), or DOWNBEAT_NEVER: only another
 * input can change anything. */
downbeat_result downbeat_poll_at(const struct downbeat_agent *agent, int64_t *at_ns);

/* The published plan. */
downbeat_result downbeat_current_plan(const struct downbeat_agent *agent, struct downbeat_plan *plan);

/* Whether content with the generation's digest is still needed: by readers, as staged, or on its way.
 * `keeps` becomes 0 or 1. */
downbeat_result downbeat_keeps(const struct downbeat_agent *agent, const struct downbeat_generation *generation,
                               uint8_t *keeps);

/* Where an agent is in its cycle. */
enum downbeat_phase {
    DOWNBEAT_GREETING = 0,              /* not yet welcomed */
    DOWNBEAT_READING = 1,               /* reads the table (steps 222, 224) */
    DOWNBEAT_LOCKING = 2,               /* asks for the lock (step 220) */
    DOWNBEAT_ADVANCING = 3,             /* begins the next cycle (steps 226 to 232) */
    DOWNBEAT_RETRIEVING = 4,            /* retrieves a generation (step 234) */
    DOWNBEAT_ARMED = 5,                 /* holds the staged generation and waits for T (step 236) */
    DOWNBEAT_ACTIVATING = 6,            /* copies staged to active */
    DOWNBEAT_CURRENT = 7,               /* T has passed and nothing newer is staged */
    DOWNBEAT_WAITING = 8,               /* waits before it tries again */
    DOWNBEAT_PHASE_STALE = 9,           /* in place of where it is: what its readers get is marked stale */
    DOWNBEAT_PHASE_FENCED = 10          /* in place of where it is: its readers get an error */
};

/* Frames that were dropped since the last connection was made. The counts stay at their largest value. */
struct downbeat_dropped {
    uint32_t oversized;
    uint32_t garbled;
    uint32_t version;
    uint32_t malformed;
};

/* What an agent knows, for people and logs: nothing here is to be decided by. */
struct downbeat_status {
    uint32_t phase;                     /* enum downbeat_phase */
    uint8_t clock_known;                /* 1: the next four are known, else they mean nothing */
    uint8_t table_known;                /* 1: the table's two are known, else zero */
    uint8_t reserved[2];
    int64_t epsilon_ns;                 /* half the width of what the server's time is known to be in (step 250; S12) */
    int64_t offset_ns;                  /* estimate of server time less local time */
    int64_t earliest_server_ns;         /* the server's clock shows at least this now */
    int64_t latest_server_ns;           /* and at most this */
    uint64_t timeline_counter;          /* the timeline of these: a number and 64 random bits */
    uint64_t timeline_random;
    struct downbeat_generation table_staged; /* the newest table's staged generation */
    int64_t activation_server_ns;       /* T of it */
    struct downbeat_dropped dropped;
};

/* `now_ns`: the local clock. */
downbeat_result downbeat_get_status(const struct downbeat_agent *agent, int64_t now_ns,
                                    struct downbeat_status *status);

/* ── content ────────────────────────────────────────────────────────────────────────────────────── */

/* Content comes as an object: all records of a generation in one file, sorted by dataset and key, whose
 * name and sums prove it. It is read from pieces of any size, in bounded memory, as often as the host
 * likes: to verify it, to take its records out, to find one of them. Nothing of it may be used before
 * downbeat_object_end says that it is whole. */

struct downbeat_expected {
    struct downbeat_generation target;  /* of struct downbeat_incoming */
    uint8_t object_name[32];            /* of struct downbeat_incoming */
    const char *const *datasets;        /* those that the agent subscribes to; all where there is none */
    size_t dataset_count;               /* up to DOWNBEAT_DATASETS_MAX */
};

/* One record. Its bytes stay until the next call for the same reading; the name has no end mark. */
struct downbeat_record {
    struct downbeat_bytes dataset;
    struct downbeat_bytes key;
    struct downbeat_bytes value;
};

struct downbeat_summary {
    struct downbeat_generation target;
    uint64_t len;                       /* of the object, in bytes */
    uint64_t records;                   /* that were given out */
};

/* Begins to read an object. `buffer` is for one record, key and value, and the reading's until it is
 * ended: DOWNBEAT_RECORD_MAX bytes are always enough, and so are as many as the farm's longest record has.
 * Errors: DOWNBEAT_MEMORY_TOO_SHORT, DOWNBEAT_BAD_NAME, DOWNBEAT_BAD_TEXT, DOWNBEAT_TOO_MANY_NAMES. */
downbeat_result downbeat_object_begin(struct downbeat_object *object, size_t len,
                                      const struct downbeat_expected *expected, uint8_t *buffer,
                                      size_t buffer_len);

/* Takes bytes off the front of `rest` up to the end of the next record, and gives it; DOWNBEAT_DONE: all
 * bytes are used up, give the next piece or end.
 * Errors: DOWNBEAT_OBJECT_... at the first byte from which on it can't be the expected object, and
 * DOWNBEAT_BUFFER_TOO_SHORT for a record that is longer than the buffer; each comes again, and `rest` is
 * moved on. */
downbeat_result downbeat_object_next(struct downbeat_object *object, struct downbeat_bytes *rest,
                                     struct downbeat_record *record);

/* Ends a reading: DOWNBEAT_OK where everything that was given out is proven to be the expected object.
 * `summary` may be NULL.
 * Errors: that of downbeat_object_next, or DOWNBEAT_OBJECT_TRUNCATED. */
downbeat_result downbeat_object_end(struct downbeat_object *object, struct downbeat_summary *summary);

#ifdef __cplusplus
}
#endif

#endif
