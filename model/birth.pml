/*
 * A queue's name: create, add, destroy, create again, die, power cut. README.md says which step is which function of the source.
 * How one segment follows another is rotation.pml's, which shows that it can be one step here. `queueExists` and `listQueues`
 * look, and promise nothing.
 *
 * Broken variants, and what comes of each:
 *   root-not-synced          a queue is "created" before the root is flushed        what a client was told of is gone
 *   open-without-root-sync   an add is answered though nobody has flushed the root  what was acknowledged is gone with its queue
 *   there-unsynced           a queue "was there" before its creation is flushed     what a client was told of is gone
 *   destroy-unsynced         a queue "is destroyed" before that is flushed          what a client was told is gone is there
 *   id-unchecked             a handle goes on in a queue of another id              it destroys a queue that is not its own
 */
#ifndef NP
#define NP 3 /* processes */
#endif
#ifndef NSEG
#define NSEG 3 /* segments */
#endif
#ifndef IDS
#define IDS 2 /* queues of that name, one after the other */
#endif
#ifndef CUTS
#define CUTS 1 /* power cuts */
#endif
#ifndef ADDS
#define ADDS 2 /* messages ever added */
#endif
#define R 4 /* records in a segment */

/* Records. The seal says `destroy`; a message bears the id of the queue that its client meant. */
#define EMPTY 0
#define LOST 1
#define SEAL 2
#define CREATE(id) (4 + (id))
#define ADD(id) (8 + (id))

/* The folder's name in the root: as programs see it, and on the device. What is in the folder was synced before. */
bit named, onDevice;

typedef Segment { byte head, length, durable; byte rec[R]; };
Segment segment[NSEG + 1];
byte last; /* the newest segment */

byte ids, adds, cuts, ci, ck;
byte told;    /* bits by id: a client was told that this queue is there */
byte ending;  /* a destroy of it was begun */
byte ended;   /* a client was told that it is gone */
byte acked;   /* an add to it was acknowledged */

#define IDLE 0
#define MAKING 1    /* its own folder is complete; about to be renamed */
#define BORN 2      /* it was */
#define FOUND 3     /* there is a folder */
#define CREATING 4  /* has opened the newest segment, to create */
#define CREATED 5   /* its record counted */
#define THERE 6     /* it was there before */
#define OPENED 7    /* has opened it, and holds its id */
#define ADDED 8
#define DESTROYED 9 /* its seal counted */
#define LEAVING 10  /* another's did */

typedef Process { byte pc, at, id; };
Process proc[NP];

hidden byte k, seal, id, n, x;
hidden byte who[NP];

#define BIT(b) (1 << (b))
#define SELF proc[me]
#define ROOM(s) (segment[s].length < R)
#define SAY(text) printf(text, who[me], SELF.at, SELF.id)

/* What segment s says: whose queue it is, and whether it is sealed. */
inline replay(s) {
  id = segment[s].head;
  seal = false;
  k = 0;
  do
  :: k < segment[s].length ->
     x = segment[s].rec[k];
     if
     :: !seal && x == SEAL -> seal = true
     :: !seal && x >= CREATE(1) && x <= CREATE(IDS) && id == 0 -> id = x - CREATE(0)
     /* What is added to one queue never comes to be in another. Where there is no queue an add does nothing. */
     :: !seal && x >= ADD(1) && x <= ADD(IDS) -> assert(id == 0 || id == x - ADD(0))
     :: else -> skip
     fi;
     k++
  :: else -> break
  od;
  k = 0
}

inline append(s, what) {
  segment[s].rec[segment[s].length] = what;
  segment[s].length++;
  replay(s)
}
inline sync(s) { segment[s].durable = BIT(segment[s].length) - 1 }

/* Whether the queue `which` is there for somebody who opens it now, with what was added to it. */
inline check() {
  n = 0; /* the id that is there */
  if
  :: named ->
     replay(last);
     n = (seal -> 0 : id)
  :: else -> skip
  fi;
  k = 1;
  do
  :: k <= IDS ->
     assert(!(told & BIT(k)) || (ending & BIT(k)) || n == k); /* whom a client was told of is there */
     assert(!(acked & BIT(k)) || (ending & BIT(k)) || n == k); /* and so is what was acknowledged */
     assert(!(ended & BIT(k)) || n != k); /* what a client was told is gone stays so */
     k++
  :: else -> break
  od;
  k = 0
}

inline idle() { SELF.pc = IDLE; SELF.at = 0; SELF.id = 0 }

#define KEY(p) (proc[p].pc + 16 * (proc[p].at + 8 * proc[p].id))
#define SWAP(p, q, f)                                                                                               \
  x = proc[p].f;                                                                                                    \
  proc[p].f = proc[q].f;                                                                                            \
  proc[q].f = x
inline order(p, q) {
  if
  :: KEY(p) > KEY(q) ->
     SWAP(p, q, pc); SWAP(p, q, at); SWAP(p, q, id);
     x = who[p]; who[p] = who[q]; who[q] = x
  :: else -> skip
  fi
}
inline clear(s) {
  segment[s].head = 0; segment[s].length = 0; segment[s].durable = 0;
  k = 0;
  do
  :: k < R -> segment[s].rec[k] = EMPTY; k++
  :: else -> break
  od
}

/* Removes record number `at` of segment s. */
inline strike(s, at) {
  k = at;
  do
  :: k + 1 < segment[s].length -> segment[s].rec[k] = segment[s].rec[k + 1]; k++
  :: else -> break
  od;
  segment[s].length--;
  segment[s].rec[segment[s].length] = EMPTY;
  segment[s].durable = (segment[s].durable & (BIT(at) - 1)) | ((segment[s].durable >> (at + 1)) << at)
}

/*
 * States that will always mean the same are made the same. What is on the device before the seal becomes part of the head; what
 * is behind a seal that is on the device is void. An older segment to which nobody can come is not read again.
 */
inline fold(s) {
  n = (s == last);
  k = 0;
  do
  :: k < NP -> n = n || (proc[k].at != 0 && proc[k].at <= s); k++
  :: else -> break
  od;
  if
  :: !n -> clear(s)
  :: else ->
     do
     :: segment[s].length > 0 && segment[s].rec[0] != SEAL && (segment[s].durable & 1) ->
        x = segment[s].rec[0];
        if
        :: segment[s].head == 0 && x >= CREATE(1) && x <= CREATE(IDS) -> segment[s].head = x - CREATE(0)
        :: else -> skip
        fi;
        strike(s, 0)
     :: segment[s].length > 1 && segment[s].rec[0] == SEAL && (segment[s].durable & 1) -> strike(s, 1)
     :: else -> break
     od
  fi
}

inline tidy() {
  if
  :: cuts == CUTS -> /* nothing depends on what is on the device any more */
     onDevice = named;
     id = 1;
     do
     :: id <= NSEG -> sync(id); id++
     :: else -> break
     od
  :: else -> skip
  fi;
  id = 1;
  do
  :: id <= NSEG -> fold(id); id++
  :: else -> break
  od;
  told = told | ending;
  acked = acked | ending
}

inline settle() {
  check();
  tidy();
  order(0, 1);
#if NP > 2
  order(1, 2);
  order(0, 1);
#endif
  x = 0
}

/* Behind a destroy seal the queue is absent. The sealed segment is synced before its successor has a name. */
inline follow() {
  sync(SELF.at);
  SELF.at++;
  if
  :: SELF.at > last -> last = SELF.at; segment[last].head = 0
  :: else -> skip
  fi
}

proctype participant(byte me) {
  do
  /* --- Create ---------------------------------------------------------------------------------------------------- */
  :: d_step {
       SELF.pc == IDLE && !named && ids < IDS ->
       ids++;
       SELF.id = ids;
       SELF.pc = MAKING;
       settle()
     }
  /* Refused when there is a folder of that name. */
  :: d_step {
       SELF.pc == MAKING ->
       if
       :: !named ->
          named = 1; last = 1; segment[1].head = SELF.id;
          SAY("process %d, segment %d: gives the folder of queue %d its name\n");
          SELF.pc = BORN
       :: else -> SELF.id = 0; SELF.pc = FOUND
       fi;
       settle()
     }
  :: d_step {
       SELF.pc == BORN ->
#ifndef NO_ROOT_SYNC
       onDevice = named;
#endif
       SAY("process %d, segment %d: has flushed the root, and answers that queue %d was created\n");
       told = told | BIT(SELF.id);
       idle();
       settle()
     }
  :: d_step { SELF.pc == IDLE && named -> SELF.pc = FOUND; settle() }
  :: d_step {
       SELF.pc == FOUND && named ->
       onDevice = named;
       SELF.at = last;
       SELF.pc = CREATING;
       settle()
     }
  :: d_step {
       SELF.pc == CREATING ->
       replay(SELF.at);
       if
       :: seal && SELF.at < NSEG -> follow()
       :: seal && SELF.at == NSEG -> idle()
       :: !seal && id != 0 -> SELF.id = id; SELF.pc = THERE
       :: !seal && id == 0 && ids < IDS && ROOM(SELF.at) ->
          ids++;
          append(SELF.at, CREATE(ids));
          if
          :: id == ids && !seal -> SELF.id = id; SELF.pc = CREATED
          :: else -> skip
          fi
       :: else -> idle()
       fi;
       settle()
     }
  :: d_step {
       SELF.pc == CREATED ->
       sync(SELF.at);
       told = told | BIT(SELF.id);
       SAY("process %d, segment %d: has flushed, and answers that queue %d was created\n");
       idle();
       settle()
     }
  :: d_step {
       SELF.pc == THERE ->
#ifndef THERE_UNSYNCED
       sync(SELF.at);
#endif
       told = told | BIT(SELF.id);
       SAY("process %d, segment %d: answers that queue %d was there\n");
       idle();
       settle()
     }

  /* --- Add and destroy --------------------------------------------------------------------------------------------- */
  :: d_step {
       SELF.pc == IDLE && named ->
       replay(last);
       if
       :: seal -> skip /* goes on to the successor, and looks again */
       :: !seal && id == 0 ->
          ended = ended | ending; /* answers that there is no such queue */
          printf("process %d: answers that there is no such queue\n", who[me])
       :: else -> SELF.at = last; SELF.id = id; SELF.pc = OPENED
       fi;
       settle()
     }
  :: d_step {
       SELF.pc == OPENED && ROOM(SELF.at) && adds < ADDS ->
       adds++;
       append(SELF.at, ADD(SELF.id));
       SAY("process %d, segment %d: adds to queue %d\n");
       SELF.pc = (seal -> LEAVING : ADDED);
       settle()
     }
  :: d_step {
       SELF.pc == ADDED ->
       sync(SELF.at);
#ifndef OPEN_UNSYNCED
       onDevice = named; /* the queue's name with the first flush */
#endif
       acked = acked | BIT(SELF.id);
       SAY("process %d, segment %d: has flushed, and answers that it was added to queue %d\n");
       SELF.pc = OPENED;
       settle()
     }
  :: d_step {
       SELF.pc == OPENED && ROOM(SELF.at) && SELF.at < NSEG ->
       replay(SELF.at);
       n = seal;
       append(SELF.at, SEAL);
       ending = ending | BIT(SELF.id);
       SAY("process %d, segment %d: appends the seal that destroys queue %d\n");
       SELF.pc = (n -> LEAVING : DESTROYED);
       settle()
     }
  /* Nobody is told before the successor, which says that there is no queue, can be found again. */
  :: d_step {
       SELF.pc == DESTROYED ->
       n = SELF.id;
#ifndef DESTROY_UNSYNCED
       follow();
#endif
       ended = ended | BIT(n);
       SAY("process %d, segment %d: answers that queue %d is destroyed\n");
       idle();
       settle()
     }
  /* The successor is not this client's queue: it is told so. */
  :: d_step {
       SELF.pc == LEAVING && SELF.at < NSEG ->
#ifdef ID_UNCHECKED
       n = SELF.id;
       follow();
       SELF.pc = OPENED;
#else
       n = SELF.id;
       follow();
       ended = ended | BIT(n);
       SAY("process %d, segment %d: tells that queue %d has been destroyed\n");
       idle();
#endif
       settle()
     }

  /* --- Death, at any step; also how a client is done ---------------------------------------------------------------- */
  :: d_step { SELF.pc != IDLE -> idle(); settle() }
  od
}

proctype nature() {
  do
  :: cuts < CUTS ->
     atomic {
       cuts++;
       ci = 1;
       do
       :: ci <= last ->
          do
          :: ck < segment[ci].length && (segment[ci].durable & BIT(ck)) -> ck++
          :: ck < segment[ci].length && !(segment[ci].durable & BIT(ck)) ->
             if
             :: segment[ci].rec[ck] = LOST; printf("the power goes: record %d of segment %d is lost\n", ck, ci)
             :: skip
             fi;
             ck++
          :: ck >= segment[ci].length -> break
          od;
          ck = 0;
          ci++
       :: else -> break
       od;
       if
       :: !onDevice -> named = 0; printf("the power goes: the folder has no name\n")
       :: onDevice = named
       fi;
       d_step {
         ci = 1;
         do
         :: ci <= NSEG ->
            segment[ci].durable = BIT(segment[ci].length) - 1;
            if
            :: !named -> clear(ci)
            :: else -> skip
            fi;
            ci++
         :: else -> break
         od;
         ci = 0;
         ck = 0;
         if
         :: !named -> last = 0
         :: else -> skip
         fi;
         do
         :: ci < NP -> proc[ci].pc = IDLE; proc[ci].at = 0; proc[ci].id = 0; ci++
         :: else -> break
         od;
         ci = 0;
         settle()
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
