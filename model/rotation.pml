/*
 * From segment to segment: append, seal, note, flush, rename, delete, die, power cut. README.md says which step is which
 * function of the source.
 *
 * What is simpler here than there, and why that loses nothing:
 * - A record is whole or lost. Replay is a function of the log, so a process's state is not stored but computed from the file
 *   it holds. Who has read less than there is does what it would have done earlier, which is a run of its own; where the
 *   code acts on what it has read before, that is two steps here too (FOLLOW, then NOTING).
 * - Writing and reading back are one step: what becomes of a record is decided when it is appended, by what stands before
 *   it. So is a record whose last bytes the next write completes: it is the same record, appended then.
 * - A flush is one step with what follows it, where nobody else can tell; what is appended in between counts as not
 *   flushed. So are head, folder, log and note: until it is noted nobody looks at a file. For the same reason the file is
 *   made in one step with the seal; who gives a file its name, and who finds that another has, need no step for having read
 *   of it: the first note stays the first.
 * - Sweeping is one step: a segment that two heads in a row do without is named by no later one.
 * - Death is being replaced by a process that opens the newest segment. Who sleeps just makes no step.
 * - Processes have no names in the log, so three of them in some order are the same as in any other: their variables
 *   are kept sorted, which makes one state of up to six. What can have no effect any more is forgotten (`forget`, `fold`,
 *   `calm`). The variants that break the reason for that run without it (NO_FOLD).
 * Bounds: see below; 2 seals and 2 notes a segment at a time, 2 temporary files for one number.
 *
 * Broken variants, and what comes of each. Lost: what was acknowledged is not there. Missing: the log names a file that is gone.
 *   link (LINK)                     a link in the folder, not the log, chooses the successor            lost
 *   link-revives                    the same, without a power cut: who has slept revives a number       lost
 *   stale-note (STALE_NOTE, ...)    a note counts whichever seal it names; the log is not flushed before it  lost
 *   segment-not-synced              the sealed segment is flushed neither before note nor before rename  missing
 *   head-not-synced                 the head is not flushed before the note       a damaged head cannot be made again
 *   folder-not-synced-before-note   the folder is not                                                   missing
 *   deletion-without-folder-sync    the folder is flushed neither after the rename nor before a deletion  no segment at all
 *   one-head                        a deletion rests on the newest head alone     contents that a state names are gone
 *   temporaries-early               temporary files go although their number does not exist yet         missing
 *   discard-early                   a file that was noted too late goes before the segment is flushed   missing
 *   rewrite-after-error             a noted file is written anew, or removed, after an error            missing
 *   seal-ignored                    what stands behind a seal is answered as if it counted              lost
 *   answer-before-sync              an add is answered before the flush                                 lost
 * Of what is done twice over one may be missing (`spare-...`): the flush before the note (the one before the rename does it), the
 * seal's name in the note (that flush sees to it that no note outlives its seal), the folder's flush after the rename, and
 * the one before the deletion. Each costs a flush a rotation, and stays.
 */
#ifndef NP
#define NP 3 /* processes */
#endif
#ifndef NSEG
#define NSEG 3 /* segments */
#endif
#ifndef T
#define T 2 /* temporary files for one number at a time */
#endif
#ifndef M
#define M 2 /* messages */
#endif
#ifndef R
#define R 7 /* records in a segment, at most 8 */
#endif
#ifndef SEALS
#define SEALS 2 /* seals in a segment */
#endif
#ifndef NOTES
#define NOTES 2 /* notes in a segment */
#endif
#ifndef CUTS
#define CUTS 1 /* power cuts */
#endif
#ifndef ROTS
#define ROTS 0 /* heads that rot */
#endif
#ifndef ROTS_FROM
#define ROTS_FROM 2 /* in this segment or a later one */
#endif
#ifndef FAULTS
#define FAULTS 0 /* notes whose write or read-back reports an error */
#endif

#if ROTS
#define NO_FOLD /* the records are what a head is made again from */
#endif

#define NI (1 + (NSEG - 1) * T)
#define NONE 15

/* --- Files ----------------------------------------------------------------------------------------------------- */

/* What the folder says of a file. Only forwards. */
#define FREE 0
#define TEMPORARY 1
#define FINAL 2
#define GONE 3

/* Records. ADD and END of message m; a note names a temporary file and the offset of a seal. */
#define EMPTY 0
#define ADD(m) (m)
#define END(m) (M + (m))
#define SEAL 14
#define LOST 15
#define NOTE(t, at) (16 + (t) * 8 + (at))

typedef File {
  byte rec[R];
  byte length;
  byte durable;  /* bits: which records are on the device */
  byte name;     /* as programs see it */
  byte named;    /* as it is on the device */
  short head;    /* four bits a message: the segment its content stands in, 0 none */
  byte seals, notes; /* how many the log holds */
  short base;    /* likewise after the records that have been folded into it */
  bit whole;     /* the head can be read */
  bit flushed;   /* the head is on the device */
};
File file[NI];

/* The first file is segment 1; then T for each later number. */
#define NUM(i) ((i) == 0 -> 1 : 2 + ((i) - 1) / T)
#define SLOT(i) (((i) - 1) % T)
#define INO(n, t) (1 + ((n) - 2) * T + (t))

/* --- Processes ------------------------------------------------------------------------------------------------- */

#define OPEN 0
#define ADDED 1   /* an add is in the log, not answered yet */
#define ENDED 2   /* likewise an end */
#define FOLLOW 3  /* the segment is sealed */
#define NOTING 4  /* no note has been read, and this process has a file */
#define ENTER 5   /* the successor has its name */
#define RELOAD 6
#define SWEEP 7

typedef Process {
  byte pc;
  byte cur;   /* the file it holds */
  byte pend;  /* the message it adds or ends */
  byte prep;  /* its temporary file, or NONE */
  bit made;   /* the log names that file, or may do so */
};
Process proc[NP];

/* What clients know. Bits by message. */
byte begun, acked, ended, removed;
byte cuts, rots, faults;
byte cf, ck; /* of a power cut under way */

/* Scratch: means nothing between two steps. */
hidden byte i, j, k, m, n, f, b, seal, next, nextAt;
hidden byte place[M + 1];
hidden short h;
hidden int key0, key1;
hidden byte twice, sweepable;
hidden byte needed, later, passed;
hidden byte who[NP]; /* for the reader of a trace: which process this is */

#define BIT(x) (1 << (x))
#define SELF proc[me]
#define ROOM (file[SELF.cur].length < R)
#define SAY(text) printf(text, who[me], NUM(SELF.cur))

#ifdef STALE_NOTE
#define VALID(note, at) (true)
#else
#define VALID(note, at) (seal != NONE && (note - 16) % 8 == seal)
#endif

#ifdef TEMPORARIES_EARLY
#define TOO_OLD(x) (true)
#else
#define TOO_OLD(x) (NUM(x) <= n)
#endif

#ifdef REMOVALS
#define AFTER_END(msg) SELF.pend = msg; SELF.pc = ENDED
#else
#define AFTER_END(msg) skip
#endif

#ifdef SEAL_IGNORED
#define IS_VOID false
#else
#define IS_VOID (seal != NONE && seal < file[SELF.cur].length - 1)
#endif

/* The file that bears the number, or NONE. */
inline lookUp(number, found) {
  found = NONE;
  i = 0;
  do
  :: i < NI ->
     if
     :: NUM(i) == number && file[i].name == FINAL -> found = i
     :: else -> skip
     fi;
     i++
  :: else -> break
  od;
  i = 0
}

inline newest(found) {
  found = NONE;
  i = 0;
  do
  :: i < NI ->
     if
     :: file[i].name == FINAL -> found = i
     :: else -> skip
     fi;
     i++
  :: else -> break
  od;
  i = 0
}

/* Applies the records of x: to `place`, `seal` and `next`. */
inline apply(x) {
  seal = NONE;
  next = NONE;
  k = 0;
  do
  :: k < file[x].length ->
     j = file[x].rec[k];
     if
     :: seal == NONE && j == SEAL -> seal = k
     :: seal == NONE && j >= ADD(1) && j <= ADD(M) ->
        twice = twice || place[j] != 0;
        place[j] = NUM(x)
     :: seal == NONE && j >= END(1) && j <= END(M) -> place[j - M] = 0
     :: j >= 16 && next == NONE && VALID(j, k) -> next = (j - 16) / 8
     :: else -> skip
     fi;
     k++
  :: else -> break
  od
}

inline takeHead(x) {
  m = 1;
  do
  :: m <= M -> place[m] = (file[x].base >> (4 * (m - 1))) & 15; m++
  :: else -> break
  od
}

/* The state at the end of file x. A head that cannot be read is made again from the predecessor. */
inline replay(x) {
  twice = false;
  if
  :: file[x].whole -> takeHead(x)
  :: else ->
     lookUp(NUM(x) - 1, b);
     assert(b != NONE && file[b].whole); /* else: the head is damaged and there is nothing to make it from */
     takeHead(b);
     apply(b);
     assert(seal != NONE)
  fi;
  apply(x)
}

/* --- What must hold -------------------------------------------------------------------------------------------- */

/* Reads the queue as somebody would who opened it now, and goes on to where the log ends. */
inline check() {
  newest(f);
  assert(f != NONE); /* a folder without a segment */
  passed = 0;
  do
  :: true ->
     replay(f);
     if
#ifndef LINK
     :: seal != NONE && next != NONE ->
        n = NUM(f) + 1;
        passed = passed | BIT(n - 1);
        f = INO(n, next);
        assert(file[f].name == TEMPORARY || file[f].name == FINAL) /* the noted file is there: the queue goes on */
#endif
     :: else -> break
     fi
  od;
  assert(!twice); /* no message twice */
  m = 1;
  do
  :: m <= M ->
     assert(!(acked & BIT(m)) || (ended & BIT(m)) || place[m] != 0); /* acknowledged: there, or ended */
     assert(!(removed & BIT(m)) || place[m] == 0);                   /* acknowledged as removed: gone */
     if
     :: place[m] != 0 && place[m] != NUM(f) && !(passed & BIT(place[m])) ->
        lookUp(place[m], b);
        assert(b != NONE) /* its content is there */
     :: else -> skip
     fi;
     m++
  :: else -> break
  od;
  m = 0
}

/* --- Bookkeeping of the model ---------------------------------------------------------------------------------- */

#define KEY(p)                                                                                                      \
  (proc[p].pc + 8 * (proc[p].cur + 16 * (proc[p].pend + 4 * (proc[p].prep + 16 * proc[p].made))))
#define SWAP(p, q, x)                                                                                               \
  j = proc[p].x;                                                                                                    \
  proc[p].x = proc[q].x;                                                                                            \
  proc[q].x = j

inline order(p, q) {
  key0 = KEY(p);
  key1 = KEY(q);
  if
  :: key0 > key1 ->
     SWAP(p, q, pc); SWAP(p, q, cur); SWAP(p, q, pend); SWAP(p, q, prep); SWAP(p, q, made);
     j = who[p]; who[p] = who[q]; who[q] = j
  :: else -> skip
  fi
}

/* Whether a process holds the file, or may come to it. */
inline wanted(x, result) {
  result = false;
  k = 0;
  do
  :: k < NP -> result = result || NUM(proc[k].cur) <= NUM(x); k++
  :: else -> break
  od
}

/*
 * What nobody will read again is forgotten: a log whose successor's name is on the device; a file that has never had a
 * number of its own and that no note and no process names, for it bears a random name; a file that is gone for good.
 */
inline forget(x) {
  wanted(x, n);
  if
  :: !n && file[x].length > 0 && (later > NUM(x) || (file[x].name == GONE && file[x].named == GONE)) -> clear(x)
  :: else -> skip
  fi;
  if
  :: file[x].name != FREE && file[x].name != FINAL && file[x].named != FINAL ->
     remembered(x, n);
     if
     :: !n ->
        clear(x);
        file[x].head = 0; file[x].base = 0; file[x].whole = 0; file[x].flushed = 0;
        file[x].name = FREE; file[x].named = FREE
     :: else -> skip
     fi
  :: else -> skip
  fi
}

inline clear(x) {
  k = 0;
  do
  :: k < R -> file[x].rec[k] = EMPTY; k++
  :: else -> break
  od;
  file[x].length = 0;
  file[x].durable = 0
}

/* Whether a note still names file x, or a process does, or goes on in it. */
inline remembered(x, result) {
  result = x == 0;
  i = 0;
  do
  :: i < NI && !result ->
     k = 0;
     do
     :: NUM(i) + 1 == NUM(x) && k < file[i].length ->
        result = result || (file[i].rec[k] >= 16 && (file[i].rec[k] - 16) / 8 == SLOT(x));
        k++
     :: else -> break
     od;
     i++
  :: else -> break
  od;
  k = 0;
  do
  :: k < NP && !result ->
     result = proc[k].cur == x || (NUM(proc[k].cur) + 1 == NUM(x) && proc[k].prep == SLOT(x));
     k++
  :: else -> break
  od
}

/* Removes record number `at` of x. */
inline strike(x, at) {
  k = at;
  do
  :: k + 1 < file[x].length -> file[x].rec[k] = file[x].rec[k + 1]; k++
  :: else -> break
  od;
  file[x].length--;
  file[x].rec[file[x].length] = EMPTY;
  file[x].durable = (file[x].durable & (BIT(at) - 1)) | ((file[x].durable >> (at + 1)) << at)
}

/*
 * Logs that will always mean the same are made the same. What is on the device before the seal becomes part of the
 * base; behind a seal that is on the device only notes that name it count, and of these none behind one that is there too.
 */
inline fold(x) {
#ifndef NO_FOLD
  do
  :: file[x].length > 0 && file[x].rec[0] != SEAL && (file[x].durable & 1) ->
     j = file[x].rec[0];
     if
     :: j >= ADD(1) && j <= ADD(M) -> file[x].base = file[x].base | (NUM(x) << (4 * (j - 1)))
     :: j >= END(1) && j <= END(M) -> file[x].base = file[x].base & ~(15 << (4 * (j - M - 1)))
     :: else -> skip
     fi;
     strike(x, 0);
     k = 0;
     do
     :: k < file[x].length ->
        j = file[x].rec[k];
        if
        :: j >= 16 && (j - 16) % 8 != 7 -> /* 7: it names a seal that is lost */
           file[x].rec[k] = ((j - 16) % 8 == 0 -> j + 7 : j - 1)
        :: else -> skip
        fi;
        k++
     :: else -> break
     od
  :: else -> break
  od;
  if
  :: file[x].length > 0 && file[x].rec[0] == SEAL && (file[x].durable & 1) ->
     n = 1;
     h = 0; /* whether a note that is on the device has been met */
     do
     :: n < file[x].length ->
        j = file[x].rec[n];
        if
        :: h || j < 16 || (j - 16) % 8 != 0 -> strike(x, n)
        :: else -> h = (file[x].durable & BIT(n)) != 0; n++
        fi
     :: else -> break
     od
  :: else -> skip
  fi;
#endif
  file[x].seals = 0;
  file[x].notes = 0;
  k = 0;
  do
  :: k < file[x].length ->
     file[x].seals = file[x].seals + (file[x].rec[k] == SEAL);
     file[x].notes = file[x].notes + (file[x].rec[k] >= 16);
     k++
  :: else -> break
  od
}

/* Without the power going any more, nothing depends on what is on the device. */
inline calm() {
  f = 0;
  do
  :: f < NI ->
     file[f].named = file[f].name;
     file[f].durable = BIT(file[f].length) - 1;
     file[f].flushed = file[f].whole;
     f++
  :: else -> break
  od
}

inline settle() {
  if
  :: cuts == CUTS -> calm()
  :: else -> skip
  fi;
  later = 0;
#if !ROTS
  f = 0;
  do
  :: f < NI ->
     if
     :: file[f].name == FINAL && file[f].named == FINAL && NUM(f) > later -> later = NUM(f)
     :: else -> skip
     fi;
     f++
  :: else -> break
  od;
#endif
  f = 0;
  do
  :: f < NI -> forget(f); fold(f); f++
  :: else -> break
  od;
#if NP > 1
  order(0, 1);
#endif
#if NP > 2
  order(1, 2);
  order(0, 1);
#endif
  i = 0
}

/* It dies; another opens the newest segment. */
inline open(p) {
  newest(f);
  proc[p].pc = OPEN; proc[p].cur = f; proc[p].pend = 0; proc[p].prep = NONE; proc[p].made = 0
}

/* --- What a process does to the disk ----------------------------------------------------------------------------- */

inline append(x, what) {
  file[x].rec[file[x].length] = what;
  file[x].length++
}

/* What is appended while the flush is under way may come too late for it: so it is one step. */
inline sync(x) { file[x].durable = BIT(file[x].length) - 1 }

inline syncFolder() {
  f = 0;
  do
  :: f < NI -> file[f].named = file[f].name; f++
  :: else -> break
  od
}

#define IS_FREE(x) (file[x].name == FREE && file[x].named == FREE)
#if T == 1
#define HAS_SLOT(n) IS_FREE(INO(n, 0))
#elif T == 2
#define HAS_SLOT(n) (IS_FREE(INO(n, 0)) || IS_FREE(INO(n, 1)))
#else
#define HAS_SLOT(n) (IS_FREE(INO(n, 0)) || IS_FREE(INO(n, 1)) || IS_FREE(INO(n, 2)))
#endif

inline prepare() {
  k = 0;
  do
  :: !IS_FREE(INO(NUM(SELF.cur) + 1, k)) -> k++
  :: else -> break
  od;
  SELF.prep = k;
  file[INO(NUM(SELF.cur) + 1, k)].name = TEMPORARY
}

/* Removes the temporary file that is not needed. */
inline discard() {
  f = INO(NUM(SELF.cur) + 1, SELF.prep);
  if
  :: file[f].name == TEMPORARY -> file[f].name = GONE
  :: else -> skip /* it has another name by now */
  fi;
  SELF.prep = NONE
}

inline writeHead(carrying) {
  replay(SELF.cur);
  nextAt = seal;
  n = NUM(SELF.cur);
  b = 0; /* the oldest segment in which something lives, the sealed one not counted */
  m = 1;
  do
  :: m <= M ->
     if
     :: carrying && place[m] != 0 && place[m] < n && (b == 0 || place[m] < b) -> b = place[m]
     :: else -> skip
     fi;
     m++
  :: else -> break
  od;
  h = 0;
  m = 1;
  do
  :: m <= M ->
     if
     :: b != 0 && place[m] == b -> h = h | ((n + 1) << (4 * (m - 1)))
     :: else -> h = h | (place[m] << (4 * (m - 1)))
     fi;
     m++
  :: else -> break
  od;
  f = INO(n + 1, SELF.prep);
  file[f].head = h;
  file[f].base = h;
  file[f].whole = 1;
#ifndef NO_HEAD_SYNC
  file[f].flushed = 1;
#endif
#ifdef OWN_NAME_ONLY
  file[f].named = (file[f].named == FREE -> TEMPORARY : file[f].named);
#elif !defined(NO_FOLDER_SYNC_BEFORE_NOTE)
  syncFolder();
#endif
#ifndef NO_LOG_SYNC_BEFORE_NOTE
  /* At the least up to the seal: others may have appended since. */
  file[SELF.cur].durable = file[SELF.cur].durable | (BIT(nextAt + 1) - 1);
#endif
  n = 0
}

inline note() {
#ifdef LINK
  /* Refused when the name exists. */
  n = NUM(SELF.cur) + 1;
  lookUp(n, b);
  if
  :: b == NONE -> file[INO(n, SELF.prep)].name = FINAL; SELF.made = 1; SAY("process %d, segment %d: links the successor\n")
  :: else -> skip
  fi;
#else
  SAY("process %d, segment %d: has flushed head, folder and log, and appends a note\n");
  append(SELF.cur, NOTE(SELF.prep, nextAt));
  SELF.made = 1;
#endif
#ifdef DISCARD_EARLY
  replay(SELF.cur);
  drop();
#endif
  SELF.pc = FOLLOW
}

/* Tried again after an error, the file is written anew and then holds nothing but its head. */
#define WIPE f = INO(NUM(SELF.cur) + 1, SELF.prep); clear(f)
/* A head that a note of this process names already is neither changed nor removed: only the note is written again. */
#if FAULTS
#define MAKE(carrying)                                                                                              \
  if                                                                                                                \
  :: SELF.made -> replay(SELF.cur); nextAt = seal                                                                   \
  :: else -> WIPE; writeHead(carrying)                                                                            \
  fi
#else
#define MAKE(carrying) writeHead(carrying)
#endif

/* The segments that the head of x names. */
inline references(x) {
  m = 1;
  do
  :: m <= M -> needed = needed | BIT((file[x].head >> (4 * (m - 1))) & 15); m++
  :: else -> break
  od
}

inline sweep() {
  n = NUM(SELF.cur);
  needed = BIT(n) | BIT(n - 1);
#ifndef NO_FOLDER_SYNC_BEFORE_DELETION
  syncFolder();
#endif
#ifndef NO_HEAD_SYNC
  file[SELF.cur].flushed = 1;
#endif
  sweepable = file[SELF.cur].whole;
  references(SELF.cur);
#ifndef ONE_HEAD
  lookUp(n - 1, b);
  if
  :: b == NONE -> sweepable = false
  :: else -> sweepable = sweepable && file[b].whole; references(b)
  fi;
#endif
  f = 0;
  do
  :: f < NI ->
     if
     :: sweepable && file[f].name == FINAL && NUM(f) < n - 1 && !(needed & BIT(NUM(f))) ->
        printf("process %d: deletes segment %d\n", who[me], NUM(f));
        file[f].name = GONE
     :: file[f].name == TEMPORARY && TOO_OLD(f) -> file[f].name = GONE
     :: else -> skip
     fi;
     f++
  :: else -> break
  od
}

/* Lets the file go that was prepared in vain. */
inline drop() {
  if
  :: SELF.prep != NONE && SELF.prep != next -> SAY("process %d, segment %d: removes its temporary file\n"); discard()
  :: else -> skip
  fi
}

/* The folder is flushed, and the successor entered. */
inline arrive() {
#ifndef NO_FOLDER_SYNC_AFTER_RENAME
  syncFolder();
#endif
  lookUp(NUM(SELF.cur) + 1, b);
  if
  :: b != NONE -> enter(b); SAY("process %d, segment %d: has entered it\n")
  :: else -> SELF.pc = RELOAD
  fi
}
inline enter(x) {
  SELF.cur = x;
  SELF.pc = (SELF.made -> SWEEP : OPEN)
}

/*
 * The successor is known: `next`. What is on the device is settled before it gets its name; where it has it already,
 * nobody can tell the steps of those who follow apart.
 */
inline change() {
#ifndef NO_LOG_SYNC_BEFORE_RENAME
  sync(SELF.cur);
#endif
  drop();
  SELF.made = (SELF.prep != NONE);
  SELF.prep = NONE;
#ifdef LINK
  SELF.pc = ENTER
#else
  f = INO(NUM(SELF.cur) + 1, next);
  if
  :: file[f].name == TEMPORARY ->
     SAY("process %d, segment %d: has flushed the segment, and renames the successor\n");
     file[f].name = FINAL;
     SELF.pc = ENTER
  :: else -> arrive()
  fi
#endif
}

/* One message is like another. */
#define IN_TURN(msg) (msg == 1 || (begun & BIT(msg - 1)))

#define MESSAGE(msg)                                                                                                \
  :: d_step {                                                                                                       \
       SELF.pc == OPEN && ROOM && (SELF.pend == msg || (SELF.pend == 0 && !(begun & BIT(msg)) && IN_TURN(msg))) -> \
       printf("process %d, segment %d: adds message %d\n", who[me], NUM(SELF.cur), msg);                            \
       begun = begun | BIT(msg);                                                                                    \
       SELF.pend = msg;                                                                                             \
       append(SELF.cur, ADD(msg));                                                                                  \
       replay(SELF.cur);                                                                                            \
       SELF.pc = (IS_VOID -> FOLLOW : ADDED);                                                                       \
       settle();                                                                                                    \
       check()                                                                                                      \
     }                                                                                                              \
  :: d_step {                                                                                                       \
       SELF.pc == OPEN && SELF.pend == 0 && ROOM && (begun & BIT(msg)) && !(ended & BIT(msg)) ->                    \
       replay(SELF.cur);                                                                                            \
       if                                                                                                           \
       :: seal == NONE && place[msg] != 0 ->                                                                        \
          printf("process %d, segment %d: ends message %d\n", who[me], NUM(SELF.cur), msg);                         \
          append(SELF.cur, END(msg));                                                                               \
          ended = ended | BIT(msg);                                                                                 \
          AFTER_END(msg)                                                                                            \
       :: else -> skip                                                                                              \
       fi;                                                                                                          \
       settle();                                                                                                    \
       check()                                                                                                      \
     }

proctype participant(byte me) {
  do
  /* --- Adding and ending ---------------------------------------------------------------------------------------- */
  MESSAGE(1)
#if M > 1
  MESSAGE(2)
#endif
#if M > 2
  MESSAGE(3)
#endif
  :: d_step {
       SELF.pc == ADDED ->
#ifndef ANSWER_BEFORE_SYNC
       sync(SELF.cur);
#endif
       acked = acked | BIT(SELF.pend);
       SAY("process %d, segment %d: has flushed, and answers\n");
       SELF.pend = 0;
       SELF.pc = OPEN;
       settle();
       check()
     }
#ifdef REMOVALS
  :: d_step {
       SELF.pc == ENDED ->
       sync(SELF.cur);
       removed = removed | BIT(SELF.pend);
       SAY("process %d, segment %d: has flushed, and answers that it is gone\n");
       SELF.pend = 0;
       SELF.pc = OPEN;
       settle();
       check()
     }
#endif

  /* --- Sealing --------------------------------------------------------------------------------------------------- */
  /* The successor's file is made first, and nobody looks at it before a note names it. */
  :: d_step {
       SELF.pc == OPEN && SELF.pend == 0 && NUM(SELF.cur) < NSEG && HAS_SLOT(NUM(SELF.cur) + 1) && ROOM &&
       file[SELF.cur].seals < SEALS ->
       prepare();
       SAY("process %d, segment %d: appends a seal\n");
       append(SELF.cur, SEAL);
       SELF.pc = FOLLOW;
       settle();
       check()
     }
  :: d_step {
       SELF.pc == OPEN && NUM(SELF.cur) < NSEG ->
       replay(SELF.cur);
       if
       :: seal != NONE -> SELF.pc = FOLLOW
       :: else -> skip
       fi;
       settle()
     }

  /* --- To the successor ------------------------------------------------------------------------------------------ */
  :: d_step {
       SELF.pc == FOLLOW ->
       replay(SELF.cur);
       newest(b);
       if
#ifdef LINK
       :: NUM(b) > NUM(SELF.cur) ->
          next = (SELF.made -> SELF.prep : NONE);
          change()
#else
       :: next != NONE -> change()
       :: next == NONE && NUM(b) > NUM(SELF.cur) ->
          if
          :: SELF.prep != NONE && !SELF.made -> discard()
          :: else -> SELF.prep = NONE
          fi;
          SELF.made = 0;
          SELF.pc = RELOAD
#endif
       :: else ->
          if
          :: SELF.prep != NONE -> SELF.pc = NOTING
          :: SELF.prep == NONE && HAS_SLOT(NUM(SELF.cur) + 1) -> prepare(); SELF.pc = NOTING
          :: else -> skip
          fi
       fi;
       settle();
       check()
     }
  :: d_step { SELF.pc == NOTING && ROOM && file[SELF.cur].notes < NOTES -> MAKE(false); note(); settle(); check() }
#ifndef NO_CARRY
  :: d_step { SELF.pc == NOTING && ROOM && file[SELF.cur].notes < NOTES -> MAKE(true); note(); settle(); check() }
#endif
#if FAULTS
  /* The note is in the log, or will be when the next write completes its line; its writer is told of an error. */
  :: d_step {
       SELF.pc == NOTING && ROOM && file[SELF.cur].notes < NOTES && faults < FAULTS ->
       faults++;
       MAKE(false);
       SAY("process %d, segment %d: appends a note, and is told of an error\n");
       append(SELF.cur, NOTE(SELF.prep, nextAt));
       SELF.pc = FOLLOW;
#ifndef REWRITE_AFTER_ERROR
       SELF.made = 1;
#endif
       settle();
       check()
     }
  /* Who closes lets go what was prepared. */
  :: d_step {
       SELF.pc == FOLLOW && SELF.prep != NONE ->
       SAY("process %d, segment %d: closes\n");
       if
       :: SELF.made -> skip
       :: else -> discard()
       fi;
       open(me);
       settle();
       check()
     }
#endif
  :: d_step {
       SELF.pc == ENTER ->
       arrive();
       settle()
     }
  :: d_step {
       SELF.pc == RELOAD ->
       newest(b);
       assert(b != NONE && NUM(b) > NUM(SELF.cur)); /* else: the successor is missing */
       syncFolder();
       enter(b);
       settle()
     }
  :: d_step {
       SELF.pc == SWEEP ->
       SELF.made = 0;
       SAY("process %d, segment %d: sweeps\n");
       sweep();
       SELF.pc = OPEN;
       settle();
       check()
     }

  /* --- Death, at any step ---------------------------------------------------------------------------------------- */
  :: d_step { true -> open(me); settle() }
  od
}

/* --- The power ----------------------------------------------------------------------------------------------------- */

#define AT_RECORD (cf < NI && ck < file[cf].length)
#define IS_UNSURE (!(file[cf].durable & BIT(ck)))

proctype nature() {
  do
  /* What was not synced is there or not, each record and each name by itself. */
  :: cuts < CUTS ->
     atomic {
       cuts++;
       printf("the power goes\n");
       do
       :: cf < NI ->
          do
          :: ck < file[cf].length && !(file[cf].durable & BIT(ck)) ->
             if
             :: printf("record %d of segment %d is lost\n", ck, NUM(cf)); file[cf].rec[ck] = LOST
             :: skip
             fi;
             ck++
          :: ck < file[cf].length && (file[cf].durable & BIT(ck)) -> ck++
          :: ck >= file[cf].length -> break
          od;
          ck = 0;
          do
          :: file[cf].named < file[cf].name ->
             if
             :: printf("a name of segment %d is as it was\n", NUM(cf)); break
             :: file[cf].named == FREE -> file[cf].named = TEMPORARY
             :: file[cf].named == TEMPORARY && file[cf].name == FINAL -> file[cf].named = FINAL
             :: file[cf].named == TEMPORARY && file[cf].name == GONE -> file[cf].named = GONE
             :: file[cf].named == FINAL -> file[cf].named = GONE
             fi
          :: else -> break
          od;
          file[cf].name = file[cf].named;
          if
          :: file[cf].name == FREE && file[cf].whole -> file[cf].name = GONE; file[cf].named = GONE
          :: else -> skip
          fi;
          cf++
       :: else -> break
       od;
       d_step {
         cf = 0;
         do
         :: cf < NI ->
            /* What is missing at the end is not there. */
            do
            :: file[cf].length > 0 && file[cf].rec[file[cf].length - 1] == LOST ->
               file[cf].length--;
               file[cf].rec[file[cf].length] = EMPTY
            :: else -> break
            od;
            file[cf].durable = BIT(file[cf].length) - 1;
            if
            :: !file[cf].flushed -> file[cf].whole = 0
            :: else -> skip
            fi;
            cf++
         :: else -> break
         od;
         cf = 0;
         ck = 0;
         n = 0;
         do
         :: n < NP -> open(n); n++
         :: else -> break
         od;
         settle();
         check()
       }
     }
#if ROTS
  :: d_step {
       rots < ROTS ->
       newest(f);
       if
       :: NUM(f) >= ROTS_FROM && file[f].whole -> rots++; file[f].whole = 0; printf("the head of segment %d rots\n", NUM(f)); check()
       :: else -> skip
       fi
     }
#endif
  od
}

init {
  d_step {
    n = 0;
    do
    :: n < NP -> proc[n].prep = NONE; who[n] = n; n++
    :: else -> break
    od;
    file[0].name = FINAL; file[0].named = FINAL; file[0].whole = 1; file[0].flushed = 1
  };
  atomic {
    run participant(0);
#if NP > 1
    run participant(1);
#endif
#if NP > 2
    run participant(2);
#endif
    run nature()
  }
}
