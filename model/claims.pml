/*
 * One message: claim, renew, settle, lapse, take, die, power cut. See README.md for what stands for what.
 */
#ifndef NP
#define NP 3 /* processes; the last one has a clock of its own */
#endif
#ifndef TOKENS
#define TOKENS 3 /* claims ever written, at most 6 */
#endif
#ifndef CUTS
#define CUTS 1 /* power cuts */
#endif
#ifndef END_OF_TIME
#define END_OF_TIME 3
#endif
#ifndef WRITES
#define WRITES 5 /* records ever written */
#endif
#define RENEWALS 2 /* of one claim */
#define LEASE 1
#define OFFSET 2 /* by which the clock of the last process is ahead */
#define R 6      /* records in the log that are not on the device, at most */

/* --- The log ---------------------------------------------------------------------------------------------------- */

#define CLAIM 1
#define RENEW 2
#define LAPSE 3
#define DONE 4
#define RELEASE 5

/* `at`: when a lease began, by its holder's clock. `seen`: the renewal that a lapse names. */
typedef Record { byte op, token, at, seen };
Record log[R];
byte length;

/* What all records that are on the device have led to. */
#define READY 0
#define OVER 7 /* a state of the message; else it is the token that holds it */
typedef Life { byte token, renewal, began };
Life base;

byte now, tokens, writes, cuts;
bit handed;        /* taken, and given to a caller of getMessage */
byte ownerDied;    /* bits by token: its owner is known dead */
byte olderBoot;    /* bits by token: written before the last power cut */
bit owner[TOKENS + 1]; /* whose: 1 for the process with a clock of its own */
byte cl;

/* --- Processes -------------------------------------------------------------------------------------------------- */

#define IDLE 0
#define HOLDING 1 /* has been told that a claim is its own, and not that it has ended */
#define TAKING 2  /* likewise, by getMessage: nobody has the message yet */
#define TAKEN 3   /* the end of that claim is in the log */
typedef Process {
  byte pc;
  byte token;
  byte until;           /* up to when it may believe in its lease */
  byte seenToken, seenRenewal, seenBegan; /* what it has read */
  byte since;           /* when it first read that, where clocks cannot be compared */
};
Process proc[NP];

hidden byte k, t;
hidden byte effect;
hidden byte who[NP]; /* for the reader of a trace */
Life state; /* of a replay */

#define SELF proc[me]
#define BIT(x) (1 << (x))
#define CLOCK(p) (now + ((p) == NP - 1 -> OFFSET : 0))
#define ROOM (length < R && writes < WRITES)

/* Whether process p may compare the lease of token x with its clock. */
#ifdef FOREIGN_CLOCK
#define OWN_CLOCK(p, x) (true)
#else
#define OWN_CLOCK(p, x) (owner[x] == ((p) == NP - 1) && !(olderBoot & BIT(x)))
#endif
#ifdef LAPSE_IGNORES_RENEWAL
#define RENEWAL_IS(r) (true)
#else
#define RENEWAL_IS(r) (state.renewal == (r))
#endif
#ifdef NO_TOKEN
#define HOLDS(x) (state.token != READY && state.token != OVER)
#else
#define HOLDS(x) (state.token == (x))
#endif
#ifdef NO_READ_BACK
#define GRANTED true
#else
#define GRANTED effect
#endif
/* Which records count: each compares what it names with the state. */
inline apply(i) {
  effect = false;
  if
  :: log[i].op == CLAIM && state.token == READY ->
     state.token = log[i].token; state.renewal = 0; state.began = log[i].at; effect = true
  :: log[i].op == RENEW && state.token == log[i].token ->
     state.renewal++; state.began = log[i].at; effect = true
  :: log[i].op == LAPSE && state.token == log[i].token && RENEWAL_IS(log[i].seen) ->
     state.token = READY; state.renewal = 0; state.began = 0; effect = true
  :: log[i].op == DONE && HOLDS(log[i].token) ->
     state.token = OVER; state.renewal = 0; state.began = 0; effect = true
  :: log[i].op == RELEASE && HOLDS(log[i].token) ->
     state.token = READY; state.renewal = 0; state.began = 0; effect = true
  :: else -> skip
  fi
}

/* What the log says now; `effect` is that of its last record. */
inline replay() {
  state.token = base.token; state.renewal = base.renewal; state.began = base.began;
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
  SELF.seenToken = (state.token == OVER -> READY : state.token);
  SELF.seenRenewal = state.renewal; SELF.seenBegan = state.began
}

/* Reads up to its own record, and knows what has come of it. */
inline append(what, whose, when, which) {
  log[length].op = what; log[length].token = whose; log[length].at = when; log[length].seen = which;
  length++;
  writes++;
  read()
}

/* All that is in the log is on the device: it becomes part of the base. */
inline sync() {
  replay();
  base.token = state.token; base.renewal = state.renewal; base.began = state.began;
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

#define BELIEVES(p) ((proc[p].pc == HOLDING || proc[p].pc == TAKING) && now <= proc[p].until)

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
  tidy()
}

#define SWAP(x)                                                                                                     \
  t = proc[0].x;                                                                                                    \
  proc[0].x = proc[1].x;                                                                                            \
  proc[1].x = t
#define KEY(p)                                                                                                      \
  (proc[p].pc + 4 * (proc[p].token + 8 * (proc[p].until + 8 * (proc[p].seenToken +                                  \
   8 * (proc[p].seenRenewal + 8 * (proc[p].seenBegan + 8 * proc[p].since))))))

/* States that will always mean the same are made the same. The first two processes are alike: they are kept in order. */
inline tidy() {
  state.token = 0; state.renewal = 0; state.began = 0;
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
  :: cuts == CUTS && length > 0 -> sync(); state.token = 0; state.renewal = 0; state.began = 0
  :: else -> skip
  fi;
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
  owner[tokens] = (me == NP - 1);
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
       SELF.seenToken != READY && SELF.seenToken != OVER && ROOM && IS_OVER(SELF.seenToken) ->
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
    who[NP - 1] = NP - 1;
    run participant(0);
    run participant(1);
#if NP > 2
    run participant(2);
#endif
    run nature()
  }
}
