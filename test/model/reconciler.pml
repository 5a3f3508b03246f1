/*
 * The protocol of a session's end: claim, dispatch, record, finish. Two reconcilers at once, either of which may crash
 * between any two transactions or stand still for longer than its lease; a hub that loses requests and answers; an agent
 * that leaves, comes back late or never, or refuses; an application that writes the same row.
 *
 * What is covered, and which code each step stands for: README.md.
 */

#ifndef TROUBLES
#define TROUBLES 2 /* crashes, losses, refusals, departures, leases outlived: so many in all, in any order */
#endif
#ifndef WRITES
#define WRITES 1 /* of the application */
#endif
#define CAP 2 /* max_attempts */

mtype:state = { running, terminating, terminated };
mtype:presence = { unknown, present, gone };
mtype:action = { wait, retry, finalize, force, quarantine };
mtype:answer = { none, accepted, rejected, not_connected, session_gone, lost };

/* ---- the database */

/* The user's row. `created` stands for everything but the state that tells one session from the next of that key. */
mtype:state row_state = terminating;
byte row_created = 1;

/* reconciler.episode. A lease is known by its holder, 1 or 2; a key by a small number that is used again when nobody has
   it any more, so that histories that differ in nothing else are one state. For the same reason first_seen and tries are
   not counted: a pass is told when they are no longer what it scanned. */
typedef Episode {
  bool exists;
  mtype:state state;
  byte created, attempts, key, lease;
  bool lease_over, open, proven, quarantined, owed
};
Episode e;
mtype:since = { nothing, same, another };
typedef Scanned { mtype:since stay, tries };
Scanned scanned[3];
#define ANOTHER(what) if :: scanned[1].what == same -> scanned[1].what = another :: else fi; \
                      if :: scanned[2].what == same -> scanned[2].what = another :: else fi

/* reconciler.agent_evidence. Two looks stand for gone_after as well: a look adds the time since the last one. */
mtype:presence seen = unknown;
byte looks;

/* ---- the world */

bool connected = true;
bool runs[3] = { false, true, false };  /* what the agent has, by `created` */
bool todo[3];                           /* stops that it was given */
mtype:answer told[4] = none;            /* the hub's answers by idempotency key */

/* ---- bookkeeping of the model */

byte troubles = TROUBLES, writes = WRITES;
byte key_of[3];      /* what each reconciler has claimed */
bool orphaned;       /* the lease's holder has crashed */

/* What the properties speak of, and no step looks at. */
short untold;                 /* changes of ours without their event */
byte said_gone;               /* proper answers that said gone since one said present */
bool command_open;            /* the hub took over a command of this stay, and we have neither its end nor its timeout */
bool forced, late_told;       /* closed by inference; the agent got the stop that it missed */

#define TROUBLE troubles > 0 -> troubles--
#define IS_OF_ROW (e.exists && e.state == row_state && e.created == row_created)

/* A transaction sees no change without its event. */
#define TRANSACTION assert(untold == 0)
#define CHANGE untold++
#define EVENT untold--

inline no_tries_yet() {
  e.attempts = 0; e.key = 0; e.lease = 0; e.lease_over = false; orphaned = false;
  e.open = false; e.proven = false; e.quarantined = false;
  command_open = false; ANOTHER(stay)
}
inline begin_episode(of_state) {
  e.exists = true; e.state = of_state; e.created = row_created; e.owed = false;
  no_tries_yet()
}
inline end_episode() {
  e.exists = false; e.state = running; e.created = 0; e.owed = false;
  no_tries_yet()
}
inline new_key() {
  e.key = 1;
  do :: e.key == key_of[1] || e.key == key_of[2] -> e.key++ :: else -> break od
}
#define FORGET_ANSWER(k) if :: k != e.key && k != key_of[1] && k != key_of[2] -> told[k] = none :: else fi

/* ---- what is planted to see that it is found; the defaults are the code */

#ifdef PLANT_NO_STATE_IN_WHERE
#define ROW_IS_AS_SCANNED (row_created == my_created)
#else
#define ROW_IS_AS_SCANNED (row_state == (my_owed -> terminated : terminating) && row_created == my_created)
#endif
#define SAME_STAY (e.exists && scanned[me].stay == same)
#ifdef PLANT_NO_STAY_IN_QUARANTINE
#define STAY_TO_SET_ASIDE e.exists
#else
#define STAY_TO_SET_ASIDE SAME_STAY
#endif
#ifdef PLANT_NO_STAY_IN_PROGRESS
#define STAY_THAT_WAS_ASKED_ABOUT e.exists
#else
#define STAY_THAT_WAS_ASKED_ABOUT SAME_STAY
#endif
#ifdef PLANT_NO_TRIES_IN_CLAIM
#define SAME_TRIES true
#else
#define SAME_TRIES (scanned[me].tries == same)
#endif
#ifdef PLANT_NO_LEASE_CHECK
#define MY_LEASE true
#else
#define MY_LEASE (e.lease == me)
#endif
#ifdef PLANT_NEW_KEY
#define KEY_KEPT false
#else
#define KEY_KEPT (e.key != 0)
#endif
#ifdef PLANT_NO_CAP
#define SPENT false
#else
#define SPENT spent
#endif
#ifdef PLANT_NO_GONE_TIME
#define ENOUGH 1
#else
#define ENOUGH 2
#endif
#ifdef PLANT_LAST_LOOK_ONLY
#define STILL_GONE (seen == gone)
#else
#define STILL_GONE (seen == gone && looks >= ENOUGH)
#endif
#ifdef PLANT_NOTHING_OWED
#define OWES end_episode()
#else
#define OWES begin_episode(terminated); e.owed = true
#endif
#ifdef PLANT_UNKNOWN_IS_GONE
#define NO_ANSWER gone
#else
#define NO_ANSWER unknown
#endif

/* ---- a reconciler: one pass after the other */

inline over() { /* this pass; the next one knows nothing of it */
  d_step {
    my_created = 0; my_owed = false; scanned[me].stay = nothing; scanned[me].tries = nothing;
    key_of[me] = 0; FORGET_ANSWER(1); FORGET_ANSWER(2); FORGET_ANSWER(3);
    busy = false; spent = false; set_aside = false; proof = false; sight = unknown; outcome = none; what = wait
  }
  goto pass
}

active [2] proctype reconciler() {
  byte me = _pid + 1;
  byte my_created;                                        /* the row as scanned */
  bool my_owed;                                           /* it is closed, and a stop is owed */
  bool busy, spent, set_aside, proof;                     /* what else the verdict rests on */
  mtype:presence sight;
  mtype:answer outcome;
  mtype:action what;

pass:
  /* forget_departed(): reads episode and row, then deletes. */
  if :: atomic { e.exists && !IS_OF_ROW -> TRANSACTION; scanned[me].stay = same }
        atomic { if :: SAME_STAY -> end_episode() :: else fi; scanned[me].stay = nothing }
     :: !(e.exists && !IS_OF_ROW)
  fi;

  /* scan(), scan_owed(): the row and its episode, or a new one */
  atomic {
    TRANSACTION;
    if :: row_state == terminating -> if :: IS_OF_ROW :: else -> begin_episode(terminating) fi
       :: row_state == terminated && IS_OF_ROW && e.owed -> my_owed = true
       :: else -> over()
    fi;
    my_created = row_created; scanned[me].stay = same; scanned[me].tries = same;
    spent = !(e.attempts < CAP); set_aside = e.quarantined; proof = e.proven;
    busy = e.open || (e.lease && !e.lease_over);
    if :: e.open -> outcome = accepted :: else fi
  }

  /* Observer::look(): the hub is asked … */
  if :: atomic { connected -> sight = present }
     :: atomic { !connected -> sight = gone }
     :: atomic { TROUBLE; sight = NO_ANSWER }
  fi;
  /* … and the answer adds to the record. */
  atomic {
    TRANSACTION;
    seen = sight;
    if :: sight == present -> looks = 0; said_gone = 0
       :: sight == gone -> if :: looks < 2 -> looks++ :: else fi
       :: else
    fi;
#ifndef PLANT_UNKNOWN_IS_GONE
    if :: sight == gone && said_gone < 2 -> said_gone++ :: else fi;
#endif
    if :: sight == gone && looks < ENOUGH -> sight = unknown :: else fi;
    if :: outcome == accepted -> outcome = none :: else -> goto verdict fi
  }
  /* ask_progress(): what became of a command that was accepted */
  if :: atomic { connected && !runs[my_created] -> proof = true };
        atomic { TRANSACTION; if :: STAY_THAT_WAS_ASKED_ABOUT && !e.proven -> e.proven = true; CHANGE; EVENT :: else fi; goto verdict }
     :: atomic { !(connected && !runs[my_created]) -> goto verdict }
  fi;

verdict: /* judge() */
  atomic {
    if :: my_owed -> what = (sight == present && !busy && !spent -> retry : wait)
       :: !my_owed && proof -> what = finalize
       :: !my_owed && !proof && sight == gone -> what = force
       :: !my_owed && !proof && sight == present && !busy -> what = (SPENT -> (set_aside -> wait : quarantine) : retry)
       :: else -> what = wait
    fi;
    busy = false; spent = false; set_aside = false; proof = false; sight = unknown;
    if :: what == wait -> over() :: else fi
  }

  if
  :: what == finalize || what == force ->
     /* finish(): allowed_now() spares agents that came back; then the row, where it still is what the verdict rested on,
        its episode and its event. */
     atomic {
       TRANSACTION;
       if :: (what == force && !STILL_GONE) || !ROW_IS_AS_SCANNED -> over() :: else fi;
       assert(row_state == terminating && row_created == my_created);
       assert(what == finalize || said_gone >= 2);
       assert(what == force || !runs[my_created]);
       row_state = terminated; CHANGE;
       if :: what == force -> forced = true; late_told = false; OWES
          :: else -> end_episode()
       fi;
#ifndef PLANT_EVENT_LATER
       EVENT;
       over()
     }
#else
     }
     atomic { EVENT; over() }
#endif

  :: what == quarantine ->
     atomic {
       TRANSACTION;
       if :: STAY_TO_SET_ASIDE && !e.quarantined -> assert(!(e.attempts < CAP)); e.quarantined = true; CHANGE; EVENT :: else fi;
       over()
     }

  :: what == retry ->
     /* claim_once(): the row still is as it was scanned, nobody has tried since, and nobody does now. */
     atomic {
       TRANSACTION;
       if :: ROW_IS_AS_SCANNED && SAME_STAY && SAME_TRIES && (!e.lease || e.lease_over) :: else -> over() fi;
       e.lease = me; e.lease_over = false; orphaned = false; ANOTHER(tries); e.open = false; CHANGE; EVENT;
       if :: KEY_KEPT :: else -> new_key() fi;
       key_of[me] = e.key
     }
     /* dispatch(): the hub does a key once, and answers the same to it again. */
     atomic {
       if :: TROUBLE; outcome = lost
          :: !connected -> outcome = not_connected
          :: connected && told[key_of[me]] != none -> outcome = told[key_of[me]]
          :: connected && told[key_of[me]] == none && !runs[my_created] -> outcome = session_gone
          :: connected && told[key_of[me]] == none && runs[my_created] ->
             if :: if :: e.exists && scanned[me].stay == same -> assert(!command_open); command_open = true :: else fi;
                   todo[my_created] = true; outcome = accepted
                :: TROUBLE; outcome = rejected
             fi;
             told[key_of[me]] = outcome
       fi;
       /* The answer may be lost, or who waits for it crash and leave its lease behind. */
       if :: true
          :: outcome != lost && troubles > 0 -> troubles--; outcome = lost
          :: TROUBLE; if :: e.lease == me -> orphaned = true :: else fi; over()
       fi
     }
     /* record(): only under the lease that it was sent with */
     atomic {
       TRANSACTION;
       if :: e.exists && e.key == key_of[me] && MY_LEASE :: else -> over() fi;
       assert(e.lease == me);
       e.lease = 0; e.lease_over = false; CHANGE; EVENT;
       if :: outcome == accepted -> e.open = true; e.attempts++; e.key = 0; ANOTHER(tries)
          :: outcome == rejected -> e.attempts++; e.key = 0; ANOTHER(tries)
          :: outcome == session_gone -> e.proven = true; e.key = 0; ANOTHER(tries)
          :: else /* not_connected, lost: not known to have arrived; the same key again */
       fi;
       assert(e.attempts <= CAP);
       /* settle_accepted() */
       if :: e.owed && (e.open || e.proven) -> late_told = true; end_episode() :: else fi;
       over()
     }
  fi
}

/* ---- everybody else */

active proctype agent() {
end:
  do
  :: atomic { connected && todo[1] -> todo[1] = false; runs[1] = false }
  :: atomic { connected && todo[2] -> todo[2] = false; runs[2] = false }
  :: atomic { connected && (todo[1] || todo[2]) && troubles > 0 -> troubles--; todo[1] = false; todo[2] = false }
  :: atomic { connected && troubles > 0 -> troubles--; connected = false }
  :: atomic { !connected && troubles > 0 -> troubles--; connected = true } /* late, or never */
  od
}

active proctype application() {
end:
  do
  :: atomic { writes > 0 && row_state == terminating -> writes--; row_state = running }
  :: atomic { writes > 0 && row_state == running -> writes--; row_state = terminating }
  :: atomic { writes > 0 && row_created == 1 && connected -> writes--; row_created = 2; row_state = terminating; runs[2] = true; forced = false }
  :: atomic { writes > 0 -> writes = 0 }
  od
}

/* Leases end when their holder has crashed; before it records only by trouble. An accepted command has its time. */
active proctype clock() {
end:
  do
#ifndef PLANT_LEASE_FOR_EVER
  :: atomic { e.lease && !e.lease_over && orphaned -> e.lease_over = true }
#endif
  :: atomic { e.lease && !e.lease_over && troubles > 0 -> troubles--; e.lease_over = true }
  :: atomic { e.open -> e.open = false; command_open = false }
  od
}

/* ---- progress: troubles end, being counted. What is stuck does not stay so … */
ltl settled { <>[] (row_state != terminating || e.quarantined) }
/* … and an agent that came back has got its stop, unless it refused too often. */
ltl late { <>[] !(forced && row_state == terminated && connected && runs[row_created] && !late_told && e.attempts < CAP) }
