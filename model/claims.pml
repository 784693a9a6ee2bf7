/*
 * One message: claim, renew, settle, lapse, take, remove, cancel, retry, update, die, power cut. README.md says which step is
 * which function of the source.
 *
 * What is simpler here than there: as in rotation.pml; one message in a claim; the log has no end, because a head holds what the
 * records before it have led to. `fail` ends a claim as `release` does. Who is cancelled learns so when it asks, so a handler
 * may still run then, and its claim does not count as held. Processes that share a clock are kept in order; the third
 * has one of its own, as in a container or after a restart. The clock runs up to END_OF_TIME.
 *
 * Broken variants, and what comes of each:
 *   lapse-ignores-renewal   a lapse does not name the renewal that it has seen      a lease that is not over is taken away
 *   no-token                a settle does not name its claim                        the same
 *   no-read-back            a claim is taken for granted                            the same
 *   foreign-clock           leases are compared between clocks that cannot be       the same
 *   unknown-is-dead         a process of which nothing is known is taken for dead   the same
 *   take-before-sync        `getMessage` hands over before the flush                what was handed over is there again
 *   told-late-before-sync   a completion is told to be too late before what has ended its claim is flushed: it counts after a cut
 *   change-before-sync      removed, cancelled, updated is answered before the flush    it is not
 *   update-blind            an update does not name the content that it has read    it writes over what others were told to stand
 */
#ifndef NP
#define NP 3 /* processes; the third has a clock of its own */
#endif
#ifndef NC
#define NC 0 /* clients that remove, cancel, retry and update */
#endif
#ifndef TOKENS
#define TOKENS 3 /* claims ever written, at most 5 */
#endif
#ifndef CUTS
#define CUTS 1 /* power cuts */
#endif
#ifndef END_OF_TIME
#define END_OF_TIME 3
#endif
#ifndef WRITES
#define WRITES 5 /* records ever written; 0 for any number of them */
#endif
#define RENEWALS 2 /* of one claim */
#define LEASE 1
#define OFFSET 2 /* by which the clock of the third process is ahead */
#ifndef R
#define R 6 /* records in the log that are not on the device, at most */
#endif

/* --- The log ---------------------------------------------------------------------------------------------------- */

#define CLAIM 1
#define RENEW 2
#define LAPSE 3
#define DONE 4
#define RELEASE 5
#define REMOVE 6
#define CANCEL 7
#define RETRY 8
#define UPDATE 9

/* `at`: when a lease began, by its holder's clock. `seen`: the renewal that a lapse names, the content that an update does. */
typedef Record { byte op, token, at, seen };
Record log[R];
byte length;

/* What all records that are on the device have led to. */
#define READY 0
#define FAILED 6
#define OVER 7 /* a state of the message; else it is the token that holds it */
typedef Life { byte token, renewal, began, content };
Life base;

byte now, tokens, writes, cuts;
bit handed;        /* taken, and given to a caller of getMessage */
byte toldLate;     /* bits by token: its holder was told that its completion does not count */
byte revoked;      /* bits by token: a client has ended that claim */
bit removed;       /* a client was told that it has removed the message */
bit cancelled;     /* likewise cancelled, and nobody has begun to retry it since */
byte updated;      /* the content that a client was last told to stand */
byte ownerDied;    /* bits by token: its owner is known dead */
byte olderBoot;    /* bits by token: written before the last power cut */
byte strangers;    /* bits by token: of the process with a clock of its own */
byte cl;

/* --- Processes -------------------------------------------------------------------------------------------------- */

#define IDLE 0
#define HOLDING 1 /* has been told that a claim is its own, and not that it has ended */
#define TAKING 2  /* likewise, by getMessage: nobody has the message yet */
#define TAKEN 3   /* the end of that claim is in the log */
#define LATE 4    /* its completion is in the log, without effect */
typedef Process {
  byte pc;
  byte token;
  byte until;           /* up to when it may believe in its lease */
  byte seenToken, seenRenewal, seenBegan; /* what it has read */
  byte since;           /* when it first read that, where clocks cannot be compared */
};
Process proc[NP];

/* The client's record is in the log; it has not been told yet. */
#define REMOVING 1
#define CANCELLING 2
#define UPDATING 3
typedef Client {
  byte pc;
  byte seen; /* the content that it has read */
};
Client client[NC + 1];

hidden byte k, t;
hidden byte effect;
hidden byte who[NP]; /* for the reader of a trace */
Life state; /* of a replay */

#define SELF proc[me]
#define BIT(x) (1 << (x))
#define IS_STRANGER(p) ((p) == 2)
#define CLOCK(p) (now + (IS_STRANGER(p) -> OFFSET : 0))
#define IS_HELD (state.token != READY && state.token < FAILED)
#define ROOM (length < R && (WRITES == 0 || writes < WRITES))

/* Whether process p may compare the lease of token x with its clock. */
#ifdef FOREIGN_CLOCK
#define OWN_CLOCK(p, x) (true)
#else
#define OWN_CLOCK(p, x) (((strangers & BIT(x)) != 0) == IS_STRANGER(p) && !(olderBoot & BIT(x)))
#endif
#ifdef LAPSE_IGNORES_RENEWAL
#define RENEWAL_IS(r) (true)
#else
#define RENEWAL_IS(r) (state.renewal == (r))
#endif
#ifdef NO_TOKEN
#define HOLDS(x) IS_HELD
#else
#define HOLDS(x) (state.token == (x))
#endif
#ifdef NO_READ_BACK
#define GRANTED true
#else
#define GRANTED effect
#endif
#ifdef UPDATE_BLIND
#define CONTENT_IS(c) (true)
#else
#define CONTENT_IS(c) (state.content == (c))
#endif

inline become(what) { state.token = what; state.renewal = 0; state.began = 0; effect = true }

/* Which records count: each compares what it names with the state. */
inline apply(i) {
  effect = false;
  if
  :: log[i].op == CLAIM && state.token == READY -> become(log[i].token); state.began = log[i].at
  :: log[i].op == RENEW && state.token == log[i].token ->
     state.renewal++; state.began = log[i].at; effect = true
  :: log[i].op == LAPSE && state.token == log[i].token && RENEWAL_IS(log[i].seen) -> become(READY)
  :: log[i].op == DONE && HOLDS(log[i].token) ->
     assert(!(toldLate & BIT(log[i].token))); /* who was told to be too late has undone its work */
     become(OVER)
  :: log[i].op == RELEASE && HOLDS(log[i].token) -> become(READY)
#if NC
  :: log[i].op == REMOVE && state.token != OVER -> become(OVER)
  :: log[i].op == CANCEL && state.token != OVER && state.token != FAILED -> become(FAILED)
  :: log[i].op == RETRY && state.token == FAILED -> become(READY)
  /* A claim stays what it is. */
  :: log[i].op == UPDATE && state.token != OVER && CONTENT_IS(log[i].seen) -> state.content++; effect = true
#endif
  :: else -> skip
  fi
}

#define COPY(to, from)                                                                                              \
  to.token = from.token; to.renewal = from.renewal; to.began = from.began; to.content = from.content

/* What the log says now; `effect` is that of its last record. */
inline replay() {
  COPY(state, base);
  effect = false;
  k = 0;
  do
  :: k < length -> apply(k); k++
  :: else -> break
  od
}

inline read() {
  replay();
  if
  :: SELF.seenToken != state.token || SELF.seenRenewal != state.renewal -> SELF.since = now
  :: else -> skip
  fi;
  SELF.seenToken = (IS_HELD -> state.token : READY);
  SELF.seenRenewal = state.renewal; SELF.seenBegan = state.began
}

inline write(what, whose, when, which) {
  log[length].op = what; log[length].token = whose; log[length].at = when; log[length].seen = which;
  length++;
  writes = writes + (WRITES != 0)
}

/* Reads up to its own record, and knows what has come of it. */
inline append(what, whose, when, which) {
  write(what, whose, when, which);
  read()
}

/* All that is in the log is on the device: it becomes part of the base. */
inline sync() {
  replay();
  COPY(base, state);
  clear()
}
inline clear() {
  k = 0;
  do
  :: k < R -> log[k].op = 0; log[k].token = 0; log[k].at = 0; log[k].seen = 0; k++
  :: else -> break
  od;
  length = 0;
  k = 0
}

/* --- What must hold --------------------------------------------------------------------------------------------- */

/* Who has been cancelled learns so when it asks; until then it may be wrong. */
#define BELIEVES(p)                                                                                                 \
  ((proc[p].pc == HOLDING || proc[p].pc == TAKING) && now <= proc[p].until && !(revoked & BIT(proc[p].token)))

inline check() {
  replay();
  t = 0;
  k = 0;
  do
  :: k < NP ->
     if
     :: BELIEVES(k) -> t++; assert(state.token == proc[k].token) /* a lease that is not over has not been taken away */
     :: else -> skip
     fi;
     k++
  :: else -> break
  od;
  assert(t <= 1); /* no two live claims */
  assert(!handed || state.token == OVER); /* what was handed over by getMessage is gone for good */
#if NC
  assert(!removed || state.token == OVER); /* so is what was told to be removed */
  assert(!cancelled || state.token == FAILED || state.token == OVER); /* what was told to be cancelled does not run */
  assert(updated <= state.content); /* what was told to be changed stays so */
#endif
  tidy()
}

#define SWAP(x)                                                                                                     \
  t = proc[0].x;                                                                                                    \
  proc[0].x = proc[1].x;                                                                                            \
  proc[1].x = t
#define KEY(p)                                                                                                      \
  (proc[p].pc + 8 * (proc[p].token + 8 * (proc[p].until + 8 * (proc[p].seenToken +                                  \
   8 * (proc[p].seenRenewal + 8 * (proc[p].seenBegan + 8 * proc[p].since))))))

/* What is told of a token is forgotten when nothing in the log and no process names it. */
inline forget() {
  t = BIT(base.token);
  k = 0;
  do
  :: k < NP -> t = t | BIT(proc[k].token) | BIT(proc[k].seenToken); k++
  :: else -> break
  od;
  k = 0;
  do
  :: k < length -> t = t | BIT(log[k].token); k++
  :: else -> break
  od;
  ownerDied = ownerDied & t & ~1;
  olderBoot = olderBoot & t & ~1;
  strangers = strangers & t & ~1;
  toldLate = toldLate & t;
  revoked = revoked & t
}

/* States that will always mean the same are made the same. */
inline tidy() {
  if
  :: cuts == CUTS && length > 0 -> sync()
  :: else -> skip
  fi;
  state.token = 0; state.renewal = 0; state.began = 0; state.content = 0;
  forget();
  k = 0;
  do
  :: k < NP ->
     if
     :: proc[k].seenToken == READY || OWN_CLOCK(k, proc[k].seenToken) -> proc[k].since = 0
     :: else -> proc[k].seenBegan = 0
     fi;
     k++
  :: else -> break
  od;
  if
  :: KEY(0) > KEY(1) ->
     SWAP(pc); SWAP(token); SWAP(until); SWAP(seenToken); SWAP(seenRenewal); SWAP(seenBegan); SWAP(since);
     t = who[0]; who[0] = who[1]; who[1] = t
  :: else -> skip
  fi;
  t = 0;
  k = 0
}

inline idle() { SELF.pc = IDLE; SELF.token = 0; SELF.until = 0 }

inline claim(kind) {
  tokens++;
  strangers = strangers | (IS_STRANGER(me) << tokens);
  append(CLAIM, tokens, CLOCK(me), 0);
  if
  :: GRANTED ->
     SELF.pc = kind; SELF.token = tokens; SELF.until = now + LEASE;
     printf("process %d claims it under token %d at %d\n", who[me], tokens, now)
  :: else -> skip
  fi;
  check()
}

/* By the clock where it is shared, else after watching a whole lease. */
#define SHARED(x) OWN_CLOCK(me, x)
#ifdef UNKNOWN_IS_DEAD
#define KNOWN_DEAD(x) (true)
#else
#define KNOWN_DEAD(x) (ownerDied & BIT(x))
#endif
#define IS_OVER(x)                                                                                                  \
  (KNOWN_DEAD(x) || (SHARED(x) && CLOCK(me) > SELF.seenBegan + LEASE) || (!SHARED(x) && now > SELF.since + LEASE))

proctype participant(byte me) {
  do
  :: d_step { SELF.pc == IDLE && ROOM && tokens < TOKENS -> claim(HOLDING) }
  :: d_step { SELF.pc == IDLE && ROOM && tokens < TOKENS -> claim(TAKING) }
  :: d_step {
       SELF.pc == HOLDING && ROOM && SELF.seenRenewal < RENEWALS ->
       append(RENEW, SELF.token, CLOCK(me), 0);
       if
       :: effect -> SELF.until = now + LEASE; printf("process %d renews token %d at %d\n", who[me], SELF.token, now)
       :: else -> printf("process %d is told that token %d has ended\n", who[me], SELF.token); idle()
       fi;
       check()
     }
  /* A settle that counts is its own: nobody else holds the message then. */
  :: d_step {
       SELF.pc == HOLDING && ROOM ->
       append(DONE, SELF.token, 0, 0);
       printf("process %d completes with token %d: %d\n", who[me], SELF.token, effect);
       if
       :: effect -> idle()
       :: else -> SELF.pc = LATE; SELF.until = 0
       fi;
       check()
     }
  :: d_step {
       SELF.pc == LATE ->
       printf("process %d is told that it completes too late\n", who[me]);
#ifndef TOLD_LATE_BEFORE_SYNC
       sync();
#endif
       toldLate = toldLate | BIT(SELF.token);
       idle();
       check()
     }
  :: d_step {
       SELF.pc == HOLDING && ROOM ->
       append(RELEASE, SELF.token, 0, 0);
       printf("process %d releases token %d: %d\n", who[me], SELF.token, effect);
       idle();
       check()
     }
  :: d_step {
       SELF.pc == TAKING && ROOM ->
       append(DONE, SELF.token, 0, 0);
       printf("process %d ends what it takes, with token %d: %d\n", who[me], SELF.token, effect);
       if
       :: effect -> SELF.pc = TAKEN
       :: else -> idle()
       fi;
       check()
     }
  :: d_step {
       SELF.pc == TAKEN ->
       printf("process %d hands it over\n", who[me]);
       assert(!handed); /* at most once */
       handed = 1;
#ifndef TAKE_BEFORE_SYNC
       sync();
#endif
       idle();
       check()
     }
  :: d_step { true -> read(); tidy() }
  /* It may have been stopped since it read. */
  :: d_step {
       SELF.seenToken != READY && ROOM && IS_OVER(SELF.seenToken) ->
       printf("process %d finds token %d over at %d\n", who[me], SELF.seenToken, now);
       append(LAPSE, SELF.seenToken, 0, SELF.seenRenewal);
       check()
     }
  /* Others sync, for reasons of their own. */
  :: d_step { length > 0 && cuts < CUTS -> sync(); tidy() }
  /* It dies; another takes its place. */
  :: d_step {
       SELF.pc != IDLE ->
       printf("process %d dies\n", who[me]);
       ownerDied = ownerDied | BIT(SELF.token);
       idle();
       SELF.seenToken = 0; SELF.seenRenewal = 0; SELF.seenBegan = 0; SELF.since = 0;
       tidy()
     }
  od
}

#if NC
#define ME client[me]

/* The answer waits for the device. */
inline answer() {
#ifndef ANSWER_BEFORE_SYNC
  sync();
#endif
  ME.pc = 0;
  ME.seen = 0
}

proctype outsider(byte me) {
  do
  :: d_step {
       ME.pc == 0 && ROOM ->
       replay();
       t = (IS_HELD -> state.token : 0);
       write(REMOVE, 0, 0, 0);
       replay();
       if
       :: effect -> ME.pc = REMOVING; revoked = revoked | (BIT(t) & ~1); printf("client %d removes it\n", me)
       :: else -> skip
       fi;
       check()
     }
  :: d_step {
       ME.pc == 0 && ROOM ->
       replay();
       t = (IS_HELD -> state.token : 0);
       write(CANCEL, 0, 0, 0);
       replay();
       if
       :: effect -> ME.pc = CANCELLING; revoked = revoked | (BIT(t) & ~1); printf("client %d cancels it\n", me)
       :: else -> skip
       fi;
       check()
     }
  :: d_step {
       ME.pc == 0 && ROOM ->
       replay();
       if
       :: state.token == FAILED -> write(RETRY, 0, 0, 0); cancelled = false; printf("client %d retries it\n", me)
       :: else -> skip
       fi;
       check()
     }
  :: d_step { ME.pc == 0 -> replay(); ME.seen = state.content; tidy() }
  :: d_step {
       ME.pc == 0 && ROOM ->
       write(UPDATE, 0, 0, ME.seen);
       replay();
       if
       :: effect ->
          assert(updated <= ME.seen); /* who has not read what another was told to stand does not write over it */
          ME.pc = UPDATING;
          ME.seen = state.content;
          printf("client %d makes it content %d\n", me, state.content)
       :: else -> skip /* reads again */
       fi;
       check()
     }
  :: d_step { ME.pc == REMOVING -> removed = true; printf("client %d is told that it has removed it\n", me); answer(); check() }
  :: d_step {
       ME.pc == CANCELLING ->
       replay();
       cancelled = (state.token == FAILED); /* else others have gone on since */
       printf("client %d is told that it has cancelled it\n", me);
       answer();
       check()
     }
  :: d_step {
       ME.pc == UPDATING ->
       updated = (ME.seen > updated -> ME.seen : updated);
       printf("client %d is told that it has changed it\n", me);
       answer();
       check()
     }
  /* It dies. */
  :: d_step { ME.pc != 0 -> ME.pc = 0; ME.seen = 0; tidy() }
  od
}
#endif

proctype nature() {
  do
  :: d_step { now < END_OF_TIME -> now++ }
  /* Of what was not synced each record is there or not. */
  :: cuts < CUTS ->
     atomic {
       cuts++;
       cl = 0;
       do
       :: cl < length ->
          if
          :: printf("the power goes: a record %d of token %d is lost\n", log[cl].op, log[cl].token); log[cl].op = 0
          :: skip
          fi;
          cl++
       :: else -> break
       od;
       d_step {
         cl = 0;
         do
         :: cl < NP ->
            proc[cl].pc = IDLE; proc[cl].token = 0; proc[cl].until = 0; proc[cl].seenToken = 0;
            proc[cl].seenRenewal = 0; proc[cl].seenBegan = 0; proc[cl].since = 0;
            cl++
         :: else -> break
         od;
         cl = 0;
#if NC
         client[0].pc = 0; client[0].seen = 0;
         client[NC - 1].pc = 0; client[NC - 1].seen = 0;
#endif
         sync();
         olderBoot = BIT(tokens + 1) - 1;
         ownerDied = 0;
         now = 0;
         check()
       }
     }
  od
}

init {
  atomic {
    who[1] = 1;
#if NP > 2
    who[2] = 2;
#endif
    run participant(0);
    run participant(1);
#if NP > 2
    run participant(2);
#endif
#if NC
    run outsider(0);
#endif
#if NC > 1
    run outsider(1);
#endif
    run nature()
  }
}
